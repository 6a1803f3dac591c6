package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/store"
)

// decideNow is the instant of every decision of row a.
var decideNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// judgedUntil is when what is known of owners is too old.
var judgedUntil = decideNow.AddDate(1, 0, 0)

// decideSlice is what one slice of row a saw, for one decision.
type decideSlice struct{ ns, bytes, allocs float64 }

// measureDecide is row a: one decision for each reason, in indexes of different
// sizes.
func measureDecide(ctx context.Context, sizes scale, r *report) error {
	indexes, err := newIndexes(sizes.decideSizes)
	if err != nil {
		return err
	}
	s := section{Row: "a", Title: "One decision, in ns, by its reason and by the tokens in the index"}
	s.Columns = []string{"reason"}
	for _, size := range sizes.decideSizes {
		s.Columns = append(s.Columns, number(float64(size)))
	}
	s.Columns = append(s.Columns, "bytes", "allocations")
	largest := number(float64(sizes.decideSizes[len(sizes.decideSizes)-1]))
	allAllocs, passAllocs := 0.0, spread{}
	for _, c := range decideCases() {
		results, err := decideRounds(ctx, sizes, c, indexes)
		if err != nil {
			return err
		}
		line := []string{c.label()}
		var ns []spread
		for i, size := range sizes.decideSizes {
			found := spreadOf(each(results[i], func(s decideSlice) float64 { return s.ns }))
			ns = append(ns, found)
			line = append(line, s.cell(fmt.Sprintf("%s at %d", c.label(), size), "ns", found))
		}
		last := results[len(results)-1]
		bytes := spreadOf(each(last, func(s decideSlice) float64 { return math.Round(s.bytes) }))
		allocs := spreadOf(each(last, func(s decideSlice) float64 { return math.Round(s.allocs) }))
		s.Lines = append(s.Lines, append(line, s.cell(c.label(), "B", bytes), s.cell(c.label(), "allocations", allocs)))

		allAllocs = max(allAllocs, allocs.Max)
		most := ns[len(ns)-1]
		switch {
		case c.reason == authz.NoCredential:
			passAllocs = allocs
			r.atMost("Decide, pass-through, "+largest+" tokens", 150, "ns", most)
		case c.name == asBearer || c.name == asBasic:
			r.atMost("Decide, allowed by "+c.name+", "+largest+" tokens", 1000, "ns", most)
			if base := results[min(1, len(results)-1)]; len(results) > 2 {
				slower := ratios(each(last, func(s decideSlice) float64 { return s.ns }), each(base, func(s decideSlice) float64 { return s.ns }))
				r.atMost(fmt.Sprintf("Decide, allowed by %s, %s ÷ %s tokens", c.name, largest, number(float64(sizes.decideSizes[1]))), 2, "×", spreadOf(slower))
			}
		}
	}
	r.atMost("allocations of Decide, pass-through", 0, "", passAllocs)
	r.atMost("allocations of Decide, the most of any row", 0, "", spread{allAllocs, allAllocs, allAllocs})
	s.Notes = append(s.Notes, "Tokens are picked at random over the whole index. Bytes and allocations are those at the largest index.")
	r.Sections = append(r.Sections, s)
	return nil
}

// indexes are the indexes of row a by size. An index of one token holds none of
// another kind, so there is one for each kind.
type indexes struct {
	bySize map[int]*store.Index
	single map[kind]*store.Index
}

func newIndexes(sizes []int) (*indexes, error) {
	x := &indexes{bySize: map[int]*store.Index{}, single: map[kind]*store.Index{}}
	for _, size := range sizes {
		if size > 1 {
			index, err := newIndex(size)
			if err != nil {
				return nil, err
			}
			x.bySize[size] = index
		}
	}
	for k := plain; k < kindCount; k++ {
		x.single[k] = &store.Index{}
		x.single[k].UpdateOwnerStatus(standing, judgedUntil)
		if err := putInto(x.single[k], 0, k); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// newIndex puts the first size tokens of the fleet into an index.
func newIndex(size int) (*store.Index, error) {
	index := &store.Index{}
	index.UpdateOwnerStatus(standing, judgedUntil)
	for i := range size {
		if err := putInto(index, i, decideKindOf(i)); err != nil {
			return nil, err
		}
	}
	return index, nil
}

func putInto(index *store.Index, i int, k kind) error {
	t, err := recordOf(i, k)
	if err != nil {
		return err
	}
	index.Put(t)
	if k == limited {
		entry, _ := index.Lookup(t.ID)
		entry.Limiter.Take(decideNow)
	}
	return nil
}

// tokens returns the index of a size for a case, and the numbers of the tokens
// to send.
func (x *indexes) tokens(size int, c decideCase) (*store.Index, []int) {
	if size == 1 {
		return x.single[c.kind], []int{0}
	}
	// As many as no cache holds where time matters most.
	most := 1 << 14
	if c.name == asBearer || c.name == asBasic {
		most = 1 << 18
	}
	return x.bySize[size], pickAmong(size, most, func(i int) bool { return decideKindOf(i) == c.kind })
}

// decideRounds measures a case at every size.
func decideRounds(ctx context.Context, sizes scale, c decideCase, x *indexes) ([][]decideSlice, error) {
	var contenders []contender[decideSlice]
	for _, size := range sizes.decideSizes {
		index, picked := x.tokens(size, c)
		texts := []string{c.request.Authorization}
		if c.credential != nil {
			var err error
			if texts, err = credentialTexts(c, picked, size); err != nil {
				return nil, err
			}
		}
		view := authz.View{Policy: c.policy(), Index: index, Now: decideNow}
		if c.stale {
			view.Now = judgedUntil
		}
		at := 0
		contenders = append(contenders, contender[decideSlice]{c.label(), func(context.Context) (decideSlice, error) {
			return timeDecide(c, view, texts, &at, sizes.decideSlice)
		}})
	}
	return alternate(ctx, sizes.decideRounds, contenders)
}

// credentialTexts makes the values to send, in one piece of memory, in the
// order in which they are sent: only the index is read at random.
func credentialTexts(c decideCase, picked []int, size int) ([]string, error) {
	var all strings.Builder
	ends := make([]int, len(picked))
	for n, i := range picked {
		text, err := c.credential(i, size)
		if err != nil {
			return nil, err
		}
		all.WriteString(text)
		ends[n] = all.Len()
	}
	texts := make([]string, len(picked))
	begin := 0
	for n, end := range ends {
		texts[n] = all.String()[begin:end]
		begin = end
	}
	return texts, nil
}

// timeDecide decides over and over for a while, going on in texts where it
// stopped before.
func timeDecide(c decideCase, view authz.View, texts []string, at *int, length time.Duration) (decideSlice, error) {
	const between = 256 // looks at the clock
	request := c.request
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, i := 0, *at
	began := time.Now()
	// At least one round, or a short slice on a busy machine has no decision.
	for n == 0 || time.Since(began) < length {
		for range between {
			if i >= len(texts) {
				i = 0
			}
			request.Authorization = texts[i]
			i++
			if d := authz.Decide(&request, view); d.Reason != c.reason {
				return decideSlice{}, c.wrong(d.Reason)
			}
		}
		n += between
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	*at = i
	return decideSlice{
		ns:     float64(took) / float64(n),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
	}, nil
}
