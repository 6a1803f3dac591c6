package web_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/web"
)

// numbers returns the running numbers of a page's tokens.
func numbers(values []web.Token) string {
	var found []string
	for _, v := range values {
		found = append(found, strconv.FormatUint(v.Number, 10))
	}
	return strings.Join(found, " ")
}

// many creates various tokens.
func many(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	var issued web.IssuedToken
	for _, ask := range []string{
		`{"user":"fred","label":"build","expiresIn":"10d"}`,
		`{"user":"fred","label":"50% off+","expiresIn":"unlimited","readOnly":true}`,
		`{"user":"wilma","label":"=cmd()","purpose":"@x","expiresIn":"40d","networks":["192.0.2.0/24"],"rate":{"requests":60,"perSeconds":60,"burst":5}}`,
		`{"user":"fred & sons","label":"+1","expiresIn":"1d"}`,
		`{"type":"management","label":"robots","expiresIn":"30d","networks":["10.0.0.0/8"]}`,
	} {
		f.into(t, "POST", base+"/", ask, &issued)
		f.pass(time.Hour)
	}
	f.manager.Usage.Record(f.get(t, "1").ID, true, f.clock(), netip.MustParseAddr("192.0.2.9"))
	if err := f.manager.Usage.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.pass(30 * time.Hour) // 4 has expired
	f.send(t, "POST", base+"/2/disable", nil)
	f.send(t, "DELETE", base+"/3", nil)
	return f
}

func (f *fixture) get(t *testing.T, id string) (found web.Token) {
	t.Helper()
	f.into(t, "GET", base+"/"+id, nil, &found)
	return found
}

func TestFilters(t *testing.T) {
	f := many(t)
	for _, c := range []struct{ query, want string }{
		{"", "1 2 3 4 5"},
		{"user=FRED", "1 2"},
		{"user=fred+%26+sons", "4"},
		{"userPart=RED", "1 2 4"},
		{"name=OFF%2B", "2"},
		{"name=50%25", "2"},
		{"id=" + f.get(t, "3").ID, "3"},
		{"id=000000000000", ""},
		{"state=active", "1 5"},
		{"state=disabled", "2"},
		{"state=revoked", "3"},
		{"state=expired", "4"},
		{"state=suspended", ""},
		{"type=management", "5"},
		{"type=ordinary&state=active", "1"},
		{"scope=read", "2"},
		{"scope=write", "1 3 4 5"},
		{"createdUntil=2026-03-01", "1 2 3 4 5"}, // that day is in it
		{"createdUntil=2026-02-28", ""},
		{"createdFrom=2026-03-01T13:00:00Z", "2 3 4 5"},
		{"createdFrom=2026-03-01T14:00:00%2B01:00&createdUntil=2026-03-01T14:00:00Z", "2"},
		{"usedFrom=2026-03-01", "1"},
		{"usedUntil=2026-02-28", ""},
		{"expiresFrom=2026-03-20", "3 5"},
		{"expiresUntil=2026-03-11", "1 4"},
		{"neverExpires=true", "2"},
		{"neverUsed=true", "2 3 4 5"},
		{"unusedSince=1d", "1 2 3 4 5"},
		{"unusedSince=31h", "2 3 4"},
		{"unusedSince=2026-03-01", ""},
		{"expiringWithin=10d", "1"}, // 4 has
		{"expiringWithin=90d", "1 3 5"},
		{"sort=name", "4 2 3 1 5"},
		{"sort=user&order=desc", "3 4 2 1 5"},
		{"sort=expires", "4 1 5 3 2"},
		{"sort=uses&order=desc", "1 5 4 3 2"},
		{"sort=created&order=desc", "5 4 3 2 1"},
	} {
		var page web.TokenPage
		f.into(t, "GET", base+"/tokens?"+c.query, nil, &page)
		if got := numbers(page.Values); got != c.want || page.Next != nil || page.Total != len(page.Values) {
			t.Errorf("%q lists %q of %d, next %v; want %q", c.query, got, page.Total, page.Next, c.want)
		}

		// The same by pages, and as CSV.
		var paged []web.Token
		for after := ""; ; {
			var page web.TokenPage
			f.into(t, "GET", base+"/tokens?limit=2"+after+"&"+c.query, nil, &page)
			if paged = append(paged, page.Values...); page.Next == nil {
				break
			}
			after = "&after=" + url.QueryEscape(*page.Next)
		}
		if got := numbers(paged); got != c.want {
			t.Errorf("%q by pages: %q, want %q", c.query, got, c.want)
		}
		rows, err := csv.NewReader(strings.NewReader(f.send(t, "GET", base+"/tokens?format=csv&"+c.query, nil).body)).ReadAll()
		var column []string
		for _, row := range rows[min(1, len(rows)):] {
			column = append(column, row[1])
		}
		if got := strings.Join(column, " "); got != c.want || err != nil {
			t.Errorf("%q as CSV: %q, %v; want %q", c.query, got, err, c.want)
		}
	}
	if got := f.send(t, "GET", base+"/tokens?state=pending", nil).body; got != `{"values":[],"total":0,"next":null}`+"\n" {
		t.Errorf("an empty page is %s", got)
	}
}

// Spreadsheets do not execute token names as formulas.
func TestCSV(t *testing.T) {
	f := many(t)
	got := f.send(t, "GET", base+"/tokens?format=csv&user=wilma", nil)
	id := f.get(t, "3").ID
	want := "id,number,type,label,user,purpose,state,createdAt,createdBy,expiresAt,readOnly,networks,rate,lastAccessed,lastAddress,usageCount,writeCount,revokedAt,previousUntil\n" +
		id + `,3,ordinary,'=cmd(),wilma,'@x,revoked,2026-03-01T14:00:00Z,` + me + `,2026-04-10T14:00:00Z,false,192.0.2.0/24,"60 per 60s, 5 at once",,,0,0,2026-03-02T23:00:00Z,` + "\n"
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if kind, file := got.header.Get("Content-Type"), got.header.Get("Content-Disposition"); kind != "text/csv;charset=UTF-8;header=present" || file != `attachment; filename="tokens.csv"` {
		t.Errorf("Content-Type %q, Content-Disposition %q", kind, file)
	}
	log := f.send(t, "GET", base+"/audit?format=csv&action=token.create&tokenId="+id, nil)
	rows, err := csv.NewReader(strings.NewReader(log.body)).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][4] != "token.create" || !strings.Contains(rows[1][9], `name: "" → "=cmd()"`) {
		t.Errorf("%v, %q", err, rows)
	}
}

func TestCells(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "x": "x", "x=": "x=", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx", "'x": "'x", "ä": "ä",
		"＝1": "'＝1", "＋1": "'＋1", "－1": "'－1", "＠x": "'＠x", "ä=": "ä=", "a, b; c": "a, b; c", "\xff=": "\xff=",
		"a;=1;b": "a;'=1;b", "a\n=1": "a\n'=1", "a\t@1": "a\t'@1", "a\r-1": "a\r'-1", "a\r\n+1": "a\r\n'+1", "a;＝1": "a;'＝1",
		"a;\t=1": "a;'\t'=1", "\t=1": "'\t'=1", ";;=1": ";;'=1", ";": ";", "a\n": "a\n",
		// Behind quotes and spaces, which importers take away.
		`a;"=1;b`: `a;'"=1;b`, `"=1`: `'"=1`, "a; =1": "a;' =1", `a;"" "=1`: `a;'"" "=1`, `a; "b"; c`: `a; "b"; c`, `a;" `: `a;" `,
	} {
		if got := web.Cell(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
		if got := web.Cell(want); got != want {
			t.Errorf("%q becomes %q when it is looked at again", want, got)
		}
	}
}

// Paging returns every entry exactly once.
func TestLongListings(t *testing.T) {
	f := newFixture(t)
	const many = 1203
	fill(t, f, many, func(n int) string { return fmt.Sprint("user", n) })
	rows, err := csv.NewReader(strings.NewReader(f.send(t, "GET", base+"/tokens?format=csv", nil).body)).ReadAll()
	if err != nil || len(rows) != many+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	seen := map[string]bool{}
	for _, row := range rows {
		seen[row[0]] = true
	}
	if len(seen) != many+1 {
		t.Errorf("%d different rows", len(seen))
	}
	rows, err = csv.NewReader(strings.NewReader(f.send(t, "GET", base+"/audit?format=csv", nil).body)).ReadAll()
	if err != nil || len(rows) != many+1 {
		t.Fatalf("%d rows of the log, %v", len(rows), err)
	}
	if !slices.IsSortedFunc(rows[1:], func(a, b []string) int { return len(b[0]) - len(a[0]) }) {
		t.Error("the log is not the newest first")
	}
}

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

// Clients of other API tokens for Jira work with this API: the golden files are
// their examples.
func TestKnownShapes(t *testing.T) {
	f := newFixture(t)
	f.pass(-f.clock().Sub(time.Date(2024, 6, 3, 17, 13, 59, 0, time.UTC)))
	admin, user := f.user("admin"), f.user("user")
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
			// A token without an expiry gets the policy's.
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
		t.Errorf("another user's token is deleted with %d", got.status)
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
	fred := f.user("fred")
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
	if got := f.user("barney").send(t, "DELETE", base+"/all?user=FRED", nil); got.status != 204 {
		t.Errorf("an administrator: %d %s", got.status, got.body)
	}
	var page web.TokenPage
	f.into(t, "GET", base+"/tokens?state=active", nil, &page)
	if got := numbers(page.Values); got != "1" {
		t.Errorf("%q are left", got)
	}
}

// A listing that fails midway is visibly incomplete.
func TestListingIsCut(t *testing.T) {
	f := newFixture(t)
	fill(t, f, 500, func(n int) string { return fmt.Sprint("user", n%250) })
	owners := 0
	f.faults.fail(func(_ context.Context, method string) error {
		if method == "Usage" {
			if owners++; owners == 200 {
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
	if len(all) != 250 || all[4].Count != 2 || len(all[4].Tokens) != 2 {
		t.Errorf("%d owners", len(all))
	}
}

func TestHead(t *testing.T) {
	f := newFixture(t)
	f.create(t, "fred", "ci")
	for _, path := range []string{"/", "/all", "/tokens", "/tokens?format=csv", "/1", "/me", "/openapi.json"} {
		got := f.user("barney").send(t, http.MethodHead, base+path, nil)
		if got.status != 200 || got.body != "" || got.header.Get("Content-Type") == "" {
			t.Errorf("%s: %d %q %v", path, got.status, got.body, got.header)
		}
	}
	if got := f.user("fred").send(t, http.MethodHead, base+"/all", nil); got.status != 403 {
		t.Errorf("not an administrator's: %d", got.status)
	}
}
