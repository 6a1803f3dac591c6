package upstream_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
)

// TestLostKey starts without the key of the connections: their users are disconnected, and connect again.
func TestLostKey(t *testing.T) {
	r := newRig(t)
	if err := r.connect(r.session(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.set("", r.mint("wilma", "dabba").Value); err != nil {
		t.Fatal(err)
	}
	r.start(1)
	if err := r.Load(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.want("lost", "none", "none")
	r.wantPATs("lost", first, "deleting")
	r.start(1)
	if err := r.Load(t.Context(), false); err != nil {
		t.Errorf("the next start: %v", err)
	}
	if err := r.connect(r.session(), false); err != nil {
		t.Fatal(err)
	}
	r.wantPATs("connected again", second, "active")
}

// TestOtherSite opens all connections under another publicURL: nothing is changed, so that setting it back
// helps.
func TestOtherSite(t *testing.T) {
	r := newRig(t)
	if err := r.connect(r.session(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.set("", r.mint("wilma", "dabba").Value); err != nil {
		t.Fatal(err)
	}
	answers := [2]string{r.answer(0), r.answer(1)}
	r.start(0)
	r.Site = "https://jira.example.org"
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.want("another site", "broken", "broken")
	if n := r.logs.FilterMessageSnippet("if publicURL was changed, set it back").Len(); n != 1 || r.logs.Len() != 1 {
		t.Errorf("%d log lines say why, of %d", n, r.logs.Len())
	}
	if state, err := r.Check(t.Context(), fredKey, by); state != store.UpstreamBroken || err != nil {
		t.Errorf("checked: %v, error %v", state, err)
	}
	r.start(0)
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.want("set back", answers[0], answers[1])
}

// TestUnreadable removes a record that cannot be read.
func TestUnreadable(t *testing.T) {
	for name, remove := range map[string]func(*rig) error{
		"disconnect": func(r *rig) error { return r.Disconnect(r.t.Context(), fredKey, nil, by) },
		"purge": func(r *rig) error {
			_, err := r.Purge(r.t.Context(), by)
			return err
		},
		"connect": func(r *rig) error { return r.connect(r.session(), false) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.Store = &unreadable{Store: r.Store}
			if err := remove(r); err != nil {
				t.Fatal(err)
			}
			if read := r.Store.(*unreadable).written; !read {
				t.Error("nothing was written")
			}
		})
	}
}

// unreadable is a store in which fred's record cannot be read until it is written.
type unreadable struct {
	upstream.Store
	written bool
}

func (u *unreadable) Upstream(ctx context.Context, user string) ([]store.UpstreamCredential, error) {
	if !u.written {
		return nil, store.ErrInvalid
	}
	return u.Store.Upstream(ctx, user)
}

func (u *unreadable) UpdateUpstream(ctx context.Context, user string, change store.UpstreamFunc) ([]store.UpstreamCredential, error) {
	u.written = true
	return u.Store.UpdateUpstream(ctx, user, change)
}

func (u *unreadable) AllUpstream(ctx context.Context, visit func(string, []store.UpstreamCredential, error) error) error {
	if !u.written {
		return visit(fredKey, nil, store.ErrInvalid)
	}
	return u.Store.AllUpstream(ctx, visit)
}

// TestFigures counts the credentials by state and by their end.
func TestFigures(t *testing.T) {
	r := newRig(t)
	if err := r.connect(r.session(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.set("", r.mint("wilma", "dabba").Value); err != nil { // ends after 90 days
		t.Fatal(err)
	}
	for _, c := range []struct {
		after  int // days
		ending [3]int
	}{{59, [3]int{}}, {60, [3]int{1, 0, 0}}, {76, [3]int{1, 1, 0}}, {87, [3]int{1, 1, 1}}} {
		r.now = time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC).AddDate(0, 0, c.after)
		want := upstream.Figures{Ending: c.ending}
		want.States[store.UpstreamActive] = 2
		r.run(func() bool { return r.Figures() == want })
	}
}

// TestNames makes names that fit, and that no other personal access token of the user has.
func TestNames(t *testing.T) {
	r := newRig(t)
	r.Site = "https://" + strings.Repeat("long-name.", 10) + "example.com/jira"
	for range 2 {
		if err := r.connect(r.session(), true); err != nil {
			t.Fatal(err)
		}
	}
	if name := r.pats(); name != "tokengate long-name.long-name.long-nam 2" {
		t.Errorf("the name is %q", name)
	}
	all, err := r.db.Upstream(t.Context(), fredKey)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d, error %v", len(all), err)
	}
	if id, ok := seal.KeyOf(all[0].Sealed); !ok || id != r.Keys.Current() {
		t.Error("it is not sealed with the current key")
	}
}

// TestList lists a credential that cannot be opened as broken, as the user's tokens find it.
func TestList(t *testing.T) {
	r := newRig(t)
	for _, login := range [][2]string{{"fred", "yabba"}, {"wilma", "dabba"}} {
		if _, err := r.set("", r.mint(login[0], login[1]).Value); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.db.UpdateUpstream(t.Context(), wilmaKey, func(all []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		all[0].Sealed[len(all[0].Sealed)-1] ^= 1
		return all, nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.start(0)
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	found, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []upstream.Connection{
		{User: fredKey, Owner: "fred", State: store.UpstreamActive, Created: r.now, Expires: r.now.Add(90 * 24 * time.Hour), Checked: r.now, SetBy: by.Actor},
		{User: wilmaKey, Owner: "wilma", State: store.UpstreamBroken, Created: r.now, Expires: r.now.Add(90 * 24 * time.Hour), Checked: r.now, SetBy: by.Actor},
	}
	slices.SortFunc(found, func(a, b upstream.Connection) int { return len(a.Owner) - len(b.Owner) })
	if fmt.Sprint(found) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", found, want)
	}
}
