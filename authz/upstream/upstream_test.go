package upstream_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
)

func TestSet(t *testing.T) {
	r := newRig(t)
	r.want("at first", "none", "none")
	fred := r.mint("fred", "yabba")
	if _, err := r.set(wilmaKey, fred.Value); !errors.Is(err, upstream.ErrOtherUser) {
		t.Errorf("fred's token for wilma: error %v", err)
	}
	for name, value := range map[string]string{"unknown": "NDIxMjM0NTY3ODkwOtq2N8", "empty": ""} {
		if _, err := r.set("", product.NewSecret(value)); !errors.Is(err, upstream.ErrRefused) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// Jira's answers to this user look like those for nobody.
	if _, err := r.set("", r.mint("anonymous", "doo").Value); !errors.Is(err, upstream.ErrRefused) {
		t.Errorf("a user called anonymous: error %v", err)
	}
	r.want("after refusals", "none", "none")
	user, err := r.set(fredKey, fred.Value)
	if err != nil || user.Owner != "fred" {
		t.Fatalf("user %q, error %v", user.Owner, err)
	}
	answer := "answer for " + fred.Value.Reveal()
	r.want("set", answer, "none")
	second := r.mint("fred", "yabba")
	if _, err := r.set("", second.Value); err != nil {
		t.Fatal(err)
	}
	answer = "answer for " + second.Value.Reveal()
	r.want("replaced", answer, "none")
	r.start(0)
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.want("after a start", answer, "none")
	audits, err := r.db.AuditLog(t.Context(), 0, 10)
	if err != nil || len(audits) != 2 || audits[0].Owner != "fred" || audits[0].Actor != "uid:0" {
		t.Errorf("audit log %+v, error %v", audits, err)
	}
	if err := r.Disconnect(t.Context(), fredKey, nil, by); err != nil {
		t.Fatal(err)
	}
	r.want("disconnected", "none", "none")
	if err := r.Disconnect(t.Context(), fredKey, nil, by); !errors.Is(err, upstream.ErrNotConnected) {
		t.Errorf("disconnected twice: error %v", err)
	}
	r.searchSecrets(fred.Value, second.Value)
}

func TestCheck(t *testing.T) {
	r := newRig(t)
	check := func(when string, want store.UpstreamState, wantErr error) {
		t.Helper()
		audit := by
		audit.Action = "upstream.check"
		state, err := r.Check(t.Context(), fredKey, audit)
		if state != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: state %v, error %v; want %v, %v", when, state, err, want, wantErr)
		}
	}
	check("not connected", 0, upstream.ErrNotConnected)
	made := r.mint("fred", "yabba")
	if _, err := r.set("", made.Value); err != nil {
		t.Fatal(err)
	}
	answer := "answer for " + made.Value.Reveal()
	check("fine", store.UpstreamActive, nil)
	r.web.CloseClientConnections()
	r.want("fine", answer, "none")

	working := r.Client
	down, err := jira.Product.Connect("http://127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Client = down
	check("Jira is down", store.UpstreamActive, directory.ErrUnavailable)
	r.want("Jira is down", answer, "none")
	r.Client = working

	for _, pat := range r.jira.PATs(fredKey) {
		r.jira.RevokePAT(pat.ID)
	}
	check("revoked in Jira", store.UpstreamBroken, nil)
	r.want("revoked", "broken", "none")
	check("still revoked", store.UpstreamBroken, nil)
	r.start(0)
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.want("revoked, after a start", "broken", "none")
	audits, err := r.db.AuditLog(t.Context(), 0, 10)
	if err != nil || len(audits) != 2 || audits[0].Action != "upstream.check" || audits[0].Changes["state"].After != "broken" {
		t.Errorf("audit log %+v, error %v", audits, err)
	}
}

func TestReseal(t *testing.T) {
	r := newRig(t)
	fred, wilma := r.mint("fred", "yabba"), r.mint("wilma", "dabba")
	for _, made := range []product.UpstreamCredential{fred, wilma} {
		if _, err := r.set("", made.Value); err != nil {
			t.Fatal(err)
		}
	}
	r.start(1)
	first, err := seal.ReadKeys([]string{r.key(0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(t.Context(), false); !errors.Is(err, seal.ErrNoKey) || !strings.Contains(err.Error(), first.Current().String()) || !strings.Contains(err.Error(), "2 users") {
		t.Errorf("without the key: error %v", err)
	}
	r.want("without the key", "none", "none")
	r.start(1, 0)
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	answers := [2]string{"answer for " + fred.Value.Reveal(), "answer for " + wilma.Value.Reveal()}
	r.want("with both keys", answers[0], answers[1])
	for _, want := range []int{2, 0} {
		if n, err := r.Reseal(t.Context()); n != want || err != nil {
			t.Errorf("%d credentials sealed again, error %v; want %d", n, err, want)
		}
	}
	r.start(1)
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.want("with the new key alone", answers[0], answers[1])
}

// TestMovedRecord moves fred's sealed credential to wilma's record: it opens nothing there, and
// all others work.
func TestMovedRecord(t *testing.T) {
	r := newRig(t)
	fred := r.mint("fred", "yabba")
	if _, err := r.set("", fred.Value); err != nil {
		t.Fatal(err)
	}
	all, err := r.db.Upstream(t.Context(), fredKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.UpdateUpstream(t.Context(), wilmaKey, func([]store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return all, nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	r.start(0)
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.want("moved", "answer for "+fred.Value.Reveal(), "broken")
	if n := r.logs.FilterField(zap.String("user_key", wilmaKey)).Len(); n != 1 {
		t.Errorf("%d log lines about wilma, want 1", n)
	}
	r.start(1, 0)
	if n, err := r.Reseal(t.Context()); n != 1 || !errors.Is(err, seal.ErrDamaged) || !strings.Contains(err.Error(), "opens 1 of") {
		t.Errorf("%d sealed again, error %v", n, err)
	}
	if state, err := r.Check(t.Context(), wilmaKey, by); state != store.UpstreamBroken || err != nil {
		t.Errorf("checked: state %v, error %v", state, err)
	}
}

// TestRace sets, checks and disconnects at once; index and store agree at the end.
func TestRace(t *testing.T) {
	r := newRig(t)
	values := []product.UpstreamCredential{r.mint("fred", "yabba"), r.mint("fred", "yabba"), r.mint("fred", "yabba")}
	var all sync.WaitGroup
	for _, v := range values {
		all.Go(func() {
			for range 5 {
				if _, err := r.set("", v.Value); err != nil {
					t.Errorf("set: %v", err)
				}
				if _, err := r.Check(t.Context(), fredKey, by); err != nil && !errors.Is(err, upstream.ErrNotConnected) {
					t.Errorf("check: %v", err)
				}
				if err := r.Disconnect(t.Context(), fredKey, nil, by); err != nil && !errors.Is(err, upstream.ErrNotConnected) {
					t.Errorf("disconnect: %v", err)
				}
				r.answer(0)
			}
		})
	}
	all.Wait()
	before := r.answer(0)
	r.start(0)
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if after := r.answer(0); after != before {
		t.Error("the index and the store differ")
	}
}

// TestRun checks that a credential that the application has revoked is found, by the round and at
// once after a suspicion.
func TestRun(t *testing.T) {
	for name, interval := range map[string]time.Duration{"round": time.Millisecond, "suspicion": time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, made := range []product.UpstreamCredential{r.mint("fred", "yabba"), r.mint("wilma", "dabba")} {
				if _, err := r.set("", made.Value); err != nil {
					t.Fatal(err)
				}
			}
			working := r.answer(1)
			for _, pat := range r.jira.PATs(fredKey) {
				r.jira.RevokePAT(pat.ID)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var running sync.WaitGroup
			running.Go(func() { r.Run(ctx, interval) })
			if interval == time.Hour {
				r.Suspect("nobody")
				r.Suspect(fredKey)
			}
			checked := func() bool {
				audits, err := r.db.AuditLog(t.Context(), 0, 1)
				return err == nil && audits[0].Action == upstream.CheckAction
			}
			for ctx.Err() == nil && (r.answer(0) != "broken" || !checked()) {
				runtime.Gosched()
			}
			cancel()
			running.Wait()
			r.want("checked", "broken", working)
			audits, err := r.db.AuditLog(t.Context(), 0, 1)
			if err != nil || audits[0].Action != upstream.CheckAction || audits[0].Actor != upstream.Actor || audits[0].Owner != "fred" {
				t.Errorf("audit log %+v, error %v", audits, err)
			}
		})
	}
}

// failing is a store that fails, before or after the write.
type failing struct {
	upstream.Store
	before, after error
}

func (f *failing) UpdateUpstream(ctx context.Context, user string, change store.UpstreamFunc) ([]store.UpstreamCredential, error) {
	if f.before != nil {
		return nil, f.before
	}
	all, err := f.Store.UpdateUpstream(ctx, user, change)
	return all, errors.Join(err, f.after)
}

var errDisk = errors.New("input/output error")

// TestNoSpace checks that a disk that is almost full denies no tokens: nothing is written, so nothing is unknown.
func TestNoSpace(t *testing.T) {
	r := newRig(t)
	made := r.mint("fred", "yabba")
	if _, err := r.set("", made.Value); err != nil {
		t.Fatal(err)
	}
	r.Store = &failing{Store: r.Store, before: store.ErrNoSpace}
	r.now = r.now.Add(7 * time.Hour) // the check's time is to be stored
	if _, err := r.Check(t.Context(), fredKey, by); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("check: error %v", err)
	}
	r.want("almost full", "answer for "+made.Value.Reveal(), "none")
}

// TestStoreFails checks that a user's tokens are denied while it is unknown what is stored, and that the next
// check finds out.
func TestStoreFails(t *testing.T) {
	for name, fails := range map[string]failing{"before the write": {before: errDisk}, "after the write": {after: errDisk}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			made := r.mint("fred", "yabba")
			if _, err := r.set("", made.Value); err != nil {
				t.Fatal(err)
			}
			working := r.Store
			fails.Store = working
			r.Store = &fails
			if _, err := r.set("", made.Value); !errors.Is(err, errDisk) {
				t.Errorf("set: error %v", err)
			}
			r.want("failed", "broken", "none")
			r.Store = working
			if state, err := r.Check(t.Context(), fredKey, by); state != store.UpstreamActive || err != nil {
				t.Errorf("checked: state %v, error %v", state, err)
			}
			r.want("checked", "answer for "+made.Value.Reveal(), "none")

			for _, pat := range r.jira.PATs(fredKey) {
				r.jira.RevokePAT(pat.ID)
			}
			r.Store = &fails
			if _, err := r.Check(t.Context(), fredKey, by); !errors.Is(err, errDisk) {
				t.Errorf("check of a revoked one: error %v", err)
			}
			r.want("revoked", "broken", "none")
		})
	}
}
