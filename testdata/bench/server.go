package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// rival is a server under the load of row b.
type rival struct {
	name   string
	child  *child
	socket string
	named  bool // its answers name the token's owner
}

// loadSlice is one slice of row b.
type loadSlice struct {
	loadResult
	cpu time.Duration // of the server
}

func (s loadSlice) cpuEach() float64 { return micros(s.cpu) / float64(s.answers) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// measureServer is row b: tokengate with everything on beside the stock server
// that allows everything.
func measureServer(ctx context.Context, sizes scale, r *report) (err error) {
	gate, err := startGate(ctx, sizes.tokens, "127.0.0.1:1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.close()) }()
	before, err := gate.metrics(ctx)
	if err != nil {
		return err
	}
	rivals := []*rival{
		{name: "stock allow-all"},
		{name: "tokengate", child: gate.child, socket: gate.check, named: true},
	}
	collector, err := smallGC(ctx, sizes)
	if err != nil {
		return err
	}
	if len(collector) > 0 {
		rivals = append(rivals, &rival{name: "stock allow-all, tokengate's GC settings"})
	}
	for i, v := range rivals {
		if v.child != nil {
			continue
		}
		v.socket = filepath.Join(gate.dir, fmt.Sprintf("b%d", i))
		var environment []string
		if i > 0 {
			environment = collector
		}
		if v.child, err = startAllowAll(v.socket, roleAllowAll, environment...); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, v.child.stop()) }()
	}

	credentials, err := newCredentials(sizes.tokens)
	if err != nil {
		return err
	}
	s := section{
		Row:     "b",
		Title:   fmt.Sprintf("Check over a unix socket, 2 connections with 64 streams each, %s tokens", number(float64(sizes.tokens))),
		Columns: []string{"", "req/s", "÷ allow-all", "server CPU µs/request", "÷ allow-all"},
	}
	answered, generator := 0, 0.0
	for _, shape := range []shape{full, trimmed} {
		results, loads, err := underLoad(ctx, sizes, rivals, shape, credentials, gate)
		if err != nil {
			return err
		}
		stock := results[0]
		for i, v := range rivals {
			rate := ratios(each(results[i], loadSlice.perSecond), each(stock, loadSlice.perSecond))
			cpu := ratios(each(results[i], loadSlice.cpuEach), each(stock, loadSlice.cpuEach))
			name := fmt.Sprintf("%s, %s", v.name, shape)
			s.Lines = append(s.Lines, []string{
				name,
				s.cell(name, "req/s", spreadOf(each(results[i], loadSlice.perSecond))),
				s.cell(name+", req/s ÷ allow-all", "", spreadOf(rate)),
				s.cell(name, "CPU µs/request", spreadOf(each(results[i], loadSlice.cpuEach))),
				s.cell(name+", CPU ÷ allow-all", "", spreadOf(cpu)),
			})
			if v.named {
				r.judgeLoad(shape, spreadOf(cpu), spreadOf(rate))
				answered += loads[i].cursor
			}
			for _, slice := range results[i] {
				generator = max(generator, slice.generator.Seconds()/slice.took.Seconds())
			}
		}
		s.Notes = append(s.Notes, fmt.Sprintf("%s: CheckRequests of %d bytes (Bearer) and %d (Basic), every other one.",
			shape, loads[0].questions[bearer].size(), loads[0].questions[basic].size()))
	}
	after, err := gate.metrics(ctx)
	if err != nil {
		return err
	}
	if counted := after[allowedMetric] - before[allowedMetric]; counted != float64(answered) {
		return fmt.Errorf("tokengate counted %.0f allowed requests, and the load %d answers", counted, answered)
	}
	s.Notes = append(s.Notes,
		fmt.Sprintf("Every answer was checked: an allow, from tokengate one that names the token's owner. Of tokengate's %s none is missing; it counted as many, and dropped %s lines of its log.",
			number(float64(answered)), number(after[lostMetric]-before[lostMetric])),
		fmt.Sprintf("Tokens are picked at random over the store. The load shares the cores and takes up to %.1f of them. A server is stopped while its rivals are measured, so its CPU includes what it puts off.", generator))
	if len(collector) == 0 {
		s.Notes = append(s.Notes, "tokengate leaves Go's garbage collector as it is, so there is no second baseline.")
	} else {
		s.Notes = append(s.Notes, "tokengate's settings of the garbage collector, with a heap as small as the stock server's: "+strings.Join(collector, " "))
	}
	r.Sections = append(r.Sections, s)
	return nil
}

// smallGC returns how tokengate sets Go's garbage collector when its heap is
// about as small as the stock server's: it fits it to the heap.
func smallGC(ctx context.Context, sizes scale) (settings []string, err error) {
	gate, err := startGate(ctx, sizes.small, "127.0.0.1:1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, gate.close()) }()
	figures, err := gate.metrics(ctx)
	return gcSettings(figures), err
}

// judgeLoad holds a shape's ratios against the marks.
func (r *report) judgeLoad(s shape, cpu, rate spread) {
	cpuMark, rateMark := 0.60, 1.55
	if s == trimmed {
		cpuMark, rateMark = 0.85, 1.15
	}
	r.atMost("server CPU per request, tokengate ÷ stock allow-all, "+string(s), cpuMark, "×", cpu)
	r.atLeast("requests per second, tokengate ÷ stock allow-all, "+string(s), rateMark, "×", rate)
	r.Bars = append(r.Bars,
		bar{"server CPU per request, " + string(s), cpu, cpuMark, true},
		bar{"requests per second, " + string(s), rate, rateMark, false})
}

// underLoad measures the rivals with questions of one shape.
func underLoad(ctx context.Context, sizes scale, rivals []*rival, s shape, c *credentials, g *gate) ([][]loadSlice, []*h2load, error) {
	var contenders []contender[loadSlice]
	var loads []*h2load
	for _, v := range rivals {
		load, err := newH2load(v.socket, s, v.named, c)
		if err != nil {
			return nil, nil, err
		}
		loads = append(loads, load)
		if err := v.child.pause(); err != nil {
			return nil, nil, err
		}
		contenders = append(contenders, contender[loadSlice]{v.name, func(ctx context.Context) (slice loadSlice, err error) {
			slice.cpu, err = v.child.during(func() error {
				slice.loadResult, err = load.run(ctx, sizes.loadSlice)
				return err
			})
			return slice, errors.Join(err, g.trimLog())
		}})
	}
	results, err := alternate(ctx, sizes.loadRounds, contenders)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range rivals {
		if err := v.child.resume(); err != nil {
			return nil, nil, err
		}
	}
	return results, loads, nil
}

// during lets a paused process run while work is done, and returns the CPU
// time that it used.
func (c *child) during(work func() error) (time.Duration, error) {
	before, err := c.cpu()
	if err != nil {
		return 0, err
	}
	if err := c.resume(); err != nil {
		return 0, err
	}
	if err := errors.Join(work(), c.pause()); err != nil {
		return 0, err
	}
	after, err := c.cpu()
	return after - before, err
}

// startAllowAll starts the stock server in a role, on a socket.
func startAllowAll(socket, role string, environment ...string) (*child, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer os.Chmod(socket, 0o600)
	l.SetUnlinkOnClose(false)
	defer l.Close()
	return startRole(role, l, environment...)
}
