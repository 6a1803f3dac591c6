package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

func testCreate(t *testing.T, s Suite) {
	f := open(t, s)
	want := fullToken(1, "fred")
	given := want
	// Times are converted to UTC and whole seconds.
	east := time.FixedZone("east", 3*3600)
	given.Created = want.Created.Add(987 * time.Millisecond).In(east)
	given.Expires = want.Expires.Add(time.Millisecond).In(east)
	given.Previous.Until = want.Previous.Until.Add(time.Nanosecond)

	created := f.create(given)
	if created.Number == 0 {
		t.Error("the created token has no number")
	}
	want.Number, want.Revision = created.Number, created.Revision
	same(t, "created token", created, want)
	same(t, "read token", f.get(want.ID), want)

	next := f.create(NewToken(2, "wilma"))
	if next.Number != created.Number+1 {
		t.Errorf("the second token has number %d after %d", next.Number, created.Number)
	}

	f.unchanged("a second create with one id", func() {
		_, err := f.Create(t.Context(), NewToken(1, "barney"), admitted(want.ID))
		wantError(t, "create again", err, store.ErrExists)
	})
}

func testCreateRefused(t *testing.T, s Suite) {
	f := open(t, s)
	f.create(NewToken(1, "fred"))
	f.unchanged("a refused create", func() {
		_, err := f.Create(t.Context(), NewToken(2, "fred"), func([]store.Token) (store.Audit, error) {
			return audit("token.create", "test00000002"), errNo
		})
		if err != errNo {
			t.Errorf("create: error %v, want the callback's", err)
		}
	})
	broken := map[string]func(*store.Token){
		"id":       func(t *store.Token) { t.ID = "short" },
		"owner":    func(t *store.Token) { t.Owner.Name = "fred,wilma" },
		"name":     func(t *store.Token) { t.Name = "a\u202eb" },
		"state":    func(t *store.Token) { t.State = 0 },
		"secret":   func(t *store.Token) { t.Secret = store.Secret{} },
		"networks": func(t *store.Token) { t.Networks = make([]netip.Prefix, 10_000) },
	}
	for what, breakIt := range broken {
		f.unchanged("a create with a bad "+what, func() {
			token := NewToken(3, "fred")
			breakIt(&token)
			_, err := f.Create(t.Context(), token, admitted(token.ID))
			wantError(t, "create with a bad "+what, err, store.ErrInvalid)
		})
	}
}

func testAdmit(t *testing.T, s Suite) {
	f := open(t, s)
	f.create(NewToken(1, "Fred"))
	f.create(NewToken(2, "fred"))
	f.create(NewToken(3, "FRED"))
	f.create(NewToken(4, "fre"))
	f.create(NewToken(5, "freda"))
	for n, end := range []time.Duration{0, time.Second} { // over, not over
		token := NewToken(6+n, "fred")
		token.Created, token.Expires = Epoch.Add(-time.Hour), Epoch.Add(end)
		f.create(token)
	}
	f.revoke("test00000002")
	f.update("test00000003", func(t *store.Token) { t.State = store.Disabled })

	var seen []store.Token
	_, err := f.Create(t.Context(), NewToken(8, "fReD"), func(owned []store.Token) (store.Audit, error) {
		seen = owned
		return audit("token.create", "test00000008"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []store.Token
	for _, id := range []string{"test00000001", "test00000003", "test00000007"} {
		want = append(want, f.get(id))
	}
	same(t, "tokens that admit was given", seen, want)
}

func testGetUnknown(t *testing.T, s Suite) {
	f := open(t, s)
	f.create(NewToken(1, "fred"))
	for _, id := range []string{"", "test00000002", "test0000000", "test000000010", "../x", strings.Repeat("x", 100_000)} {
		_, err := f.Get(t.Context(), id)
		wantError(t, fmt.Sprintf("get %.20q", id), err, store.ErrNotFound)
		_, err = f.Update(t.Context(), id, func(*store.Token, store.LiveFunc) (store.Audit, error) {
			t.Errorf("update %.20q called the callback", id)
			return store.Audit{}, nil
		})
		wantError(t, fmt.Sprintf("update %.20q", id), err, store.ErrNotFound)
	}
}

func testUpdate(t *testing.T, s Suite) {
	f := open(t, s)
	before := f.create(fullToken(1, "fred"))
	want := before
	want.Name, want.Purpose, want.ReadOnly = "new name", "", false
	want.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}
	want.Expires = time.Time{}
	want.State = store.Disabled
	want.Rate = store.Rate{Requests: 1, Per: time.Second, Burst: 1}
	want.Previous = store.Previous{}
	want.Secret.Hash[0] ^= 1

	got := f.update(before.ID, func(token *store.Token) {
		same(t, "token passed to the callback", *token, before)
		next := want
		next.Revision = 0
		next.Created = want.Created.In(time.FixedZone("east", 3600))
		*token = next
	})
	if want.Revision = got.Revision; got.Revision <= before.Revision {
		t.Errorf("the revision changed from %d to %d", before.Revision, got.Revision)
	}
	same(t, "updated token", got, want)
	same(t, "read token", f.get(before.ID), want)

	got = f.update(before.ID, func(token *store.Token) { token.Expires = Epoch.Add(1500 * time.Millisecond) })
	if !got.Expires.Equal(Epoch.Add(time.Second)) {
		t.Errorf("expires at %v, want whole seconds", got.Expires)
	}
}

func testUpdateRefused(t *testing.T, s Suite) {
	f := open(t, s)
	before := f.create(fullToken(1, "fred"))
	f.unchanged("a refused update", func() {
		_, err := f.Update(t.Context(), before.ID, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
			token.Name = "changed"
			token.Networks[0] = netip.MustParsePrefix("0.0.0.0/0")
			return audit("token.update", token.ID), errNo
		})
		if err != errNo {
			t.Errorf("update: error %v, want the callback's", err)
		}
	})
	broken := map[string]func(*store.Token){
		"id":            func(t *store.Token) { t.ID = "test00000002" },
		"number":        func(t *store.Token) { t.Number++ },
		"owner":         func(t *store.Token) { t.Owner = store.Owner{Name: "wilma", Key: "JIRAUSER1"} },
		"owner's key":   func(t *store.Token) { t.Owner.Key = "JIRAUSER1" },
		"created":       func(t *store.Token) { t.Created = t.Created.Add(time.Second) },
		"created by":    func(t *store.Token) { t.CreatedBy = "uid:1" },
		"creator's key": func(t *store.Token) { t.CreatedByKey = "" },
		"kind":          func(t *store.Token) { t.Kind, t.Owner = store.Management, store.Owner{} },
		"no key":        func(t *store.Token) { t.Owner.Key = "" },
		"rate":          func(t *store.Token) { t.Rate.Burst = t.Rate.Requests + 1 },
		"name":          func(t *store.Token) { t.Name = "" },
		"state":         func(t *store.Token) { t.State = 9 },
		"revoke's time": func(t *store.Token) { t.State = store.Revoked },
	}
	for what, breakIt := range broken {
		f.unchanged("an update of the "+what, func() {
			_, err := f.Update(t.Context(), before.ID, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
				breakIt(token)
				return audit("token.update", token.ID), nil
			})
			wantError(t, "update of the "+what, err, store.ErrInvalid)
		})
	}
}

// testUpdateLive checks that live returns the tokens of the owner as of before the change.
func testUpdateLive(t *testing.T, s Suite) {
	f := open(t, s)
	for n, owner := range []string{"fred", "FRED", "wilma", "fred"} {
		token := NewToken(n, owner)
		token.Owner.Key = "JIRAUSER" + owner
		f.create(token)
	}
	f.revoke("test00000003")
	want := []store.Token{f.get("test00000000"), f.get("test00000001")}
	_, err := f.Update(t.Context(), "test00000001", func(token *store.Token, live store.LiveFunc) (store.Audit, error) {
		token.Name, token.Owner.Name = "changed", "wilma"
		got, err := live()
		same(t, "live tokens", got, want)
		return audit("token.update", token.ID), err
	})
	if err != nil {
		t.Error(err)
	}
}

// testUpdateOwner checks that a renamed user keeps the tokens.
func testUpdateOwner(t *testing.T, s Suite) {
	f := open(t, s)
	listed := func(owner string) []string { return ids(f.list(owner, 0, 10).Tokens) }
	id := f.create(NewToken(1, "fred")).ID
	other := f.create(NewToken(2, "fred")).ID
	f.update(id, func(token *store.Token) { token.Owner = store.Owner{Name: "Fred", Key: "JIRAUSER1"} })
	same(t, "fred's tokens", listed("fred"), []string{id, other})

	f.update(id, func(token *store.Token) { token.Owner.Name = "freddy" })
	same(t, "owner", f.get(id).Owner, store.Owner{Name: "freddy", Key: "JIRAUSER1"})
	same(t, "fred's tokens", listed("fred"), []string{other})
	same(t, "freddy's tokens", listed("FREDDY"), []string{id})
	_, err := f.Create(t.Context(), NewToken(3, "freddy"), func(owned []store.Token) (store.Audit, error) {
		same(t, "what freddy has", ids(owned), []string{id})
		return audit("token.create", "test00000003"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.unchanged("an update of an owner without key", func() {
		_, err := f.Update(t.Context(), other, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
			token.Owner = store.Owner{Name: "wilma", Key: "JIRAUSER2"}
			return audit("token.update", token.ID), nil
		})
		wantError(t, "update", err, store.ErrInvalid)
	})
	f.revoke(id)
	f.prune(Epoch.AddDate(1, 0, 0))
	same(t, "freddy's tokens at the end", listed("freddy"), []string{"test00000003"})
}

func testManagementToken(t *testing.T, s Suite) {
	f := open(t, s)
	want := NewToken(1, "")
	want.Kind, want.Expires = store.Management, Epoch.AddDate(0, 1, 0)
	created := f.create(want)
	want.Number, want.Revision = created.Number, created.Revision
	same(t, "read token", f.get(want.ID), want)
	for what, change := range map[string]func(*store.Token){
		"owner": func(t *store.Token) { t.Owner.Name = "fred" },
		"key":   func(t *store.Token) { t.Owner.Key = "JIRAUSER1" },
		"end":   func(t *store.Token) { t.Expires = time.Time{} },
	} {
		_, err := f.Update(t.Context(), want.ID, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
			change(token)
			return audit("token.update", token.ID), nil
		})
		wantError(t, "update of the "+what, err, store.ErrInvalid)
	}
}

func testRevoke(t *testing.T, s Suite) {
	f := open(t, s)
	want := f.create(fullToken(1, "fred"))
	want.State, want.Revoked = store.Revoked, Epoch.Add(time.Minute)
	want.Secret, want.Previous = store.Secret{}, store.Previous{}

	got := f.revoke(want.ID)
	want.Revision = got.Revision
	same(t, "revoked token", got, want)
	same(t, "read token", f.get(want.ID), want)
	f.unchanged("an update of a revoked token", func() {
		_, err := f.Update(t.Context(), want.ID, func(*store.Token, store.LiveFunc) (store.Audit, error) {
			t.Error("the callback received a revoked token")
			return store.Audit{}, nil
		})
		wantError(t, "update", err, store.ErrRevoked)
	})
}

func testList(t *testing.T, s Suite) {
	f := open(t, s)
	for n, owner := range []string{"fred", "Wilma", "FRED", "fredric", "wilma"} {
		token := NewToken(n, owner)
		token.Name = []string{"Build server", "backup", "BUILD agent", "Überwachung", "x"}[n]
		f.create(token)
	}
	f.revoke("test00000002")
	f.update("test00000004", func(t *store.Token) { t.State = store.Disabled })

	tests := []struct {
		name  string
		owner string
		want  string // the last digits of the ids
	}{
		{"all", "", "01234"},
		{"owner in any case", "Fred", "02"},
		{"owner that does not exist", "fre", ""},
		{"owner with strange characters", "fred\x00", ""},
	}
	for _, test := range tests {
		for _, limit := range []int{1, 2, 100} {
			var got []store.Token
			for after, pages := uint64(0), 0; ; pages++ {
				page := f.list(test.owner, after, limit)
				if len(page.Tokens) > limit || pages > 10 {
					t.Fatalf("%s: page %d has %d tokens of %d", test.name, pages, len(page.Tokens), limit)
				}
				got = append(got, page.Tokens...)
				if after = page.Next; after == 0 {
					break
				}
			}
			digits := ""
			for _, id := range ids(got) {
				digits += id[len(id)-1:]
			}
			if digits != test.want {
				t.Errorf("%s by %d: got %q, want %q", test.name, limit, digits, test.want)
			}
			for _, token := range got {
				same(t, "listed token", token, f.get(token.ID))
			}
		}
	}
}

func testListPages(t *testing.T, s Suite) {
	f := open(t, s)
	var want []string
	for n := range 7 {
		want = append(want, f.create(NewToken(n, "fred")).ID)
	}
	first := f.list("", 0, 3)
	same(t, "first page", ids(first.Tokens), want[:3])

	// Changes between two pages do not shift the next one.
	f.create(NewToken(7, "fred"))
	f.update(want[2], func(t *store.Token) { t.Expires = Epoch.Add(-time.Hour) })
	f.prune(Epoch)
	second := f.list("", first.Next, 3)
	same(t, "second page", ids(second.Tokens), want[3:6])
	last := f.list("", second.Next, 3)
	same(t, "last page", ids(last.Tokens), []string{want[6], "test00000007"})
	if last.Next != 0 {
		t.Errorf("the last page has Next %d", last.Next)
	}
	exact := f.list("", 0, 7)
	if len(exact.Tokens) != 7 || exact.Next != 0 {
		t.Errorf("a page with all tokens has %d of them and Next %d", len(exact.Tokens), exact.Next)
	}
	for _, after := range []uint64{last.Tokens[1].Number, 1 << 40, 1<<64 - 1} {
		if page := f.list("", after, 3); len(page.Tokens) != 0 || page.Next != 0 {
			t.Errorf("after %d there are tokens %v", after, ids(page.Tokens))
		}
	}
	for _, limit := range []int{0, -1} {
		if _, err := f.List(t.Context(), "", 0, limit); err == nil {
			t.Errorf("no error for a page of %d tokens", limit)
		}
	}
}

func testAll(t *testing.T, s Suite) {
	f := open(t, s)
	same(t, "tokens of an empty store", f.all(), map[string]store.Token{})
	want := make(map[string]store.Token)
	for n := range 120 {
		token := f.create(fullToken(n, fmt.Sprintf("user %d", n)))
		want[token.ID] = token
	}
	want["test00000007"] = f.revoke("test00000007")
	same(t, "all tokens", f.all(), want)

	// Tokens from before a restart and new ones.
	f.reopen()
	same(t, "all tokens after a reopen", f.all(), want)
	for n := range 62 {
		token := NewToken(1000+n, "wilma")
		token.ID = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[n:n+1] + token.ID[1:]
		want[token.ID] = f.create(token)
	}
	same(t, "all tokens with ids of all kinds", f.all(), want)

	var calls atomic.Int64
	err := f.All(t.Context(), func(store.Token) error {
		if calls.Add(1) >= 3 {
			return errNo
		}
		return nil
	})
	if n := calls.Load(); !errors.Is(err, errNo) || n < 3 || n > 100 {
		t.Errorf("failing visit: %d calls, error %v", n, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = f.All(ctx, func(store.Token) error {
		cancel()
		return nil
	})
	wantError(t, "all with a cancelled context", err, context.Canceled)
}
