package upstream_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
)

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
