package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// checkTargets are the targets of row b: server CPU and requests per second,
// tokengate ÷ stock allow-all.
var checkTargets = []struct {
	shape     shape
	cpu, rate float64
}{{full, 0.60, 1.55}, {trimmed, 0.85, 1.15}}

// measureCheck is row b: tokengate with everything on beside the stock server that
// allows everything.
func measureCheck(ctx context.Context, sizes scale, r *report) (err error) {
	s, err := startServer(ctx, sizes.tokens, "127.0.0.1:1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	socket := filepath.Join(s.dir, "b")
	stock, err := startAllowAll(socket, roleAllowAll)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stock.stop()) }()
	credentials, err := newCredentials(sizes.tokens)
	if err != nil {
		return err
	}
	before, err := s.metrics()
	if err != nil {
		return err
	}

	table := r.add(fmt.Sprintf("(b) Check over a unix socket, 2 connections with 64 streams each, %s tokens", count(sizes.tokens)),
		"", "req/s", "÷ allow-all", "server CPU µs/request", "÷ allow-all")
	answered, generator := 0, 0.0
	for _, target := range checkTargets {
		stockLoad, err := newGRPCLoad(socket, target.shape, false, credentials)
		if err != nil {
			return err
		}
		load, err := newGRPCLoad(s.check, target.shape, true, credentials)
		if err != nil {
			return err
		}
		if err := errors.Join(stock.pause(), s.pause()); err != nil {
			return err
		}
		slice := func(p *process, l *grpcLoad) func(context.Context) (loadResult, error) {
			return func(ctx context.Context) (result loadResult, err error) {
				cpu, err := p.during(func() (err error) {
					result, err = l.run(ctx, sizes.check)
					return err
				})
				result.server = cpu
				return result, errors.Join(err, s.trimLog())
			}
		}
		variants := []variant[loadResult]{{"stock allow-all", slice(stock, stockLoad)}, {"tokengate", slice(s.process, load)}}
		results, err := alternate(ctx, sizes.rounds, variants)
		if err != nil {
			return err
		}
		if err := errors.Join(stock.resume(), s.resume()); err != nil {
			return err
		}
		baseRate, baseCPU := each(results[0], loadResult.perSecond), each(results[0], loadResult.serverMicros)
		for i, v := range variants {
			rate, cpu := each(results[i], loadResult.perSecond), each(results[i], loadResult.serverMicros)
			table.line(fmt.Sprintf("%s, %s", v.name, target.shape), spreadOf(rate...).String(), ratios(rate, baseRate).String(),
				spreadOf(cpu...).String(), ratios(cpu, baseCPU).String())
			for _, slice := range results[i] {
				generator = max(generator, slice.generator.Seconds()/slice.took.Seconds())
			}
			if i == 1 {
				r.atMost("server CPU per request, tokengate ÷ stock allow-all, "+string(target.shape), target.cpu, "×", ratios(cpu, baseCPU))
				r.atLeast("requests per second, tokengate ÷ stock allow-all, "+string(target.shape), target.rate, "×", ratios(rate, baseRate))
			}
		}
		answered += load.cursor
		table.note("%s: CheckRequests of %d bytes (Bearer) and %d (Basic) in turn.", target.shape, load.templates[bearer].size(), load.templates[basic].size())
	}
	after, err := s.metrics()
	if err != nil {
		return err
	}
	if counted := after[allowedMetric] - before[allowedMetric]; counted != float64(answered) {
		return fmt.Errorf("tokengate counted %.0f allowed requests, and the load %d answers", counted, answered)
	}
	table.note("Every answer was checked: an allow, and tokengate's must name the token's owner. tokengate counted its %s answers, and dropped %s log lines.",
		count(answered), number(after[droppedMetric]-before[droppedMetric]))
	table.note("Tokens are picked at random from the store. The load shares the cores and takes up to %.1f of them. A server is stopped while the other is measured, so its CPU includes work that it postpones.", generator)
	return nil
}
