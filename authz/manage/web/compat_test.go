package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/manage/web"
)

func golden(t *testing.T, name string) any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return decoded(t, string(data))
}

func decoded(t *testing.T, text string) (value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

// What clients of other API tokens for Jira send and expect is sent and answered
// here: the golden files are their examples.
func TestKnownShapes(t *testing.T) {
	f := newFixture(t)
	f.pass(-f.clock().Sub(time.Date(2024, 6, 3, 17, 13, 59, 0, time.UTC)))
	admin, user := f.person("admin"), f.person("user")
	use := func(id string, times int) {
		for range times {
			f.manager.Usage.Record(id, false, f.clock().Add(24*time.Hour), netip.MustParseAddr("192.0.2.1"))
		}
	}
	label := func(s sender, label, more string) map[string]any {
		got := s.send(t, "POST", base+"/", `{"label":"`+label+`"`+more+`}`)
		created, _ := decoded(t, got.body).(map[string]any)
		if value, _ := created["passwordValue"].(string); got.status != 200 || len(value) != 67 {
			t.Fatalf("created with %d %s", got.status, got.body)
		}
		return created
	}
	jenkins := label(admin, "Jenkins", "")
	use(jenkins["id"].(string), 12)
	f.pass(6 * time.Second)
	label(admin, "Python script", "")
	f.pass(5 * time.Second)
	label(user, "My Automation", `,"expiresIn":"1d"`)

	got := decoded(t, admin.send(t, "GET", base+"/all", nil).body)
	for _, owner := range got.([]any) {
		for _, k := range owner.(map[string]any)["tokens"].([]any) {
			// Who creates one without an end gets the rule's.
			if k := k.(map[string]any); k["label"] != "My Automation" {
				if k["expirationDate"] == nil {
					t.Errorf("%v has no end", k)
				}
				k["expirationDate"] = nil
			}
		}
	}
	if diff := cmp.Diff(golden(t, "all.json"), got); diff != "" {
		t.Errorf("GET /all (-golden +got):\n%s", diff)
	}

	// The own list has more; what is known of it is as it was.
	own := decoded(t, user.send(t, "GET", base+"/", nil).body).([]any)
	known := golden(t, "own.json").([]any)
	if len(own) != len(known) {
		t.Fatalf("the own list is %v", own)
	}
	k := own[0].(map[string]any)
	if id, ok := k["id"].(string); !ok || id == "" {
		t.Errorf("the id is %v", k["id"])
	}
	for field, want := range known[0].(map[string]any) {
		if field != "id" && !cmp.Equal(k[field], want) {
			t.Errorf("%s is %v, want %v", field, k[field], want)
		}
	}

	// Deleting: by the id, or by the number of the other list.
	if got := user.send(t, "DELETE", base+"/1", nil); got.status != 404 {
		t.Errorf("somebody else's token is deleted with %d", got.status)
	}
	for _, id := range []string{"3", jenkins["id"].(string)} {
		if got := admin.send(t, "DELETE", base+"/"+id, nil); got.status != 204 || got.body != "" {
			t.Errorf("%s is deleted with %d %q", id, got.status, got.body)
		}
	}
	if got := admin.send(t, "DELETE", base+"/all", nil); got.status != 204 || got.body != "" {
		t.Errorf("all are deleted with %d %q", got.status, got.body)
	}
	for _, s := range []sender{admin, user} {
		if got := s.send(t, "GET", base+"/", nil).body; got != "[]\n" {
			t.Errorf("then the own list is %s", got)
		}
	}
	if got := admin.send(t, "GET", base+"/all", nil).body; got != "[]\n" {
		t.Errorf("then the list of all is %s", got)
	}
}

func TestOwn(t *testing.T) {
	f := newFixture(t)
	fred := f.person("fred")
	f.create(t, "wilma", "not mine")
	for _, label := range []string{"one", "two", "three"} {
		f.create(t, "fred", label)
	}
	f.send(t, "DELETE", base+"/3", nil)
	f.send(t, "POST", base+"/4/disable", nil)
	for query, want := range map[string]string{"": "2 4", "?state=revoked": "3", "?state=active": "2", "?state=disabled": "4", "?state=pending": ""} {
		var own []web.Token
		fred.into(t, "GET", base+"/"+query, nil, &own)
		if got := numbers(own); got != want {
			t.Errorf("%q lists %q, want %q", query, got, want)
		}
	}
	denied(t, fred.send(t, "GET", base+"/?state=gone", nil), 400, "state")
	denied(t, fred.send(t, "DELETE", base+"/all?user=wilma", nil), 403, "")
	if got := f.person("barney").send(t, "DELETE", base+"/all?user=FRED", nil); got.status != 204 {
		t.Errorf("an administrator: %d %s", got.status, got.body)
	}
	var page web.TokenPage
	f.into(t, "GET", base+"/tokens?state=active", nil, &page)
	if got := numbers(page.Values); got != "1" {
		t.Errorf("%q are left", got)
	}
}

// A listing that fails on its way does not look whole.
func TestListingIsCut(t *testing.T) {
	f := newFixture(t)
	const each = 100
	users := []string{"anna", "bert", "carl", "dora", "edna"}
	fill(t, f, each*len(users), func(n int) string { return users[n%len(users)] })
	owners := 0
	f.faults.fail(func(_ context.Context, method string) error {
		if method == "Usage" {
			if owners++; owners == 5 {
				return errors.New("sector 17")
			}
		}
		return nil
	})
	response, err := f.client.Do(newRequest(t, "GET", base+"/all", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != 200 || len(body) == 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d, %d bytes, %v; want a part and a cut", response.StatusCode, len(body), err)
	}
	if n := f.logs.FilterMessage("management request failed").Len(); n != 1 {
		t.Errorf("%d log lines", n)
	}

	// One that fails at once says so.
	f.faults.fail(func(context.Context, string) error { return errors.New("sector 17") })
	for _, path := range []string{"/all", "/tokens?format=csv", "/audit?format=csv"} {
		denied(t, f.send(t, "GET", base+path, nil), 503, "")
	}
	f.faults.fail(nil)
	var all []web.OwnerTokens
	f.into(t, "GET", base+"/all", nil, &all)
	if len(all) != 5 || all[4].Count != each || len(all[4].Tokens) != each {
		t.Errorf("%d owners", len(all))
	}
}

func TestHead(t *testing.T) {
	f := newFixture(t)
	f.create(t, "fred", "ci")
	for _, path := range []string{"/", "/all", "/tokens", "/tokens?format=csv", "/1", "/me", "/openapi.json"} {
		got := f.person("barney").send(t, http.MethodHead, base+path, nil)
		if got.status != 200 || got.body != "" || got.header.Get("Content-Type") == "" {
			t.Errorf("%s: %d %q %v", path, got.status, got.body, got.header)
		}
	}
	if got := f.person("fred").send(t, http.MethodHead, base+"/all", nil); got.status != 403 {
		t.Errorf("not an administrator's: %d", got.status)
	}
}
