package index

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

func tokenOf(n int, owner store.Owner) store.Token {
	return store.Token{ID: fmt.Sprintf("test%08d", n), Owner: owner, State: store.Active, Created: time.Unix(1e9, 0), Revision: uint64(n) + 1}
}

func upstreamOf(x *Index, n int) *Upstream {
	e, _ := x.Lookup(fmt.Sprintf("test%08d", n))
	return e.Upstream
}

func TestUpstream(t *testing.T) {
	var x Index
	fred, renamed, wilma := store.Owner{Name: "fred", Key: "K1"}, store.Owner{Name: "freddy", Key: "K1"}, store.Owner{Name: "wilma", Key: "K2"}
	x.Put(tokenOf(1, fred))
	x.Put(tokenOf(2, wilma))
	x.Put(tokenOf(3, store.Owner{Name: "nokey"}))
	x.UpdateOwnerStatus(func(store.Owner, OwnerStatus) OwnerStatus { return OwnerPermitted }, time.Unix(2e9, 0))
	first, second := NewUpstream("first"), NewUpstream("second")
	x.SetUpstreams(map[string]*Upstream{"K1": first, "": second, "K9": nil})
	x.Put(tokenOf(4, renamed))
	check := func(when string, want ...*Upstream) {
		t.Helper()
		for n, u := range want {
			if got := upstreamOf(&x, n+1); got != u {
				t.Errorf("%s: the credential of token %d is %p, want %p", when, n+1, got, u)
			}
			if e, _ := x.Lookup(fmt.Sprintf("test%08d", n+1)); e.OwnerStatus != OwnerPermitted || e.Owner == "" {
				t.Errorf("%s: token %d has owner %q with status %d", when, n+1, e.Owner, e.OwnerStatus)
			}
		}
	}
	check("at first", first, nil, nil, first)
	x.SetUpstreams(map[string]*Upstream{"K1": BrokenUpstream, "K2": second})
	if NewUpstream("") != BrokenUpstream {
		t.Error("a credential without an answer counts as working")
	}
	check("broken", BrokenUpstream, second, nil, BrokenUpstream)
	x.UpdateOwnerStatus(func(store.Owner, OwnerStatus) OwnerStatus { return OwnerPermitted }, time.Unix(2e9, 0))
	check("after an update of the status", BrokenUpstream, second, nil, BrokenUpstream)
	x.SetUpstreams(map[string]*Upstream{"K1": nil})
	check("removed", nil, second, nil, nil)
	if text := fmt.Sprintf("%v %+v %#v %s", second, second, second, second); text != "upstream credential upstream credential upstream credential upstream credential" {
		t.Errorf("printed as %q", text)
	}
}

// TestUpstreamRace looks up tokens of many owners while their credentials change.
func TestUpstreamRace(t *testing.T) {
	var x Index
	const users = 3 * upstreamChunkLength
	key := func(n int) string { return fmt.Sprintf("K%d", n) }
	for n := range users {
		x.Put(tokenOf(n, store.Owner{Name: fmt.Sprintf("user%d", n), Key: key(n)}))
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := range users {
			if n%100 == 0 || n > users-5 {
				x.SetUpstreams(map[string]*Upstream{key(n): NewUpstream(key(n)), key(users - n - 1): NewUpstream(key(users - n - 1))})
			}
		}
	})
	all.Go(func() {
		for range 20 {
			x.UpdateOwnerStatus(func(store.Owner, OwnerStatus) OwnerStatus { return OwnerPermitted }, time.Unix(2e9, 0))
		}
	})
	for range 3 {
		for n := range users {
			if u := upstreamOf(&x, n); u != nil && u.Answer() != key(n) {
				t.Fatalf("user %d has the credential of %s", n, u.Answer())
			}
		}
	}
	all.Wait()
	if u := upstreamOf(&x, 200); u == nil || u.Answer() != key(200) {
		t.Errorf("user 200 has %v", u)
	}
}
