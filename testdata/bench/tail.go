package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// writesPerSecond is how much is written while lookups are timed.
const writesPerSecond = 500

// tailSlice is what decisions took in one slice, and what was done beside them.
type tailSlice struct {
	p50, p99, p999 float64 // ns
	others         float64 // per second: writes or listings
}

// measureTail times decisions one by one, in this process, with nothing else
// going on and with writes going on.
func measureTail(ctx context.Context, sizes scale, r *report, s *section) (err error) {
	t, err := newTail(ctx, sizes.tokens)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	results, err := alternate(ctx, sizes.tailRounds, []contender[tailSlice]{
		{"quiet", func(ctx context.Context) (tailSlice, error) { return t.decide(sizes.tailSlice) }},
		{"with writes", func(ctx context.Context) (tailSlice, error) { return t.decideBesideWrites(ctx, sizes.tailSlice) }},
	})
	if err != nil {
		return err
	}
	s.besides("writes", results)
	writes := s.cell("writes", "per second", spreadOf(each(results[1], func(t tailSlice) float64 { return t.others })))
	s.Notes = append(s.Notes, fmt.Sprintf("Beside the decisions %s writes per second were made, of %d wanted: creates and revokes in turn, each durable. Decisions run one behind another, tokens at random; reading the clock is in their time.", writes, writesPerSecond))
	return nil
}

// besides writes into the table what decisions took alone, and beside something
// else. It returns how much longer the median took beside it, and p99.9 there.
func (s *section) besides(what string, results [][]tailSlice) (longer, p999 spread) {
	for _, q := range []struct {
		name   string
		figure func(tailSlice) float64
	}{
		{"p50", func(t tailSlice) float64 { return t.p50 }},
		{"p99", func(t tailSlice) float64 { return t.p99 }},
		{"p99.9", func(t tailSlice) float64 { return t.p999 }},
	} {
		name := "Decide beside " + what + ", " + q.name
		quiet, busy := each(results[0], q.figure), each(results[1], q.figure)
		ratio := spreadOf(ratios(busy, quiet))
		s.Lines = append(s.Lines, []string{
			name + " ns",
			s.cell(name, "ns", spreadOf(busy)),
			fmt.Sprintf("without %s %s, ratio %s", what, s.cell(name+", without them", "ns", spreadOf(quiet)), s.cell(name+" ÷ without", "", ratio)),
		})
		if q.name == "p50" {
			longer = ratio
		}
		p999 = spreadOf(busy) // the last one
	}
	return longer, p999
}

// tail is a store that this process has opened itself.
type tail struct {
	dir     string
	db      store.Store
	tokens  *store.Cached
	view    authz.View
	texts   []string // Authorization values of tokens at random
	cursor  int
	written atomic.Int64
}

func newTail(ctx context.Context, size int) (_ *tail, err error) {
	pristine, err := dataOf(ctx, size)
	if err != nil {
		return nil, err
	}
	t := &tail{}
	if t.dir, err = os.MkdirTemp(dataRoot, "run"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if err := copyData(pristine, filepath.Join(t.dir, "store")); err != nil {
		return nil, err
	}
	if t.db, err = badger.Open(ctx, badger.Options{Dir: filepath.Join(t.dir, "store")}); err != nil {
		return nil, err
	}
	if t.tokens, err = store.NewCached(ctx, t.db); err != nil {
		return nil, err
	}
	t.tokens.Index().UpdateOwnerStatus(func(store.Owner, store.OwnerStatus) store.OwnerStatus { return store.OwnerPermitted }, store.Forever)
	t.view = authz.View{Policy: policy.New(config.Default()), Index: t.tokens.Index(), Now: decideNow}
	all, err := newCredentials(size)
	if err != nil {
		return nil, err
	}
	t.texts = make([]string, 1<<18)
	for i := range t.texts {
		_, text, _ := all.at(i)
		t.texts[i] = string(text)
	}
	return t, nil
}

func (t *tail) close() error {
	var err error
	if t.db != nil {
		err = t.db.Close()
	}
	return errors.Join(err, os.RemoveAll(t.dir))
}

// decide times decisions for a while.
func (t *tail) decide(length time.Duration) (tailSlice, error) {
	var times histogram
	request := authz.Request{Method: "GET", Path: askedPath, Client: netip.MustParseAddr("10.1.2.3")}
	began := time.Now()
	for last := time.Duration(0); last < length; t.cursor++ {
		request.Authorization = t.texts[t.cursor%len(t.texts)]
		before := time.Since(began)
		d := authz.Decide(&request, t.view)
		last = time.Since(began)
		times.add(last - before)
		if d.Reason != authz.TokenAllowed {
			return tailSlice{}, fmt.Errorf("a good token was decided as %v", d.Reason)
		}
	}
	ns := func(q float64) float64 { return float64(times.quantile(q)) }
	return tailSlice{p50: ns(0.50), p99: ns(0.99), p999: ns(0.999)}, nil
}

// decideBesideWrites times decisions while tokens are created and revoked at a
// fixed rate.
func (t *tail) decideBesideWrites(ctx context.Context, length time.Duration) (tailSlice, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var writers sync.WaitGroup
	wanted := make(chan struct{}, writesPerSecond)
	failed := make(chan error, 8)
	for range cap(failed) {
		writers.Go(func() {
			if err := t.write(ctx, wanted); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	writers.Go(func() {
		defer close(wanted)
		// See h1load.pace: a timer of Go's would wait for the decisions.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for next := time.Now(); ctx.Err() == nil; next = next.Add(time.Second / writesPerSecond) {
			sleepUntil(next)
			select {
			case wanted <- struct{}{}:
			default: // the disk does not keep up; the report tells
			}
		}
	})
	before, began := t.written.Load(), time.Now()
	slice, err := t.decide(length)
	slice.others = float64(t.written.Load()-before) / time.Since(began).Seconds()
	cancel()
	writers.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return slice, err
}

// write creates a token and revokes it again, a step whenever one is wanted.
func (t *tail) write(ctx context.Context, wanted <-chan struct{}) error {
	noLimit := func([]store.Token) (store.Audit, error) { return benchAudit("token.create"), nil }
	id := ""
	for range wanted {
		var err error
		if id == "" {
			var fresh store.Token
			if fresh, err = newToken(); err == nil {
				id = fresh.ID
				_, err = t.tokens.Create(ctx, fresh, noLimit)
			}
		} else {
			_, err = t.tokens.Update(ctx, id, func(u *store.Token) (store.Audit, error) {
				u.State, u.Revoked = store.Revoked, decideNow
				return benchAudit("token.revoke"), nil
			})
			id = ""
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("write beside decisions: %w", err)
		}
		t.written.Add(1)
	}
	return nil
}

// newToken is a token beyond the fleet.
func newToken() (store.Token, error) {
	t, err := recordOf(1<<40+rand.IntN(1<<40), plain)
	if err != nil {
		return t, err
	}
	t.Number = 0
	return t, nil
}

func benchAudit(action string) store.Audit {
	return store.Audit{Time: decideNow, Actor: "uid:0", From: "bench", Action: action, Outcome: "done"}
}
