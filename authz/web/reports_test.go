package web_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
)

func TestMe(t *testing.T) {
	f := newFixture(t)
	terms := &web.Terms{Terms: policy.Terms{Key: "access.create[0]"}, MaxLifetime: "90d"}
	f.create(t, "fred", "ci")
	robots := f.management(t, "robots", "")
	for _, c := range []struct {
		s    sender
		want web.Me
	}{
		{f.user("fred"), web.Me{Me: manage.Me{Name: "Fred", DisplayName: "The Fred", From: "192.0.2.7", MayUse: true, MayCreate: true, InForce: 1}, Terms: terms}},
		{f.user("lead"), web.Me{Me: manage.Me{Name: "lead", DisplayName: "The lead", From: "192.0.2.7", MayUse: true, MayCreate: true, ForOthers: true}, Terms: terms}},
		{f.user("barney"), web.Me{Me: manage.Me{Name: "barney", DisplayName: "The barney", From: "192.0.2.7", Administrator: true, MayUse: true, MayCreate: true, ForOthers: true}}},
		{f.user("stranger"), web.Me{Me: manage.Me{Name: "stranger", DisplayName: "The stranger", From: "192.0.2.7"}}},
		{f.from("", f.user("stranger").header.Get("Authorization")), web.Me{Me: manage.Me{Name: "stranger", DisplayName: "The stranger", From: "unknown address"}}},
		{f.as("Bearer " + robots.PasswordValue), web.Me{Me: manage.Me{Name: "token:" + robots.ID, From: "192.0.2.7", Administrator: true, MayCreate: true, ForOthers: true}}},
	} {
		var got web.Me
		c.s.into(t, "GET", base+"/me", nil, &got)
		c.want.MaxPerUser, c.want.MaxOverlap = 3, "7d"
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.want.Name, diff)
		}
	}
	var got web.Me
	f.into(t, "GET", base+"/me", nil, &got)
	if got.Name != me || got.From != "admin socket" || !got.Administrator {
		t.Errorf("on the admin socket: %+v", got)
	}
}

// The settings are listed as configured, by key.
func TestSettings(t *testing.T) {
	f := newFixture(t)
	var got web.Settings
	f.user("barney").into(t, "GET", base+"/settings", nil, &got)
	found := map[string]any{}
	for _, setting := range got.Settings {
		found[setting.Key] = setting.Value
	}
	for key, want := range map[string]any{
		"access.use":                    []any{"jira-users"},
		"access.create[0].maxLifetime":  "90d",
		"access.create[0].rate":         "unlimited",
		"access.create[1].readOnly":     true,
		"access.create[1].rate.burst":   60.0,
		"access.createForOthers[0].for": []any{"robots"},
		"tokens.maxPerUser":             3.0,
		"passwords.mode":                "allow",
		"directory":                     "upstream",
		"network.deny":                  []any{},
	} {
		if !reflect.DeepEqual(found[key], want) {
			t.Errorf("%s is %v, want %v", key, found[key], want)
		}
	}
	for _, path := range []string{"/settings", "/audit", "/passwords", "/totals", "/all", "/tokens", "/upstream"} {
		denied(t, f.user("fred").send(t, "GET", base+path, nil), 403, "")
	}

	// Lists without an entry, too.
	f = configured(t, "publicURL: https://jira.example.com\naccess: {create: []}\n")
	f.into(t, "GET", base+"/settings", nil, &got)
}

func TestAudit(t *testing.T) {
	f := newFixture(t)
	var issued web.IssuedToken
	f.user("fred").into(t, "POST", base+"/", `{"label":"ci"}`, &issued)
	f.pass(24 * time.Hour)
	denied(t, f.user("wilma").send(t, "DELETE", base+"/"+issued.ID, nil), 404, "")
	f.send(t, "POST", base+"/"+issued.ID+"/disable", nil)
	var all web.AuditPage
	f.into(t, "GET", base+"/audit", nil, &all)
	want := web.AuditRecord{Time: start.Add(24 * time.Hour).UnixMilli(), Actor: me, From: "admin socket", Action: "token.disable",
		TokenID: issued.ID, User: "Fred", Outcome: "done", Changes: map[string]web.Change{"state": {Before: "active", After: "disabled"}}}
	if len(all.Values) != 3 || all.Next != nil {
		t.Fatalf("%d records, next %v", len(all.Values), all.Next)
	}
	want.Sequence = all.Values[0].Sequence
	if diff := cmp.Diff(want, all.Values[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	actions := func(page web.AuditPage) string {
		var found []string
		for _, r := range page.Values {
			found = append(found, strings.TrimPrefix(r.Action, "token."))
		}
		return strings.Join(found, " ")
	}
	for query, want := range map[string]string{
		"":                                   "disable revoke create",
		"actor=FRED":                         "create",
		"action=token.revoke":                "revoke",
		"tokenId=" + issued.ID:               "disable revoke create",
		"tokenId=000000000000":               "",
		"user=fred":                          "disable create",
		"outcome=refused":                    "revoke",
		"from=2026-03-02":                    "disable revoke",
		"until=2026-03-01":                   "create",
		"from=2026-03-03":                    "",
		"until=2026-03-02T12:00:00Z&limit=9": "create",
	} {
		var got web.AuditPage
		f.into(t, "GET", base+"/audit?"+query, nil, &got)
		if actions(got) != want {
			t.Errorf("%q: %q, want %q", query, actions(got), want)
		}
	}
	var found []string
	for after := ""; ; {
		var page web.AuditPage
		f.into(t, "GET", base+"/audit?limit=1"+after, nil, &page)
		if found = append(found, actions(page)); page.Next == nil {
			break
		}
		after = "&after=" + *page.Next
	}
	if got := strings.TrimSpace(strings.Join(found, " ")); got != "disable revoke create" {
		t.Errorf("by pages: %q", got)
	}
}

func TestPasswords(t *testing.T) {
	f := newFixture(t)
	var got web.PasswordUsers
	f.into(t, "GET", base+"/passwords", nil, &got)
	if got.Users == nil || len(got.Users) != 0 {
		t.Errorf("at first: %+v", got)
	}
	at := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	home := netip.MustParseAddr("192.0.2.1")
	value := f.create(t, "fred", "ci").PasswordValue
	_, err := f.tokens.AddPasswordUses(t.Context(), []store.PasswordUse{
		{User: "fred", Client: "curl/8", Address: home, First: at(0), Last: at(3), Passed: 4, WouldBlock: 2, Blocked: 1},
		{User: "wilma", Client: "python " + value, First: at(5), Last: at(5), Blocked: 7},
		{User: "fred", Client: "", First: at(1), Last: at(4), Passed: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.into(t, "GET", base+"/passwords", nil, &got)
	want := web.PasswordUsers{Users: []web.PasswordUser{
		{User: "wilma", Requests: 7, LastSeen: at(5).UnixMilli(), Uses: []web.PasswordUse{
			{Client: got.Users[0].Uses[0].Client, FirstSeen: at(5).UnixMilli(), LastSeen: at(5).UnixMilli(), Blocked: 7},
		}},
		{User: "fred", Requests: 6, LastSeen: at(4).UnixMilli(), Uses: []web.PasswordUse{
			{FirstSeen: at(1).UnixMilli(), LastSeen: at(4).UnixMilli(), Passed: 1},
			{Client: "curl/8", Address: ptr("192.0.2.1"), FirstSeen: at(0).UnixMilli(), LastSeen: at(3).UnixMilli(), Passed: 4, WouldBlock: 2, Blocked: 1},
		}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTotals(t *testing.T) {
	f := newFixture(t)
	today := store.DayOf(start)
	for day, counts := range map[store.Day]map[string]uint64{
		today - 30: {"allowed": 1},
		today - 29: {"allowed": 2},
		today:      {"allowed": 3, "password": 4, "password_unknown_user": 5, "expired": 6, "password_blocked": 7},
	} {
		if err := f.tokens.AddTotals(t.Context(), day, counts); err != nil {
			t.Fatal(err)
		}
	}
	var got web.Totals
	f.into(t, "GET", base+"/totals", nil, &got)
	want := web.Totals{Days: []web.DayTotals{
		{Date: "2026-01-31", Allowed: 2, Refused: map[string]uint64{}},
		{Date: "2026-03-01", Allowed: 3, Passwords: 4, Unknown: 5, Refused: map[string]uint64{"expired": 6, "password_blocked": 7}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Users may explain requests with their own tokens, without their values.
func TestExplainOwn(t *testing.T) {
	f := newFixture(t)
	fred, wilma := f.user("fred"), f.user("wilma")
	var issued web.IssuedToken
	fred.into(t, "POST", base+"/", `{"label":"ci","networks":["192.0.2.0/24"]}`, &issued)
	byID := func(ip string) web.ExplainRequest {
		return web.ExplainRequest{TokenID: issued.ID, Path: "/rest/api/2/myself", IP: ip}
	}
	for ip, want := range map[string]string{"192.0.2.7": "allowed", "198.51.100.1": "network_not_allowed"} {
		var got web.Explanation
		fred.into(t, "POST", base+"/explain", byID(ip), &got)
		if got.Reason != want || got.TokenID != issued.ID {
			t.Errorf("from %s: %+v", ip, got)
		}
	}
	var got web.Explanation
	fred.into(t, "POST", base+"/explain", web.ExplainRequest{Token: issued.PasswordValue, Path: "/rest/api/2/myself", IP: "192.0.2.7"}, &got)
	theirs := wilma.send(t, "POST", base+"/explain", byID("192.0.2.7"))
	unknown := wilma.send(t, "POST", base+"/explain", `{"tokenId":"000000000000","path":"/"}`)
	if denied(t, theirs, 404, ""); theirs.body != unknown.body {
		t.Errorf("another user's token: %s, unknown: %s", theirs.body, unknown.body)
	}
	denied(t, wilma.send(t, "POST", base+"/explain", fmt.Sprintf(`{"token":%q,"path":"/"}`, issued.PasswordValue)), 403, "")
	denied(t, wilma.send(t, "POST", base+"/explain", `{"path":"/"}`), 403, "")
}

// Every authenticated caller may read the description.
func TestDescriptionIsServed(t *testing.T) {
	f := newFixture(t)
	got := f.user("stranger").send(t, "GET", base+"/openapi.json", nil)
	if got.status != 200 || got.body != string(web.OpenAPI()) || !strings.HasPrefix(got.body, `{"openapi"`) {
		t.Errorf("%d %.100s", got.status, got.body)
	}
	denied(t, f.as("").send(t, "GET", base+"/openapi.json", nil), 401, "")
}
