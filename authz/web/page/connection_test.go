package page

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
)

// A connection is marked before its end if it is not renewed by then.
func TestEndMarks(t *testing.T) {
	s := New(Options{Manager: &manage.Manager{}, Now: func() time.Time { return noon }})
	for _, c := range []struct {
		state        store.UpstreamState
		ends, renews time.Duration // from now; 0: never
		within       int
		ended        bool
	}{
		{store.UpstreamActive, 0, 0, 0, false},
		{store.UpstreamActive, 31 * day, 0, 0, false},
		{store.UpstreamActive, 30 * day, 0, 30, false},
		{store.UpstreamActive, 14*day + 1, 0, 30, false},
		{store.UpstreamActive, 14 * day, 0, 14, false},
		{store.UpstreamActive, 3 * day, 0, 3, false},
		{store.UpstreamActive, -day, 0, 3, true},
		{store.UpstreamActive, 3 * day, 1, 0, false}, // it is renewed before
		{store.UpstreamActive, 3 * day, -day, 3, false},
		{store.UpstreamBroken, 3 * day, 0, 0, false},
		{0, 0, 0, 0, false},
	} {
		at := func(d time.Duration) time.Time {
			if d == 0 {
				return time.Time{}
			}
			return noon.Add(d)
		}
		v := s.connectionView(upstream.Connection{State: c.state, Expires: at(c.ends), RenewAt: at(c.renews)})
		if v.Within != c.within || v.Ended != c.ended {
			t.Errorf("%v that ends in %v and is renewed in %v: within %d, ended %v", c.state, c.ends, c.renews, v.Within, v.Ended)
		}
	}
}

// The list of connections has filters, and refuses unknown ones.
func TestConnectionFilters(t *testing.T) {
	all := []upstream.Connection{
		{Owner: "Alice", State: store.UpstreamActive, Expires: noon.Add(40 * day)},
		{Owner: "bob", State: store.UpstreamActive, Expires: noon.Add(10 * day)},
		{Owner: "carol", State: store.UpstreamActive},
		{Owner: "dan", State: store.UpstreamBroken, Expires: noon.Add(2 * day)},
		{User: "JIRAUSER1", State: store.UpstreamBroken},
	}
	for list, want := range map[string]string{
		"":                            "[Alice bob carol dan ]",
		"user=LI":                     "[Alice]",
		"state=active":                "[Alice bob carol]",
		"state=broken":                "[dan ]",
		"endsWithin=30d":              "[bob dan]",
		"endsWithin=3d":               "[dan]",
		"state=active&endsWithin=14d": "[bob]",
	} {
		q, err := query.ReadForm(list, connectionParameters)
		if err != nil {
			t.Fatal(err)
		}
		found, err := filtered(all, q, noon)
		var names []string
		for _, c := range found {
			names = append(names, c.Owner)
		}
		if got := fmt.Sprint(names); err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", list, got, err, want)
		}
	}
	for name, wrong := range map[string]string{"state": "minting", "endsWithin": "4d"} {
		_, err := filtered(all, query.Values{name: wrong}, noon)
		if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Status != 400 || !strings.Contains(refusal.Text, "Unknown filter or page") {
			t.Errorf("%s=%s: %v", name, wrong, err)
		}
	}
}
