package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// route is one of the ways to the upstream that row c compares.
type route struct {
	name   string
	socket string   // that Envoy sends Check to; empty: none
	server *process // that answers Check; nil: none
	load   *httpLoad
}

// At the fixed rate there are more connections than in the closed loop, so that
// requests do not wait for the load.
const (
	closedConns = 16
	pacedConns  = 64
)

// measureEnvoy is row c: requests through a real Envoy.
func measureEnvoy(ctx context.Context, sizes scale, r *report) {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	address := listener.Addr().String()
	upstream, err := startRole(roleUpstream, listener.(*net.TCPListener))
	try(errors.Join(err, listener.Close()))
	defer func() { try(upstream.stop()) }()
	s := must(startServer(ctx, sizes.tokens, address))
	defer func() { try(s.close()) }()
	credentials := must(newCredentials(sizes.tokens))

	direct := &route{name: "upstream alone"}
	alone := &route{name: "Envoy alone"}
	stock := &route{name: "Envoy + stock allow-all", socket: filepath.Join(s.dir, "c1")}
	same := &route{name: "Envoy + stock allow-all, tokengate's answer", socket: filepath.Join(s.dir, "c2")}
	measured := &route{name: "Envoy + tokengate", socket: s.check, server: s.process}
	for route, role := range map[*route]string{stock: roleAllowAll, same: roleSameAnswer} {
		route.server = must(startAllowAll(route.socket, role))
		defer func() { try(route.server.stop()) }()
	}
	routes := []*route{direct, alone, stock, same, measured} // stock is number 2
	envoy := startEnvoy(s, routes[1:])
	defer func() { try(envoy.Stop()) }()
	direct.load = &httpLoad{address: address}
	for _, route := range routes {
		route.load.credentials = credentials
		route.load.user = func(string) string { return noUser }
		if route.server != nil {
			try(route.server.pause())
		}
	}
	same.load.user = func(string) string { return ownerOf(0) }
	measured.load.user = func(owner string) string { return owner }
	compareRoutes(ctx, sizes, routes, s, r)
}

// startEnvoy starts an Envoy with a listener for each route.
func startEnvoy(s *server, routes []*route) *envoytest.Process {
	var names, sockets []string
	for _, route := range routes {
		names, sockets = append(names, route.name), append(sockets, route.socket)
	}
	text := must(envoyBootstrap(must(config.Load(s.config())), filepath.Join(s.dir, "e"), names, sockets))
	process := must(envoytest.Run(must(envoytest.Binary()), text))
	var listeners struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	answer, err := process.Admin("/listeners?format=json")
	if err == nil {
		err = json.Unmarshal(answer, &listeners)
	}
	if err != nil {
		try(errors.Join(fmt.Errorf("read Envoy's listeners: %w", err), process.Stop()))
	}
	for _, l := range listeners.Statuses {
		for _, route := range routes {
			if route.name == l.Name {
				route.load = &httpLoad{address: net.JoinHostPort(l.Local.Socket.Address, strconv.Itoa(l.Local.Socket.Port))}
			}
		}
	}
	return process
}

// routeVariants returns a variant for each route.
func routeVariants[R any](routes []*route, s *server, measure func(*route) (R, error)) (variants []variant[R]) {
	for _, route := range routes {
		variants = append(variants, variant[R]{route.name, func(context.Context) (R, error) {
			result, err := measure(route)
			return result, errors.Join(err, s.trimLog())
		}})
	}
	return variants
}

// during runs work while the route's server runs, and returns the server's CPU time.
func (r *route) during(work func() error) (time.Duration, error) {
	if r.server == nil {
		return 0, work()
	}
	return r.server.during(work)
}

func compareRoutes(ctx context.Context, sizes scale, routes []*route, s *server, r *report) {
	const stock = 2
	closed, err := alternate(ctx, sizes.rounds, routeVariants(routes, s, func(route *route) (result loadResult, err error) {
		result.server, err = route.during(func() (err error) {
			result, err = route.load.closed(ctx, closedConns, sizes.closed)
			return err
		})
		return result, err
	}))
	try(err)
	// At half of the baseline's rate, Envoy is busy but nothing queues for long.
	baseRate := each(closed[stock], loadResult.perSecond)
	rate := math.Max(100, math.Round(spreadOf(baseRate...).median/2/100)*100)
	paced, err := alternate(ctx, sizes.rounds, routeVariants(routes, s, func(route *route) (result pacedResult, err error) {
		_, err = route.during(func() (err error) {
			result, err = route.load.paced(ctx, pacedConns, rate, sizes.paced)
			return err
		})
		return result, err
	}))
	try(err)
	p50 := func(p pacedResult) float64 { return p.p50 }
	p99 := func(p pacedResult) float64 { return p.p99 }
	p999 := func(p pacedResult) float64 { return p.p999 }
	table := r.add(fmt.Sprintf("(c) End to end, HTTP/1.1, %s tokens", count(sizes.tokens)),
		"", "req/s", "÷ allow-all", "CPU µs/request of the server", "p50 µs", "p99 µs", "p99 ÷ allow-all", "p99.9 µs")
	late := 0.0
	for i, route := range routes {
		rates := each(closed[i], loadResult.perSecond)
		rateRatio, p99Ratio := ratios(rates, baseRate), ratios(each(paced[i], p99), each(paced[stock], p99))
		cpu := ""
		if route.server != nil {
			cpu = spreadOf(each(closed[i], loadResult.serverMicros)...).String()
		}
		table.line(route.name, spreadOf(rates...).String(), rateRatio.String(), cpu, spreadOf(each(paced[i], p50)...).String(),
			spreadOf(each(paced[i], p99)...).String(), p99Ratio.String(), spreadOf(each(paced[i], p999)...).String())
		for _, p := range paced[i] {
			late = max(late, p.late)
		}
		if i == len(routes)-1 {
			r.atLeast("end to end, requests per second, Envoy + tokengate ÷ Envoy + stock allow-all", 1, "×", rateRatio)
			r.atMost("end to end, p99 at a fixed rate, Envoy + tokengate ÷ Envoy + stock allow-all", 1.05, "×", p99Ratio)
		}
	}
	table.note("req/s: %d connections, one request in flight on each. Percentiles: %s requests per second, half of what Envoy + stock allow-all can do, on up to %d connections. A request's time counts from when it was due (no coordinated omission). At p99 of its worst slice the load itself was %s µs late.",
		closedConns, number(rate), pacedConns, number(late))
	table.note("All routes use one Envoy with 2 workers, with listeners that differ only in the server that they ask. Load, Envoy, servers and upstream share the cores. Every answer was 200, with the user that the upstream must see.")
	table.note("tokengate's answer: the stock server allows one fixed user. The additional cost is Envoy's work on headers, metadata and route.")
}
