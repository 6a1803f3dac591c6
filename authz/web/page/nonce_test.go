package page

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

var fred = manage.User(directory.User{Name: "fred", Active: true}, "192.0.2.7")

// server returns the nonces of a server with these shared records and this clock.
func server(t *testing.T, s store.SharedRecords, now func() time.Time) *nonces {
	t.Helper()
	n := newNonces(s, now)
	if err := n.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// wantUse uses a nonce of Fred's form new.
func (n *nonces) wantUse(t *testing.T, what, nonce string, want outcome, token string) {
	t.Helper()
	if o, id, err := n.use(t.Context(), nonce, fred, "new"); err != nil || o != want || id != token {
		t.Fatalf("%s is %v with the token %q, error %v; want %v with %q", what, o, id, err, want, token)
	}
}

// makeIn is make, and the nonce's use is stored in the record of the nonce like.
func (n *nonces) makeIn(t *testing.T, like string) string {
	t.Helper()
	for {
		nonce := n.make(fred, "new")
		if record(t, nonce) == record(t, like) {
			return nonce
		}
	}
}

func record(t *testing.T, nonce string) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil {
		t.Fatal(err)
	}
	return nonceHead(raw[:len(nonceHead{})]).record()
}

// A used nonce is never valid again, at no server, even once its use is deleted; nor are older ones.
func TestUsedNoncesAreDeleted(t *testing.T) {
	now := noon
	var records store.MemoryRecords
	clock := func() time.Time { return now }
	n, other := server(t, &records, clock), server(t, &records, clock)
	used := n.make(fred, "new")
	now = now.Add(-time.Second)
	old := n.makeIn(t, used)
	now = now.Add(time.Second)
	other.wantUse(t, "a valid nonce", used, fresh, "")
	other.wantUse(t, "a used nonce", used, replayed, "")
	n.wantUse(t, "a nonce that another server used", used, replayed, "")
	if err := other.record(t.Context(), used, "0123456789ab"); err != nil {
		t.Fatal(err)
	}
	n.wantUse(t, "a used nonce with a token", used, replayed, "0123456789ab")
	for range maxUses {
		now = now.Add(time.Millisecond)
		n.wantUse(t, "a valid nonce", n.makeIn(t, used), fresh, "")
	}
	kept, err := records.Shared(t.Context(), record(t, used))
	if err != nil || len(kept) > 5000 {
		t.Errorf("a record has %d bytes, error %v", len(kept), err)
	}
	n.wantUse(t, "the used one after its deletion", used, invalid, "")
	n.wantUse(t, "an older one", old, invalid, "")

	written := n.make(fred, "new")
	for _, other := range []string{written + "\n", written[:3] + "\r\n" + written[3:], written + "="} {
		_, _, _ = n.use(t.Context(), written, fred, "new")
		if o, _, err := n.use(t.Context(), other, fred, "new"); o == fresh || err != nil {
			t.Errorf("%q is valid again, error %v", other, err)
		}
	}
	if err := n.record(t.Context(), "no such", "x"); err != nil {
		t.Error(err)
	}
}

// A nonce lives for twelve hours by any clock that is at most two minutes off, and is valid once by all of them.
func TestNoncesOfOtherClocks(t *testing.T) {
	for _, ahead := range []time.Duration{-2 * time.Minute, -time.Minute, 0, time.Minute, 2 * time.Minute} {
		now := noon
		var records store.MemoryRecords
		n := server(t, &records, func() time.Time { return now })
		off := server(t, &records, func() time.Time { return now.Add(ahead) })
		first, last, late, own := off.make(fred, "new"), off.make(fred, "new"), off.make(fred, "new"), n.make(fred, "new")
		n.wantUse(t, "a form that another server made", first, fresh, "")
		now = now.Add(nonceLifetime + min(ahead, 0))
		n.wantUse(t, "at the end of its life", last, fresh, "")
		off.wantUse(t, "at the end of its life", own, map[bool]outcome{true: fresh, false: invalid}[ahead <= 0], "")
		for range 10 {
			for _, s := range []*nonces{off, n} {
				for _, used := range []string{first, last} {
					s.wantUse(t, "a form whose use deletes old ones", s.makeIn(t, used), fresh, "")
				}
			}
			for _, s := range []*nonces{off, n} {
				for _, used := range []string{first, last} {
					if o, _, err := s.use(t.Context(), used, fred, "new"); o == fresh || err != nil {
						t.Fatalf("a used nonce is valid again, error %v", err)
					}
				}
			}
			now = now.Add(time.Minute)
		}
		n.wantUse(t, "a nonce that is too old", late, invalid, "")
		now = noon.Add(-3 * time.Minute)
		n.wantUse(t, "a nonce from the future", server(t, &records, func() time.Time { return noon }).make(fred, "new"), invalid, "")
	}
}

func TestProofs(t *testing.T) {
	var records store.MemoryRecords
	n, other := server(t, &records, time.Now), server(t, &records, time.Now)
	proof := n.seal(fred, "a", "b")
	for name, c := range map[string]struct {
		proof string
		at    *nonces
		said  []string
		want  bool
	}{
		"there":           {proof, n, []string{"a", "b"}, true},
		"another server":  {proof, other, []string{"a", "b"}, true},
		"another store":   {proof, server(t, &store.MemoryRecords{}, time.Now), []string{"a", "b"}, false},
		"something else":  {proof, n, []string{"a", "c"}, false},
		"joined":          {proof, n, []string{"ab"}, false},
		"something added": {proof, n, []string{"a", "b", ""}, false},
		"no proof":        {"", n, []string{"a", "b"}, false},
	} {
		if got := c.at.sealed(c.proof, fred, c.said...); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// down are shared records that do not answer.
type down struct {
	store.MemoryRecords
	err error // nil: they answer
}

func (d *down) UpdateShared(ctx context.Context, name string, change store.SharedFunc) error {
	if d.err != nil {
		return d.err
	}
	return d.MemoryRecords.UpdateShared(ctx, name, change)
}

// No form is accepted while the store does not answer.
func TestNoncesWithoutStore(t *testing.T) {
	records := &down{err: errors.New("no answer")}
	n := newNonces(records, time.Now)
	refusal := func(err error) string {
		refused, ok := errors.AsType[*Error](err)
		if !ok || refused.Status != http.StatusServiceUnavailable || !errors.Is(err, records.err) {
			t.Fatalf("error %v", err)
		}
		return refused.Text
	}
	if got := refusal(n.load(t.Context())); got != text("form.unavailable") {
		t.Errorf("without a key: %q", got)
	}
	records.err = nil
	if err := n.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	nonce := n.make(fred, "new")
	records.err = errors.New("no answer again")
	if err := n.load(t.Context()); err != nil {
		t.Errorf("the store was asked for the key again: %v", err)
	}
	o, _, err := n.use(t.Context(), nonce, fred, "new")
	if got := refusal(err); got != text("form.unchecked") || o != invalid {
		t.Errorf("%q, outcome %v", got, o)
	}
	records.err = nil
	n.wantUse(t, "once the store answers", nonce, fresh, "")
}
