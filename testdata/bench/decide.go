package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// measureDecide is row a: one decision, at indexes of different sizes.
// BenchmarkDecide of package authz times every reason.
func measureDecide(ctx context.Context, sizes scale, r *report) {
	try(flag.Set("test.benchtime", sizes.decide.String()))
	tokens := []int{sizes.small, sizes.tokens}
	columns := []string{"ns per decision"}
	var views []authz.View
	var all []*credentials
	for _, size := range tokens {
		columns = append(columns, count(size)+" tokens")
		index := must(newIndex(size))
		c := must(newCredentials(size))
		views, all = append(views, permitAll(index)), append(all, c)
	}
	s := r.add("(a) One decision", append(columns, "bytes", "allocations")...)
	s.note("Tokens are picked at random from the whole index. Bytes and allocations are those at the largest index.")
	passThrough := func(*credentials) []string { return []string{""} }
	for _, c := range []struct {
		name   string
		path   string
		texts  func(*credentials) []string
		reason authz.Reason
		limit  float64 // ns
	}{
		{"pass-through", "/secure/Dashboard.jspa?selectPageId=10100", passThrough, authz.NoCredential, 150},
		{"allowed by Bearer", searchPath, func(c *credentials) []string { return c.of(bearer) }, authz.TokenAllowed, 800},
		{"allowed by Basic", searchPath, func(c *credentials) []string { return c.of(basic) }, authz.TokenAllowed, 800},
	} {
		var variants []variant[testing.BenchmarkResult]
		for i, size := range tokens {
			decide := decideBenchmark(views[i], c.path, c.texts(all[i]), c.reason)
			variants = append(variants, variant[testing.BenchmarkResult]{fmt.Sprintf("%s at %d", c.name, size), decide})
		}
		results := must(alternate(ctx, sizes.rounds, variants))
		line := []string{c.name}
		ns := make([][]float64, len(tokens))
		for i := range tokens {
			ns[i] = each(results[i], func(b testing.BenchmarkResult) float64 { return float64(b.T) / float64(b.N) })
			line = append(line, spreadOf(ns[i]...).String())
		}
		largest := results[len(tokens)-1]
		bytes := spreadOf(each(largest, func(b testing.BenchmarkResult) float64 { return float64(b.AllocedBytesPerOp()) })...)
		allocs := spreadOf(each(largest, func(b testing.BenchmarkResult) float64 { return float64(b.AllocsPerOp()) })...)
		s.line(append(line, bytes.String(), allocs.String())...)
		r.atMost(fmt.Sprintf("Decide, %s, %s tokens", c.name, count(sizes.tokens)), c.limit, "ns", spreadOf(ns[1]...))
		if c.reason == authz.TokenAllowed {
			r.atMost(fmt.Sprintf("Decide, %s, %s ÷ %s tokens", c.name, count(sizes.tokens), count(sizes.small)), 2, "×", ratios(ns[1], ns[0]))
		}
		r.atMost("allocations of Decide, "+c.name, 0, "", allocs)
	}
	hash, read := partsOfDecision(sizes)
	s.note("Of an allowed decision, the hash of the secret takes %s ns on this machine, and a read of main memory %s ns. At %s tokens there are two such reads that the smaller index has in its cache.",
		hash.String(), read.String(), count(sizes.tokens))
}

// partsOfDecision measures what no code of a decision can save: the SHA-256 of a salt
// and a secret, and one dependent read from memory that no cache holds, as large as an
// index of a million tokens.
func partsOfDecision(sizes scale) (hash, read spread) {
	const words = 1 << 25 // 128 MiB
	next := make([]uint32, words)
	for i := range next {
		next[i] = uint32(i)
	}
	for i := words - 1; i > 0; i-- { // Sattolo: one cycle through all words
		j := rand.IntN(i)
		next[i], next[j] = next[j], next[i]
	}
	value, salt, at := must(valueOf(0)), [16]byte{}, uint32(0)
	var hashes, reads []float64
	for range sizes.rounds {
		hashes = append(hashes, nanoseconds(func() { salt[0] = value.Hash(salt)[0] }))
		reads = append(reads, nanoseconds(func() { at = next[at] }))
	}
	return spreadOf(hashes...), spreadOf(reads...)
}

// nanoseconds returns the time of one call of f.
func nanoseconds(f func()) float64 {
	result := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			f()
		}
	})
	return float64(result.T) / float64(result.N)
}

// newIndex puts the first size tokens of the dataset into an index.
func newIndex(size int) (_ *index.Index, err error) {
	tokens := &index.Index{}
	records(size, func(t store.Token, e error) bool {
		if err = e; e == nil {
			tokens.Put(t)
		}
		return e == nil
	})
	return tokens, err
}

// decideBenchmark returns a slice that decides requests for a path with these
// Authorization values in turn. It continues where the previous slice ended.
func decideBenchmark(view authz.View, path string, texts []string, reason authz.Reason) func(context.Context) (testing.BenchmarkResult, error) {
	next, request := 0, decideRequest(path)
	return func(context.Context) (testing.BenchmarkResult, error) {
		wrong := reason
		result := testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				request.Authorization = texts[next]
				if next++; next == len(texts) {
					next = 0
				}
				if d := authz.Decide(&request, view); d.Reason != reason {
					wrong = d.Reason
				}
			}
		})
		switch {
		case wrong != reason:
			return result, fmt.Errorf("a request for %v was decided as %v", reason, wrong)
		case result.N == 0:
			return result, errors.New("the benchmark failed")
		}
		return result, nil
	}
}

// decideRequest returns a request without a credential.
func decideRequest(path string) authz.Request {
	return authz.Request{
		Method: "GET", Path: path, Client: netip.MustParseAddr("10.1.2.3"),
		RequestID: "e319af8f-85a6-4d3d-af89-aef9d5d2deb9", UserAgent: "python-requests/2.32.3",
	}
}
