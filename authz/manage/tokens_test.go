package manage_test

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/listing"
)

func TestRevoke(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
	id := issued.Token.ID
	f.pass(time.Hour)
	if err := f.Revoke(t.Context(), root, id); err != nil {
		t.Fatal(err)
	}
	f.decides(t, issued.Value, authz.UnknownToken)
	wantAudit := store.Audit{
		Time: start.Add(time.Hour), Actor: "uid:0", From: "admin socket", Action: "token.revoke",
		TokenID: id, Owner: "fred", Outcome: "done",
		Changes: map[string]store.Change{"state": {Before: "active", After: "revoked"}},
	}
	if diff := cmp.Diff(wantAudit, f.lastAudit(t)); diff != "" {
		t.Errorf("audit record (-want +got):\n%s", diff)
	}

	is(t, f.Revoke(t.Context(), root, id), manage.ErrRevoked, "")
	is(t, f.Revoke(t.Context(), root, "000000000000"), manage.ErrNotFound, "")
	is(t, f.Revoke(t.Context(), root, issued.Value.Reveal()), manage.ErrInvalid, manage.FieldID)

	got, err := f.Get(t.Context(), root, id)
	if err != nil {
		t.Fatal(err)
	}
	want := issued.Token
	want.State, want.Revoked = manage.StateRevoked, start.Add(time.Hour)
	if diff := cmp.Diff(want, got, compareAddresses); diff != "" {
		t.Errorf("the record of a revoked token (-want +got):\n%s", diff)
	}
	f.pass(manage.DefaultLifetime)
	if got, err = f.Get(t.Context(), root, id); err != nil || got.State != manage.StateRevoked {
		t.Errorf("once it would have expired it is %s, %v", got.State, err)
	}
}

// Get includes uses that are not yet written to the store.
func TestGetShowsUse(t *testing.T) {
	f := newFixture(t)
	id := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"}).Token.ID
	address := netip.MustParseAddr("192.0.2.7")
	f.Usage.Record(id, false, start, address)
	if err := f.Usage.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Usage.Record(id, true, start.Add(time.Minute), address)
	got, err := f.Get(t.Context(), root, id)
	if err != nil {
		t.Fatal(err)
	}
	want := store.Usage{Count: 2, Writes: 1, LastUsed: start.Add(time.Minute), LastAddress: address}
	if got.Usage != want {
		t.Errorf("usage %+v, want %+v", got.Usage, want)
	}
	rotated := f.rotate(t, id, manage.Rotation{})
	if rotated.Token.Usage != want {
		t.Errorf("usage after a rotation %+v, want %+v", rotated.Token.Usage, want)
	}
	page, err := f.List(t.Context(), root, manage.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if page.Tokens[0].Usage != want {
		t.Errorf("usage in a listing %+v, want %+v", page.Tokens[0].Usage, want)
	}
}

// names returns the names on all pages of a listing, page by page.
func (f *fixture) names(t testing.TB, q manage.Query) (pages [][]string) {
	t.Helper()
	for range 100 {
		page, err := f.List(t.Context(), root, q)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, k := range page.Tokens {
			names = append(names, k.Name)
		}
		pages = append(pages, names)
		if page.Next == "" {
			return pages
		}
		q.After = page.Next
	}
	t.Fatal("the listing does not end")
	return nil
}

func TestList(t *testing.T) {
	f := newFixture(t)
	f.create(t, manage.NewToken{Owner: "fred", Name: "a active"})
	f.create(t, manage.NewToken{Owner: "wilma", Name: "b expired", Expires: days(1)})
	revoked := f.create(t, manage.NewToken{Owner: "fred", Name: "c Revoked"})
	f.create(t, manage.NewToken{Owner: "fred", Name: "d expired", Expires: days(1)})
	disabled := f.create(t, manage.NewToken{Owner: "wilma", Name: "e disabled"})
	off := f.create(t, manage.NewToken{Owner: "barney", Name: "f disabled and expired", Expires: days(1)})
	f.create(t, manage.NewToken{Owner: "barney", Name: "g active"})
	if err := f.Revoke(t.Context(), root, revoked.Token.ID); err != nil {
		t.Fatal(err)
	}
	f.disable(t, disabled.Token.ID)
	f.disable(t, off.Token.ID)
	f.pass(24 * time.Hour)

	for _, c := range []struct {
		name  string
		query manage.Query
		want  [][]string
	}{
		{"all", manage.Query{}, [][]string{{"a active", "b expired", "c Revoked", "d expired", "e disabled", "f disabled and expired", "g active"}}},
		{"owner", manage.Query{Query: listing.Query{Owner: "FRED"}}, [][]string{{"a active", "c Revoked", "d expired"}}},
		{"name", manage.Query{Query: listing.Query{Name: "REVOKED"}}, [][]string{{"c Revoked"}}},
		{"active", manage.Query{State: manage.StateActive}, [][]string{{"a active", "g active"}}},
		{"expired", manage.Query{State: manage.StateExpired}, [][]string{{"b expired", "d expired", "f disabled and expired"}}},
		{"disabled", manage.Query{State: manage.StateDisabled}, [][]string{{"e disabled"}}},
		{"revoked", manage.Query{State: manage.StateRevoked}, [][]string{{"c Revoked"}}},
		{"pending", manage.Query{State: manage.StatePending}, [][]string{nil}},
		{"all by two", manage.Query{Query: listing.Query{Limit: 2}}, [][]string{{"a active", "b expired"}, {"c Revoked", "d expired"}, {"e disabled", "f disabled and expired"}, {"g active"}}},
		{"expired by one", manage.Query{State: manage.StateExpired, Query: listing.Query{Limit: 1}}, [][]string{{"b expired"}, {"d expired"}, {"f disabled and expired"}}},
		{"active by one", manage.Query{State: manage.StateActive, Query: listing.Query{Limit: 1}}, [][]string{{"a active"}, {"g active"}}},
		{"active by two", manage.Query{State: manage.StateActive, Query: listing.Query{Limit: 2}}, [][]string{{"a active", "g active"}}},
		{"all of it", manage.Query{Query: listing.Query{Owner: "fred", Name: "expired"}, State: manage.StateExpired}, [][]string{{"d expired"}}},
		{"an owner without any", manage.Query{Query: listing.Query{Owner: "dino"}}, [][]string{nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, f.names(t, c.query)); diff != "" {
				t.Errorf("pages (-want +got):\n%s", diff)
			}
		})
	}
	before := len(f.audit(t))
	for _, c := range []struct {
		name  string
		query manage.Query
		field manage.Field
	}{
		{"unknown state", manage.Query{State: "asleep"}, manage.FieldState},
		{"negative page", manage.Query{Query: listing.Query{Limit: -1}}, manage.FieldLimit},
		{"a cursor that is none", manage.Query{Query: listing.Query{After: "x"}}, manage.FieldAfter},
		{"page too large", manage.Query{Query: listing.Query{Limit: manage.MaxPage + 1}}, manage.FieldLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := f.List(t.Context(), root, c.query)
			is(t, err, manage.ErrInvalid, c.field)
		})
	}
	if n := len(f.audit(t)) - before; n != 0 {
		t.Errorf("reading left %d audit records", n)
	}
}

func TestListDefaultPage(t *testing.T) {
	f := newFixture(t)
	for i := range manage.DefaultPage + 1 {
		f.create(t, manage.NewToken{Owner: "user" + strconv.Itoa(i), Name: strconv.Itoa(i)})
	}
	pages := f.names(t, manage.Query{})
	if len(pages) != 2 || len(pages[0]) != manage.DefaultPage || len(pages[1]) != 1 {
		t.Errorf("%d pages, the first with %d tokens", len(pages), len(pages[0]))
	}
}

func TestGetRefused(t *testing.T) {
	f := newFixture(t)
	_, err := f.Get(t.Context(), root, "000000000000")
	is(t, err, manage.ErrNotFound, "")
	_, err = f.Get(t.Context(), root, "../../etc")
	is(t, err, manage.ErrNotFound, "")
	value := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"}).Value
	_, err = f.Get(t.Context(), root, "x"+value.Reveal())
	is(t, err, manage.ErrInvalid, manage.FieldID)
}

func TestExplain(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, manage.NewToken{Owner: "fred", Name: "ci", ReadOnly: true})
	request := authz.Request{
		Method: "DELETE", Path: "/rest/api/2/issue/X-1", Client: netip.MustParseAddr("192.0.2.7"),
		Authorization: "Bearer " + issued.Value.Reveal(),
	}
	view := authz.View{Policy: policy.New(config.Default()), Index: f.tokens.Index(), Now: start}
	decision, verdicts, err := f.Explain(t.Context(), root, &request, "", view)
	if err != nil {
		t.Fatal(err)
	}
	if decision != authz.Decide(&request, view) || decision.Reason != authz.ReadOnly || len(verdicts) == 0 {
		t.Errorf("decision %+v with %d verdicts", decision, len(verdicts))
	}
}
