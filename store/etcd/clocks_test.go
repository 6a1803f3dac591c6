package etcd_test

import (
	"testing"
	"time"

	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
	"github.com/tokengate/tokengate/store/storetest"
)

// TestClockOff runs a server whose clock is wrong by a minute, or is set by a minute, beside another. It decides with what
// the other has written, for as long as its state is fresh and no longer.
func TestClockOff(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	for name, off := range map[string]time.Duration{"ahead": time.Minute, "behind": -time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := etcdtest.NewProxy(t, c.Nodes[0])
			config := configOf(c, "/"+name+"/")
			config.Endpoints, config.Timeout = []string{proxy.Endpoint}, time.Second
			s, clock := openAt(t, config)
			other := openConfig(t, configOf(c, "/"+name+"/"))
			defer other.Close()
			clock.wall.Add(int64(off))
			x, err := cached.New(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			until := func(what string, ok func() bool) {
				t.Helper()
				late := time.After(time.Minute)
				for !ok() {
					select {
					case clock.ticks <- clock.now():
					case <-late:
						t.Fatal(what)
					}
				}
			}
			fresh := func() bool { return x.Index().TokensFresh(clock.now()) }
			known := func(id string) func() bool {
				return func() bool { _, ok := x.Index().Lookup(id); return ok && fresh() }
			}

			id := create(t, other, storetest.NewToken(1, "fred")).ID
			until("the other's token is not accepted", known(id))
			clock.pass(29 * time.Second)
			until("the tokens are not fresh", fresh)
			revoke(t, other, id)
			until("the other's revocation has no effect", func() bool { return !known(id)() && fresh() })

			clock.wall.Add(int64(-off)) // somebody sets the clock
			until("the tokens are not fresh by the new time", fresh)
			proxy.Hold()
			clock.pass(31 * time.Second)
			until("the tokens are fresh without etcd", func() bool { return !fresh() })
			clock.wall.Add(int64(off))
			until("the tokens are fresh because the clock was set", func() bool { return !fresh() })
			for range 5 {
				clock.ticks <- clock.now()
			}
			if fresh() {
				t.Error("the tokens are fresh again without etcd")
			}
		})
	}
}
