package upstream_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/store"
)

// running runs the checks until the test's end.
func (r *rig) running() {
	ctx, cancel := context.WithCancel(r.t.Context())
	var all sync.WaitGroup
	all.Go(func() { r.Run(ctx, time.Hour) })
	r.t.Cleanup(func() { cancel(); all.Wait() })
}

// await waits until fred's credential in the index is as wanted.
func (r *rig) await(when, want string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	for r.answer(0) != want {
		if ctx.Err() != nil {
			r.t.Fatalf("%s: the credential in the index is %.6s…", when, r.answer(0))
		}
		runtime.Gosched()
	}
}

// awaitState waits until fred's credential in the store has this state.
func (r *rig) awaitState(want store.UpstreamState) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	for {
		all, err := r.db.Upstream(ctx, fredKey)
		if err != nil {
			r.t.Fatal(err)
		}
		if all[0].State == want {
			return
		}
		runtime.Gosched()
	}
}

// TestRefused checks that a user's tokens are denied from a refusal until the check, and whose are not.
func TestRefused(t *testing.T) {
	connect := func(t *testing.T) (r *rig, works string) {
		r = newRig(t)
		if _, err := r.set("", r.mint("fred", "yabba").Value); err != nil {
			t.Fatal(err)
		}
		if _, err := r.set("", r.mint("wilma", "dabba").Value); err != nil {
			t.Fatal(err)
		}
		return r, r.answer(0)
	}
	t.Run("revoked", func(t *testing.T) {
		r, _ := connect(t)
		for _, pat := range r.jira.PATs(fredKey) {
			r.jira.RevokePAT(pat.ID)
		}
		wilma := r.answer(1)
		r.Refused(fredKey)
		r.want("before the check", "broken", wilma)
		r.running()
		r.awaitState(store.UpstreamBroken)
		r.want("after the check", "broken", wilma)
	})
	t.Run("a false alarm", func(t *testing.T) {
		r, works := connect(t)
		r.Refused(fredKey)
		r.await("before the check", "broken")
		r.running()
		r.await("after the check", works)
		r.Refused(fredKey)
		if r.answer(0) != works {
			t.Error("a second false alarm denies the tokens")
		}
	})
	t.Run("a later false alarm", func(t *testing.T) {
		r, works := connect(t)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx, time.Hour) })
		r.Refused(fredKey)
		r.await("after the check", works)
		cancel()
		running.Wait() // it reads the time
		r.now = r.now.Add(time.Minute)
		r.Refused(fredKey)
		r.await("a minute later", "broken")
	})
	t.Run("Jira does not say", func(t *testing.T) {
		r, works := connect(t)
		failure := r.jira.Fail("/rest/api/2/myself", jiratest.Status(503))
		r.Refused(fredKey)
		r.running()
		<-failure.Hit()
		r.await("while Jira does not say", "broken")
		failure.Stop()
		r.Suspect(fredKey)
		r.await("when it says", works)
	})
	t.Run("disconnected", func(t *testing.T) {
		r, _ := connect(t)
		if err := r.Disconnect(t.Context(), fredKey, nil, by); err != nil {
			t.Fatal(err)
		}
		r.Refused(fredKey)
		r.running()
		r.await("after the check", "none")
	})
	t.Run("many at once", func(t *testing.T) {
		r, works := connect(t)
		for n := range 10 {
			r.Refused(fmt.Sprint("user", n))
		}
		r.Refused(fredKey)
		if r.answer(0) != works {
			t.Error("denied, though Jira refuses everyone")
		}
	})
}
