package jira_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

const (
	day     = 24 * time.Hour
	patList = "/rest/pat/1/tokens"
)

// patRig is a fake Jira over a network, and a client of it. fred is logged in.
type patRig struct {
	*jiratest.Server
	client product.CredentialClient
	myself func(http.Header) (directory.User, error)
	fred   http.Header // the cookie of fred's session
	now    time.Time
}

func newPATRig(t *testing.T, change func(*jiratest.Options)) *patRig {
	t.Helper()
	r := &patRig{now: time.Date(2026, 11, 28, 10, 11, 12, 345_000_000, time.UTC)}
	o := jiratest.Options{
		ContextPath: "/jira",
		Now:         func() time.Time { return r.now },
		Users: []jiratest.User{
			{Name: "fred", Key: "JIRAUSER10100", Password: "yabba", Active: true},
			{Name: "wilma", Password: "dabba", Active: true},
			{Name: "admin", Password: "doo", Active: true, Groups: []string{jiratest.Administrators}},
		},
	}
	if change != nil {
		change(&o)
	}
	r.Server = jiratest.New(o)
	web := httptest.NewServer(r.Server)
	t.Cleanup(web.Close)
	c, err := jira.Product.Connect(web.URL+"/jira", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.client = jira.Product.Credentials(c)
	r.myself = func(credential http.Header) (directory.User, error) {
		u, _, err := c.Myself(t.Context(), credential, 5*time.Second, r.now)
		return u, err
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL+"/jira/secure/Dashboard.jspa", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-User", "fred")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	r.fred = http.Header{"Cookie": {res.Cookies()[0].String()}}
	return r
}

// password returns the header with a password.
func password(name, password string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}}
}

// A PAT that is created, verified, listed and deleted.
func TestMint(t *testing.T) {
	r := newPATRig(t, nil)
	made, err := r.client.Mint(t.Context(), r.fred, "tokengate jira.example.com 1", 90*day)
	if err != nil {
		t.Fatal(err)
	}
	want := product.UpstreamCredential{ID: "1", Name: "tokengate jira.example.com 1", Created: r.now, Ends: r.now.AddDate(0, 0, 90)}
	value := made.Value
	made.Value = product.Secret{}
	if diff := cmp.Diff(want, made, cmp.AllowUnexported(product.Secret{})); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if u, err := r.myself(value.Bearer()); err != nil || u.Key != "JIRAUSER10100" {
		t.Errorf("verified: %+v, %v", u, err)
	}
	if seen, _ := r.Last(); seen.How != jiratest.ByBearer || seen.Header["Cookie"] != nil {
		t.Errorf("Jira saw %s with cookies %v", seen.How, seen.Header["Cookie"] != nil)
	}
	list, err := r.client.List(t.Context(), value.Bearer())
	if diff := cmp.Diff([]product.UpstreamCredential{want}, list, cmp.AllowUnexported(product.Secret{})); diff != "" || err != nil {
		t.Errorf("%v, listed (-want +got):\n%s", err, diff)
	}
	for range 2 {
		if err := r.client.Delete(t.Context(), r.fred, made.ID); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.myself(value.Bearer()); !errors.Is(err, directory.ErrNotLoggedIn) {
		t.Errorf("verified after it was deleted: %v", err)
	}
	if list, err := r.client.List(t.Context(), r.fred); err != nil || list == nil || len(list) != 0 {
		t.Errorf("listed after it was deleted: %v, %v", list, err)
	}
	for _, seen := range r.Requests() {
		if seen.Method == http.MethodPost && (seen.Header.Get("X-Atlassian-Token") != "no-check" || seen.Header.Get("User-Agent") != "tokengate") {
			t.Errorf("a POST without X-Atlassian-Token, or from %q", seen.Header.Get("User-Agent"))
		}
	}
}

// A PAT can be made with a session, a password and a PAT.
func TestMintWith(t *testing.T) {
	r := newPATRig(t, nil)
	made, err := r.client.Mint(t.Context(), password("fred", "yabba"), "a", day)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Mint(t.Context(), made.Value.Bearer(), "b", day); err != nil {
		t.Error(err)
	}
	if n := len(r.PATs("JIRAUSER10100")); n != 2 {
		t.Errorf("%d PATs, want 2", n)
	}
}

func TestMintLifetime(t *testing.T) {
	for name, tt := range map[string]struct {
		lifetime time.Duration
		settings jiratest.PATSettings
		days     int // 0: refused
		requests int
	}{
		"whole days":                {90 * day, jiratest.PATSettings{}, 90, 1},
		"less than a day":           {time.Minute, jiratest.PATSettings{}, 1, 1},
		"rounded down":              {2*day - time.Second, jiratest.PATSettings{}, 1, 1},
		"Jira's maximum":            {365 * day, jiratest.PATSettings{}, 365, 1},
		"more than Jira's":          {1000 * day, jiratest.PATSettings{}, 365, 2},
		"more than a lower one":     {90 * day, jiratest.PATSettings{MaxDays: 30}, 30, 2},
		"where none may be eternal": {90 * day, jiratest.PATSettings{NoEternal: true}, 90, 1},
		"none":                      {0, jiratest.PATSettings{}, 0, 0},
		"negative":                  {-day, jiratest.PATSettings{}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newPATRig(t, nil)
			r.SetPATs(tt.settings)
			made, err := r.client.Mint(t.Context(), r.fred, "a", tt.lifetime)
			if tt.days == 0 {
				_, unnamed := r.client.Mint(t.Context(), r.fred, "", day)
				if !errors.Is(err, product.ErrCredentialRefused) || !errors.Is(unnamed, product.ErrCredentialRefused) {
					t.Errorf("%v, want ErrCredentialRefused", err)
				}
			} else if err != nil || !made.Ends.Equal(r.now.AddDate(0, 0, tt.days)) {
				t.Errorf("%v, ends %s, want after %d days", err, made.Ends, tt.days)
			}
			if n := r.Count("POST " + patList); n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
		})
	}
}

// Lists name eternal and expired PATs, and those that others made.
func TestList(t *testing.T) {
	r := newPATRig(t, func(o *jiratest.Options) { o.Users[0].PATs = []string{"eternal"} })
	if _, err := r.client.Mint(t.Context(), r.fred, "a", day); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.AddDate(0, 0, 2)
	list, err := r.client.List(t.Context(), r.fred)
	if err != nil || len(list) != 2 || !list[0].Ends.IsZero() || list[1].Ends.IsZero() || list[1].Ends.After(r.now) {
		t.Errorf("%v, %v; want an eternal and an expired PAT", list, err)
	}
	for body, good := range map[string]bool{`[]`: true, `null`: false, `{}`: false, `[{}]`: false, `[{"id":1}]`: false,
		`[{"id":1,"name":"a","createdAt":"2026-11-28T10:11:12.345+00:00","expiringAt":"2026-11-28T10:11:12.345+00:00"}]`: true} {
		c := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, body)
		}))
		if _, err := jira.Product.Credentials(c).List(t.Context(), http.Header{}); (err == nil) != good {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// An administrator deletes anyone's PAT; only ids are sent.
func TestDelete(t *testing.T) {
	r := newPATRig(t, nil)
	made, err := r.client.Mint(t.Context(), r.fred, "a", day)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.client.Delete(t.Context(), password("wilma", "dabba"), made.ID); !errors.Is(err, product.ErrNotAllowed) {
		t.Errorf("by another user: %v", err)
	}
	if err := r.client.Delete(t.Context(), password("admin", "doo"), made.ID); err != nil || len(r.PATs("JIRAUSER10100")) != 0 {
		t.Errorf("by an administrator: %v", err)
	}
	r.Reset()
	for _, id := range []string{"", "0", "-1", "x", "../8", "8/../9", "8?a=b", "99999999999999999999"} {
		if err := r.client.Delete(t.Context(), r.fred, id); err == nil || r.Total() != 0 {
			t.Errorf("%q: %v, %d requests", id, err, r.Total())
		}
	}
}

// After a lost answer, the PAT exists and is found by its name.
func TestLostAnswer(t *testing.T) {
	r := newPATRig(t, nil)
	lost := r.Fail(patList, jiratest.LoseAnswer())
	if _, err := r.client.Mint(t.Context(), r.fred, "tokengate 7", day); !errors.Is(err, directory.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	lost.Stop()
	list, err := r.client.List(t.Context(), r.fred)
	if err != nil || len(list) != 1 || list[0].Name != "tokengate 7" {
		t.Fatalf("%v, %v", list, err)
	}
	if err := r.client.Delete(t.Context(), r.fred, list[0].ID); err != nil || len(r.PATs("JIRAUSER10100")) != 0 {
		t.Errorf("%v, %d PATs", err, len(r.PATs("JIRAUSER10100")))
	}
}

// A call ends with its context.
func TestMintEndsWithContext(t *testing.T) {
	r := newPATRig(t, nil)
	hang := r.Fail(patList, jiratest.Hang())
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-hang.Hit()
		cancel()
	}()
	if _, err := r.client.Mint(ctx, r.fred, "a", day); !errors.Is(err, directory.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want it cancelled", err)
	}
	if len(r.PATs("JIRAUSER10100")) != 0 {
		t.Error("Jira made a PAT")
	}
}

// Concurrent calls get different PATs, as many as Jira allows.
func TestMintConcurrently(t *testing.T) {
	r := newPATRig(t, nil)
	var mu sync.Mutex
	made, refused := map[string]string{}, 0
	var all sync.WaitGroup
	for range 25 {
		all.Go(func() {
			c, err := r.client.Mint(t.Context(), r.fred, "a", day)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made[c.ID] = c.Value.Reveal()
			case errors.Is(err, product.ErrCredentialLimit):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	values := slices.Sorted(maps.Values(made))
	if len(slices.Compact(values)) != 10 || len(made) != 10 || refused != 15 {
		t.Errorf("%d PATs with %d values, %d refused; want 10, 10 and 15", len(made), len(values), refused)
	}
	for _, value := range values {
		if u, err := r.myself(product.NewSecret(value).Bearer()); err != nil || u.Name != "fred" {
			t.Errorf("%+v, %v", u, err)
		}
	}
}
