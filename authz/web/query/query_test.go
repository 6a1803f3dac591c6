package query_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/listing"
)

var (
	now   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	value = "tgate_" + strings.Repeat("x", 61)
)

// A query and the query of a form differ in empty values and the credential only.
func TestRead(t *testing.T) {
	known := []string{"name", "user"}
	for _, c := range []struct {
		raw        string
		want, form string // part of the error; "": none
	}{
		{"", "", ""},
		{"name=a%20b&user=c", "", ""},
		{"name=&user=c", `"name" is empty`, ""},
		{"key=secret&name=x", "", `no parameter "key"`},
		{"name=a&name=b", "more than once", "more than once"},
		{"nmae=a", `no parameter "nmae"`, `no parameter "nmae"`},
		{"name=" + value, "must stay secret", "must stay secret"},
		{"name=tgate_", "must stay secret", "must stay secret"},
		{"name=%zz", "percent-encode", "percent-encode"},
		{value + "=x", "no parameter", "no parameter"},
	} {
		_, err := query.Read(c.raw, known, "key")
		_, formErr := query.ReadForm(c.raw, known)
		for kind, got := range map[string]struct {
			err  error
			want string
		}{"query": {err, c.want}, "form": {formErr, c.form}} {
			switch e, is := errors.AsType[*query.Error](got.err); {
			case got.want == "" && got.err != nil, got.want != "" && (!is || !strings.Contains(e.Text, got.want)):
				t.Errorf("%s %q: %v, want %q", kind, c.raw, got.err, got.want)
			case is && strings.Contains(e.Text+e.Parameter, value):
				t.Errorf("%s: the error contains the value", kind)
			}
		}
	}
	q, err := query.ReadForm("name=&user=c", known)
	if diff := cmp.Diff(query.Values{"user": "c"}, q); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// Parameters become a query of the manager.
func TestTokens(t *testing.T) {
	yes, kind := true, store.Management
	for name, c := range map[string]struct {
		q    query.Values
		want manage.Query
	}{
		"none": {query.Values{}, manage.Query{}},
		"words": {query.Values{"state": "suspended", "type": "management", "scope": "read", "sort": "used", "order": "desc", "limit": "7"},
			manage.Query{State: manage.StateSuspended, Query: listing.Query{Kind: &kind, ReadOnly: &yes, Sort: listing.ByLastUsed, Descending: true, Limit: 7}}},
		"texts": {query.Values{"user": "fred", "userPart": "re", "name": "ci", "id": "x", "after": "c"},
			manage.Query{Query: listing.Query{Owner: "fred", OwnerPart: "re", Name: "ci", ID: "x", After: "c"}}},
		"a day is whole": {query.Values{"createdFrom": "2026-01-01", "createdUntil": "2026-01-02"},
			manage.Query{Query: listing.Query{CreatedFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), CreatedUntil: time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)}}},
		"from now": {query.Values{"unusedSince": "90d", "expiringWithin": "14d"},
			manage.Query{Query: listing.Query{UnusedSince: now.AddDate(0, 0, -90), ExpiresFrom: now, ExpiresUntil: now.AddDate(0, 0, 14)}}},
		"flags": {query.Values{"neverUsed": "true", "neverExpires": "true"}, manage.Query{Query: listing.Query{NeverUsed: true, NeverExpires: true}}},
	} {
		got, err := query.Tokens(c.q, now)
		if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(listing.Query{}, "OwnerIs")); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	for parameter, wrong := range map[string]string{
		"state": "on", "type": "x", "scope": "x", "sort": "x", "order": "x", "limit": "0", "neverUsed": "false",
		"createdFrom": "1.1.2026", "unusedSince": "x", "expiringWithin": "unlimited",
	} {
		if _, err := query.Tokens(query.Values{parameter: wrong}, now); err == nil {
			t.Errorf("%s=%s is accepted", parameter, wrong)
		}
	}
}

func TestAudit(t *testing.T) {
	got, err := query.Audit(query.Values{"actor": "a", "action": "token.create", "tokenId": "i", "user": "u", "outcome": "done", "from": "2026-01-01", "until": "2026-01-01", "after": "9", "limit": "3"})
	want := manage.AuditQuery{Actor: "a", Action: "token.create", TokenID: "i", Owner: "u", Outcome: "done", From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Before: 9, Limit: 3}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for parameter, wrong := range map[string]string{"outcome": "x", "after": "0", "from": "x", "limit": "-1"} {
		if _, err := query.Audit(query.Values{parameter: wrong}); err == nil {
			t.Errorf("%s=%s is accepted", parameter, wrong)
		}
	}
}
