package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/index"
)

// The two forms of upstream.identity, which are also roles of runRole.
const (
	headerForm = "identity header"
	patForm    = "personal access token"
)

// leastForm is the target of the PAT form ÷ the header form.
const leastForm = 0.97

// keyOf returns the key of an owner. Upstream credentials belong to keys.
func keyOf(owner string) string { return "JIRAUSER" + owner[len("user"):] }

// patOf returns an owner's personal access token. It is as long as Jira's, and begins with the name.
func patOf(owner string) string { return owner + strings.Repeat("x", patLength-len(owner)) }

const patLength = 44

// newKeyedIndex puts the first size tokens of the dataset into an index, with the keys of their owners.
func newKeyedIndex(size int) (_ *index.Index, err error) {
	tokens := &index.Index{}
	records(size, func(t store.Token, e error) bool {
		if err = e; e == nil {
			t.Owner.Key = keyOf(t.Owner.Name)
			tokens.Put(t)
		}
		return e == nil
	})
	return tokens, err
}

// connectAll gives every owner of the first size tokens an upstream credential.
func connectAll(tokens *index.Index, size int) {
	all := make(map[string]*index.Upstream)
	for i := range min(owners, size) {
		all[keyOf(ownerOf(i))] = index.NewUpstream(envoy.UpstreamAnswer(patOf(ownerOf(i))))
	}
	tokens.SetUpstreams(all)
}

// formConfig returns the default configuration with a form.
func formConfig(form string) config.Config {
	c := config.Default()
	if form == patForm {
		c.Upstream.Identity = patIdentity
	}
	return c
}

var patIdentity = config.Identity{PAT: config.PATIdentity{SealKeys: []string{"/etc/tokengate/seal-key"}}}

// formView returns a view of a form in which every owner may use tokens.
func formView(tokens *index.Index, size int, form string) authz.View {
	if form == patForm {
		connectAll(tokens, size)
	}
	view := permitAll(tokens)
	view.Policy = policy.New(formConfig(form))
	return view
}

// sizeVariable tells the roles of the forms how many tokens to have.
const sizeVariable = "TOKENGATE_BENCH_TOKENS"

// serveForm serves Check from an index in memory, in a form: tokengate's server without its store
// and its log, so that a difference shows more.
func serveForm(l net.Listener, form string) error {
	size, err := strconv.Atoi(os.Getenv(sizeVariable))
	if err != nil {
		return err
	}
	tokens, err := newKeyedIndex(size)
	if err != nil {
		return err
	}
	settings := formConfig(form)
	s := &envoy.Server{
		Policy: new(atomic.Pointer[policy.Policy]), Index: tokens, Usage: cached.NewUsageRecorder(new(cached.Store)),
		ClientAddress: settings.ClientAddress, Upstream: settings.Upstream,
		Log: zap.NewNop(), Metrics: envoy.NewMetrics(prometheus.NewRegistry()), Now: func() time.Time { return benchTime },
	}
	s.Policy.Store(formView(tokens, size, form).Policy)
	server, _, err := s.GRPC()
	if err != nil {
		return err
	}
	return server.Serve(l)
}

// startForm starts serveForm on a socket, and waits until it serves.
func startForm(socket, form string, size int) (*process, error) {
	if err := os.Setenv(sizeVariable, strconv.Itoa(size)); err != nil {
		return nil, err
	}
	p, err := startAllowAll(socket, form)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("unix", socket)
	if err == nil {
		defer conn.Close()
		// A server sends its settings first.
		_, err = conn.Read(make([]byte, 1))
	}
	if err != nil {
		err = fmt.Errorf("start %s: %w", form, errors.Join(err, p.stop()))
	}
	return p, err
}

// measureForms is row f: the PAT form of upstream.identity beside the header form.
func measureForms(ctx context.Context, sizes scale, r *report) {
	table := r.add(fmt.Sprintf("(f) Personal access tokens ÷ identity header, %s tokens of %s owners", count(sizes.tokens), count(min(owners, sizes.tokens))),
		"", headerForm, patForm, "ratio")
	measureFormMemory(sizes, r, table)
	measureFormDecide(ctx, sizes, r, table)
	measureFormServers(ctx, sizes, r, table)
	table.note("Memory is that of the index. Decide is in decisions per second of CPU time. Check is the gRPC server alone, as in (b), without log and store; Envoy has its configuration for the form.")
}

func measureFormMemory(sizes scale, r *report, table *section) {
	const megabyte = 1e6
	var tokens *index.Index
	without := must(heapPerToken(1, func() (any, error) {
		var err error
		tokens, err = newKeyedIndex(sizes.tokens)
		return tokens, err
	})).median / megabyte
	more := must(heapPerToken(1, func() (any, error) { connectAll(tokens, sizes.tokens); return tokens, nil })).median / megabyte
	table.line("memory, MB", number(without), number(without+more), "+"+number(more))
	r.atMost(fmt.Sprintf("upstream credentials of %s owners, at %s tokens", count(min(owners, sizes.tokens)), count(sizes.tokens)), 12, "MB", spreadOf(more))
}

// measureFormDecide counts CPU time, because the difference is smaller than what other processes do
// to a round.
func measureFormDecide(ctx context.Context, sizes scale, r *report, table *section) {
	const decisions = 20_000 // in a slice
	texts := must(newCredentials(sizes.tokens)).of(bearer)
	var variants []variant[float64]
	for _, form := range []string{headerForm, patForm} {
		view, request, next := formView(must(newKeyedIndex(sizes.tokens)), sizes.tokens, form), decideRequest(searchPath), 0
		variants = append(variants, variant[float64]{"Decide, " + form, func(context.Context) (perSecond float64, err error) {
			before := usedCPU()
			for range decisions {
				request.Authorization = texts[next]
				next = (next + 1) % len(texts)
				if d := authz.Decide(&request, view); d.Reason != authz.TokenAllowed {
					return 0, fmt.Errorf("a request was decided as %v", d.Reason)
				}
			}
			return decisions / (usedCPU() - before).Seconds(), nil
		}})
	}
	runtime.GC()
	results := must(alternate(ctx, 5*sizes.rounds, variants))
	addForms(r, table, "Decide, allowed by Bearer", results[0], results[1])
}

// addForms adds the figures of both forms, which are better the larger they are.
func addForms(r *report, table *section, what string, header, pat []float64) {
	ratio := ratios(pat, header)
	table.line(what, spreadOf(header...).String(), spreadOf(pat...).String(), ratio.String())
	r.atLeast("PAT form ÷ header form, "+what, leastForm, "×", ratio)
}

func measureFormServers(ctx context.Context, sizes scale, r *report, table *section) {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	address := listener.Addr().String()
	upstream, err := startRole(roleUpstream, listener.(*net.TCPListener))
	try(errors.Join(err, listener.Close()))
	defer func() { try(upstream.stop()) }()
	s := must(startServer(ctx, sizes.small, address)) // for its configuration
	defer func() { try(s.close()) }()
	credentials := must(newCredentials(sizes.tokens))

	var routes []*route
	var checks, requests []variant[loadResult]
	for n, form := range []string{headerForm, patForm} {
		route := &route{name: form, socket: filepath.Join(s.dir, fmt.Sprint("f", n)), pat: form == patForm}
		route.server = must(startForm(route.socket, form, sizes.tokens))
		defer func() { try(route.server.stop()) }()
		load := must(newGRPCLoad(route.socket, trimmed, true, credentials))
		checks = append(checks, variant[loadResult]{"Check, " + form, func(ctx context.Context) (result loadResult, err error) {
			result.server, err = route.during(func() (err error) {
				result, err = load.run(ctx, sizes.check)
				return err
			})
			return result, err
		}})
		requests = append(requests, variant[loadResult]{"Envoy, " + form, func(ctx context.Context) (result loadResult, err error) {
			result.server, err = route.during(func() (err error) {
				result, err = route.load.closed(ctx, closedConns, sizes.closed)
				return err
			})
			return result, err
		}})
		routes = append(routes, route)
	}
	process := startEnvoy(s, routes)
	defer func() { try(process.Stop()) }()
	for _, route := range routes {
		route.load.credentials = credentials
		route.load.user = func(owner string) string { return owner }
		try(route.server.pause())
	}
	for _, kind := range []struct {
		what     string
		variants []variant[loadResult]
	}{{"requests per second, Check", checks}, {"requests per second, end to end through Envoy", requests}} {
		results := must(alternate(ctx, sizes.rounds, kind.variants))
		addForms(r, table, kind.what, each(results[0], loadResult.perSecond), each(results[1], loadResult.perSecond))
	}
	for _, route := range routes {
		try(route.server.resume())
	}
}
