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
	bypass bool     // Envoy forwards requests without a credential itself
	pat    bool     // requests carry the owner's personal access token, not the identity header
	load   *httpLoad
}

// comparison is a table of routes. The last one is judged by its ratios to the baseline.
type comparison struct {
	title    string
	routes   []*route
	baseline int
	name     string // of the baseline, in the table
	judge    func(rate, p50, p99 spread)
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
	routes := []*route{direct, alone, stock, same, measured} // same is number 3
	asked := &route{name: "Envoy + tokengate, browsers", socket: s.check, server: s.process}
	bypassed := &route{name: "Envoy + tokengate, browsers, envoy.bypass", socket: s.check, server: s.process, bypass: true}
	envoy := startEnvoy(s, append(routes[1:], asked, bypassed))
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
	compareRoutes(ctx, sizes, comparison{
		fmt.Sprintf("(c) End to end, HTTP/1.1, %s tokens", count(sizes.tokens)), routes, 3, "same answer", func(rate, p50, p99 spread) {
			const what = "end to end, Envoy + tokengate ÷ Envoy + stock allow-all with the same answer, "
			r.atLeast(what+"requests per second", 1.15, "×", rate)
			r.atMost(what+"p50 at a fixed rate", 0.92, "×", p50)
			r.atMost(what+"p99 at a fixed rate", 1, "×", p99)
		}}, s, r)

	browsers := []*route{{name: "Envoy alone, browsers", load: &httpLoad{address: alone.load.address}}, asked, bypassed}
	for _, route := range browsers {
		route.load.user = func(string) string { return noUser }
	}
	compareRoutes(ctx, sizes, comparison{
		"(c) Browsers with a session and no credential", browsers, 0, "Envoy alone", func(rate, p50, p99 spread) {
			const what = "browsers, Envoy + tokengate with envoy.bypass ÷ Envoy alone, "
			r.atLeast(what+"requests per second", 0.97, "×", rate)
			r.atMost(what+"p50 at a fixed rate", 1.03, "×", p50)
			r.atMost(what+"p99 at a fixed rate", 1.1, "×", p99)
		}}, s, r)
}

// startEnvoy starts an Envoy with a listener for each route.
func startEnvoy(s *server, routes []*route) *envoytest.Process {
	text := must(envoyBootstrap(must(config.Load(s.config())), filepath.Join(s.dir, "e"), routes))
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

func compareRoutes(ctx context.Context, sizes scale, c comparison, s *server, r *report) {
	routes := c.routes
	closed, err := alternate(ctx, sizes.rounds, routeVariants(routes, s, func(route *route) (result loadResult, err error) {
		result.server, err = route.during(func() (err error) {
			result, err = route.load.closed(ctx, closedConns, sizes.closed)
			return err
		})
		return result, err
	}))
	try(err)
	// At half of the baseline's rate, Envoy is busy but nothing queues for long.
	baseRate := each(closed[c.baseline], loadResult.perSecond)
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
	table := r.add(c.title, "", "req/s", "÷ "+c.name, "CPU µs/request of the server", "p50 µs", "p50 ÷ "+c.name, "p99 µs", "p99 ÷ "+c.name, "p99.9 µs")
	late := 0.0
	for i, route := range routes {
		rates := each(closed[i], loadResult.perSecond)
		rateRatio, p50Ratio := ratios(rates, baseRate), ratios(each(paced[i], p50), each(paced[c.baseline], p50))
		p99Ratio := ratios(each(paced[i], p99), each(paced[c.baseline], p99))
		cpu := ""
		if route.server != nil {
			cpu = spreadOf(each(closed[i], loadResult.serverMicros)...).String()
		}
		table.line(route.name, spreadOf(rates...).String(), rateRatio.String(), cpu, spreadOf(each(paced[i], p50)...).String(),
			p50Ratio.String(), spreadOf(each(paced[i], p99)...).String(), p99Ratio.String(), spreadOf(each(paced[i], p999)...).String())
		for _, p := range paced[i] {
			late = max(late, p.late)
		}
		if i == len(routes)-1 {
			c.judge(rateRatio, p50Ratio, p99Ratio)
		}
	}
	table.note("req/s: %d connections, one request in flight on each. Percentiles: %s requests per second, half of what %s can do, on up to %d connections. A request's time counts from when it was due (no coordinated omission). At p99 of its worst slice the load itself was %s µs late.",
		closedConns, number(rate), routes[c.baseline].name, pacedConns, number(late))
	table.note("All routes use one Envoy with 2 workers, with listeners that differ only in the server that they ask. Load, Envoy, servers and upstream share the cores. Every answer was 200, with the user that the upstream must see.")
	table.note("tokengate's answer: the stock server allows one fixed user. The additional cost is Envoy's work on headers, metadata and route.")
}
