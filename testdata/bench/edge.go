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

	"github.com/tokengate/tokengate/envoy/envoytest"
)

// way is one of the ways to the upstream that row c compares.
type way struct {
	name   string
	server askedServer
	child  *child // the server that Envoy asks; nil where nobody is asked
	load   *h1load
}

// edgeSlice is one slice of row c, as fast as answers come.
type edgeSlice struct {
	loadResult
	cpu time.Duration // of the server that Envoy asks
}

// edgeConns is the number of connections of the closed loop; at a fixed rate
// there are more, so that the load itself is not what requests wait for.
const (
	edgeConns  = 16
	pacedConns = 64
)

// measureEdge is row c: requests through a real Envoy.
func measureEdge(ctx context.Context, sizes scale, r *report) (err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	upstream, err := startRole(roleUpstream, listener.(*net.TCPListener))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, upstream.stop()) }()
	if err := listener.Close(); err != nil {
		return err
	}
	gate, err := startGate(ctx, sizes.tokens, listener.Addr().String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.close()) }()
	credentials, err := newCredentials(sizes.tokens)
	if err != nil {
		return err
	}

	direct := &way{name: "upstream alone", load: &h1load{address: listener.Addr().String()}}
	alone := &way{name: "Envoy alone", server: askedServer{listener: "alone"}}
	stock := &way{name: "Envoy + stock allow-all", server: askedServer{"allow-all", filepath.Join(gate.dir, "c1")}}
	same := &way{name: "Envoy + stock allow-all, tokengate's answer", server: askedServer{"same-answer", filepath.Join(gate.dir, "c2")}}
	ours := &way{name: "Envoy + tokengate", server: askedServer{"tokengate", gate.check}, child: gate.child}
	if stock.child, err = startAllowAll(stock.server.socket, roleAllowAll); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stock.child.stop()) }()
	if same.child, err = startAllowAll(same.server.socket, roleSameAnswer); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, same.child.stop()) }()

	stop, err := startEdge(gate, []*way{alone, stock, same, ours})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	same.load.user, ours.load.user = seesAlways, seesOwner
	ways := []*way{stock, direct, alone, same, ours}
	for _, w := range ways {
		w.load.credentials = credentials
		if w.child != nil {
			if err := w.child.pause(); err != nil {
				return err
			}
		}
	}
	return r.edgeSection(ctx, sizes, ways, gate)
}

// startEdge starts an Envoy with a listener for each of the ways, and gives
// them their loads.
func startEdge(gate *gate, ways []*way) (stop func() error, err error) {
	binary, err := envoytest.Binary()
	if err != nil {
		return nil, err
	}
	settings, err := gate.config(gate.check)
	if err != nil {
		return nil, err
	}
	var servers []askedServer
	for _, w := range ways {
		servers = append(servers, w.server)
	}
	text, err := edgeBootstrap(settings, filepath.Join(gate.dir, "e"), servers)
	if err != nil {
		return nil, err
	}
	process, err := envoytest.Run(binary, text)
	if err != nil {
		return nil, err
	}
	addresses, err := listenerAddresses(process)
	if err != nil {
		return nil, errors.Join(err, process.Stop())
	}
	for _, w := range ways {
		w.load = &h1load{address: addresses[w.server.listener]}
	}
	return process.Stop, nil
}

// listenerAddresses asks Envoy where its listeners are, by their names.
func listenerAddresses(p *envoytest.Process) (map[string]string, error) {
	text, err := p.Admin("/listeners?format=json")
	if err != nil {
		return nil, err
	}
	var reply struct {
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
	if err := json.Unmarshal(text, &reply); err != nil {
		return nil, fmt.Errorf("read Envoy's listeners: %w", err)
	}
	all := map[string]string{}
	for _, s := range reply.Statuses {
		all[s.Name] = net.JoinHostPort(s.Local.Socket.Address, strconv.Itoa(s.Local.Socket.Port))
	}
	return all, nil
}

// edgeSection measures the ways, the first of which is the rival, and the last
// tokengate's.
func (r *report) edgeSection(ctx context.Context, sizes scale, ways []*way, gate *gate) error {
	rates, err := closedRounds(ctx, sizes, ways, gate)
	if err != nil {
		return err
	}
	// Half of what the rival can do: busy, but nothing queues for long.
	rival := spreadOf(each(rates[0], edgeSlice.perSecond))
	rate := math.Max(100, math.Round(rival.Median/2/100)*100)
	times, err := pacedRounds(ctx, sizes, ways, rate, gate)
	if err != nil {
		return err
	}
	s := section{
		Row:   "c",
		Title: fmt.Sprintf("End to end, HTTP/1.1, %s tokens", number(float64(sizes.tokens))),
		Columns: []string{"", "req/s", "÷ allow-all", "CPU µs/request of the server asked",
			"p50 µs", "p99 µs", "p99 ÷ allow-all", "p99.9 µs"},
	}
	late := 0.0
	order := []int{1, 2, 0, 3, 4} // from the upstream outwards
	for _, i := range order {
		w := ways[i]
		ratio := spreadOf(ratios(each(rates[i], edgeSlice.perSecond), each(rates[0], edgeSlice.perSecond)))
		p99 := spreadOf(ratios(each(times[i], pacedResult.p99Micros), each(times[0], pacedResult.p99Micros)))
		cpu := ""
		if w.child != nil {
			cpu = s.cell(w.name, "CPU µs/request", spreadOf(each(rates[i], func(e edgeSlice) float64 { return micros(e.cpu) / float64(e.answers) })))
		}
		s.Lines = append(s.Lines, []string{
			w.name,
			s.cell(w.name, "req/s", spreadOf(each(rates[i], edgeSlice.perSecond))),
			s.cell(w.name+", req/s ÷ allow-all", "", ratio),
			cpu,
			s.cell(w.name+", p50", "µs", spreadOf(each(times[i], func(p pacedResult) float64 { return micros(p.p50) }))),
			s.cell(w.name+", p99", "µs", spreadOf(each(times[i], pacedResult.p99Micros))),
			s.cell(w.name+", p99 ÷ allow-all", "", p99),
			s.cell(w.name+", p99.9", "µs", spreadOf(each(times[i], func(p pacedResult) float64 { return micros(p.p999) }))),
		})
		for _, p := range times[i] {
			late = max(late, micros(p.late))
		}
		if i == len(ways)-1 {
			r.atLeast("end to end, requests per second, Envoy + tokengate ÷ Envoy + stock allow-all", 1, "×", ratio)
			r.atMost("end to end, p99 at a fixed rate, Envoy + tokengate ÷ Envoy + stock allow-all", 1.05, "×", p99)
			r.Bars = append(r.Bars,
				bar{"end to end, requests per second", ratio, 1, false},
				bar{"end to end, p99 at a fixed rate", p99, 1.05, true})
		}
	}
	s.Notes = append(s.Notes,
		fmt.Sprintf("req/s: %d connections, a request under way on each. Percentiles: %s requests per second, half of what Envoy + allow-all can do, on up to %d connections; a request's time counts from when it was due, so one that waits for others' answers is late itself (no coordinated omission).",
			edgeConns, number(rate), pacedConns),
		fmt.Sprintf("At p99 of its worst slice the load itself was %s µs late.", number(late)),
		"All go through one Envoy with 2 workers, by listeners alike but for whom they ask. Load, Envoy, servers and upstream share the cores. Every answer was 200, and showed whom the upstream saw.",
		"With tokengate's answer: the stock server, when it lets in one fixed user. What that costs more is Envoy's work on headers, metadata and route.")
	r.Sections = append(r.Sections, s)
	return nil
}

func (p pacedResult) p99Micros() float64 { return micros(p.p99) }

func closedRounds(ctx context.Context, sizes scale, ways []*way, gate *gate) ([][]edgeSlice, error) {
	var contenders []contender[edgeSlice]
	for _, w := range ways {
		contenders = append(contenders, contender[edgeSlice]{w.name, func(ctx context.Context) (s edgeSlice, err error) {
			w.load.conns = edgeConns
			s.cpu, err = w.during(func() error {
				s.loadResult, err = w.load.closed(ctx, sizes.edgeSlice)
				return err
			})
			return s, errors.Join(err, gate.trimLog())
		}})
	}
	return alternate(ctx, sizes.edgeRounds, contenders)
}

func pacedRounds(ctx context.Context, sizes scale, ways []*way, rate float64, gate *gate) ([][]pacedResult, error) {
	var contenders []contender[pacedResult]
	for _, w := range ways {
		contenders = append(contenders, contender[pacedResult]{w.name, func(ctx context.Context) (p pacedResult, err error) {
			w.load.conns = pacedConns
			_, err = w.during(func() error {
				p, err = w.load.paced(ctx, rate, sizes.paceSlice)
				return err
			})
			return p, errors.Join(err, gate.trimLog())
		}})
	}
	return alternate(ctx, sizes.edgeRounds, contenders)
}

// during lets the server run that Envoy asks on this way, if there is one.
func (w *way) during(work func() error) (time.Duration, error) {
	if w.child == nil {
		return 0, work()
	}
	return w.child.during(work)
}
