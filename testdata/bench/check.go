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
}{{full, 0.42, 1.55}, {trimmed, 0.55, 1.15}}

// measureCheck is row b: tokengate with everything on beside the stock server that
// allows everything.
func measureCheck(ctx context.Context, sizes scale, r *report) {
	s := must(startServer(ctx, sizes.tokens, "127.0.0.1:1"))
	defer func() { try(s.close()) }()
	socket := filepath.Join(s.dir, "b")
	stock := must(startAllowAll(socket, roleAllowAll))
	defer func() { try(stock.stop()) }()
	credentials := must(newCredentials(sizes.tokens))

	table := r.add(fmt.Sprintf("(b) Check over a unix socket, 2 connections with 64 streams each, %s tokens", count(sizes.tokens)),
		"", "req/s", "÷ allow-all", "server CPU µs/request", "÷ allow-all")
	answered, generator := 0, 0.0
	for _, target := range checkTargets {
		stockLoad := must(newGRPCLoad(socket, target.shape, false, credentials))
		load := must(newGRPCLoad(s.check, target.shape, true, credentials))
		try(errors.Join(stock.pause(), s.pause()))
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
		results := must(alternate(ctx, sizes.rounds, variants))
		try(errors.Join(stock.resume(), s.resume()))
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
	dropped := must(s.droppedLines())
	table.note("Every answer was checked: an allow, and tokengate's must name the token's owner. tokengate gave %s answers and dropped %s log lines.", count(answered), dropped)
	table.note("Tokens are picked at random from the store. The load shares the cores and takes up to %.1f of them. A server is stopped while the other is measured, so its CPU includes work that it postpones.", generator)
}
