package jiratest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// start serves a Jira with two users, and stops it at the end of the test.
func start(t *testing.T, change func(*jiratest.Options)) (*jiratest.Server, string) {
	t.Helper()
	opts := jiratest.Options{Users: []jiratest.User{
		{Name: "Fred", Key: "JIRAUSER10100", Password: "p:w", DisplayName: "Fred F.", Active: true,
			Groups: []string{"jira-users", "a&b"}, PATs: []string{"native"}},
		{Name: "wilma", Password: "secret", Active: true},
		{Name: "gone", Password: "secret", PATs: []string{"left"}},
	}}
	if change != nil {
		change(&opts)
	}
	jira := jiratest.New(opts)
	web := httptest.NewServer(jira)
	t.Cleanup(web.Close)
	return jira, web.URL
}

// answer holds the parts of a response that tests check.
type answer struct {
	status int
	header http.Header
	body   string
}

// session returns the value of the session cookie, or "".
func (a answer) session() string {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == "JSESSIONID" {
			return c.Value
		}
	}
	return ""
}

// do sends a request; header lines are "Name: value".
func do(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(all)}
}

func basic(user, password string) string {
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(user, password)
	return "Authorization: " + req.Header.Get("Authorization")
}

const myself = "/rest/api/2/myself"

func TestAuthentication(t *testing.T) {
	jira, url := start(t, nil)
	wilma := "Cookie: JSESSIONID=" + do(t, "GET", url+myself, "", "X-Forwarded-User: wilma").session()
	for _, tt := range []struct {
		name   string
		path   string
		header []string
		user   string
		how    jiratest.How
		status int
	}{
		{"nothing", myself, nil, "", jiratest.Anonymous, 401},
		{"header", myself, []string{"X-Forwarded-User: FRED"}, "Fred", jiratest.ByHeader, 200},
		{"header of an inactive user", myself, []string{"X-Forwarded-User: gone"}, "", jiratest.Anonymous, 401},
		{"header of an unknown user", myself, []string{"X-Forwarded-User: x"}, "", jiratest.Anonymous, 401},
		{"underscore header", myself, []string{"X_Forwarded_User: fred"}, "", jiratest.Anonymous, 401},
		{"header before Basic", myself, []string{"X-Forwarded-User: wilma", basic("fred", "p:w")}, "wilma", jiratest.ByHeader, 200},
		{"Basic", myself, []string{basic("fRED", "p:w")}, "Fred", jiratest.ByBasic, 200},
		{"Basic of an inactive user", myself, []string{basic("gone", "secret")}, "", jiratest.Anonymous, 401},
		{"Basic without password", myself, []string{basic("fred", "")}, "", jiratest.Anonymous, 401},
		{"native token", myself, []string{"Authorization: Bearer native"}, "Fred", jiratest.ByBearer, 200},
		{"native token of an inactive user", myself, []string{"Authorization: Bearer left"}, "", jiratest.Anonymous, 401},
		{"foreign token", myself, []string{"Authorization: Bearer x"}, "", jiratest.Anonymous, 401},
		{"query", myself + "?os_username=fred&os%5fpassword=p%3Aw", nil, "Fred", jiratest.ByQuery, 200},
		{"cookie", myself, []string{wilma}, "wilma", jiratest.BySession, 200},
		{"cookie before all else", myself, []string{wilma, "X-Forwarded-User: fred", basic("fred", "p:w")}, "wilma", jiratest.BySession, 200},
		{"dead cookie", myself, []string{"Cookie: JSESSIONID=x", "X-Forwarded-User: fred"}, "Fred", jiratest.ByHeader, 200},
		{"session in the path", "/rest;jsessionid=" + wilma[len("Cookie: JSESSIONID="):] + "/api/2/myself",
			[]string{"X-Forwarded-User: fred"}, "wilma", jiratest.BySession, 200},
		{"hidden path", "/x/..;/%72est//api/latest/myself.json", []string{"X-Forwarded-User: fred"}, "Fred", jiratest.ByHeader, 200},
		{"anonymous endpoint", "/rest/api/2/serverInfo", nil, "", jiratest.Anonymous, 200},
		{"unknown resource", "/rest/api/2/x", []string{"X-Forwarded-User: fred"}, "Fred", jiratest.ByHeader, 404},
		{"unknown page", "/x", nil, "", jiratest.Anonymous, 404},
		{"above the root", "/..;/x", nil, "", jiratest.Anonymous, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := do(t, "GET", url+tt.path, "", tt.header...)
			seen, _ := jira.Last()
			if got.status != tt.status || seen.User != tt.user || seen.How != tt.how || seen.RequestURI != tt.path {
				t.Errorf("status %d, user %q by %s at %q; want %d, %q by %s at %q",
					got.status, seen.User, seen.How, seen.RequestURI, tt.status, tt.user, tt.how, tt.path)
			}
			cookies := len(got.header.Values("Set-Cookie"))
			if name := got.header.Get("X-AUSERNAME"); tt.user != "" && (cookies != 2 || name != tt.user) {
				t.Errorf("%d Set-Cookie, X-AUSERNAME %q; want 2 and %q", cookies, name, tt.user)
			}
			if tt.user == "" && cookies != 0 {
				t.Errorf("%d Set-Cookie for an anonymous client, want none", cookies)
			}
		})
	}
}

// A session from before the login becomes authenticated.
func TestSessionFixation(t *testing.T) {
	_, url := start(t, nil)
	cookie := "Cookie: JSESSIONID=" + do(t, "GET", url+"/secure/Dashboard.jspa", "").session()
	if got := do(t, "GET", url+myself, "", cookie); got.status != 401 {
		t.Fatalf("anonymous session: status %d, want 401", got.status)
	}
	do(t, "GET", url+myself, "", cookie, "X-Forwarded-User: fred")
	if got := do(t, "GET", url+myself, "", cookie); got.status != 200 {
		t.Errorf("session that saw fred: status %d, want 200", got.status)
	}
}

func TestNativeTokenLeavesNoSession(t *testing.T) {
	_, url := start(t, nil)
	session := do(t, "GET", url+myself, "", "Authorization: Bearer native").session()
	if got := do(t, "GET", url+myself, "", "Cookie: JSESSIONID="+session); session == "" || got.status != 401 {
		t.Errorf("session %q of a native token: status %d, want 401", session, got.status)
	}
}

func TestCaptcha(t *testing.T) {
	jira, url := start(t, nil)
	attempt := func(password string) answer { return do(t, "GET", url+myself, "", basic("fred", password)) }
	attempt("x")
	attempt("p:w")
	if n := jira.Failures("fred"); n != 0 {
		t.Errorf("%d failures after the right password, want 0", n)
	}
	for range 3 {
		got := attempt("x")
		if got.status != 401 || got.header.Get("X-Authentication-Denied-Reason") != "" ||
			!strings.Contains(got.body, "Reason : AUTHENTICATED_FAILED") {
			t.Errorf("wrong password: %d %v %s", got.status, got.header, got.body)
		}
	}
	got := attempt("p:w")
	if got.status != 403 || !strings.HasPrefix(got.header.Get("X-Authentication-Denied-Reason"), "CAPTCHA_CHALLENGE") {
		t.Errorf("right password after three wrong ones: %d %v", got.status, got.header)
	}
	if n := jira.Failures("FRED"); n != 3 {
		t.Errorf("%d failures, want 3", n)
	}
	if got := do(t, "GET", url+myself, "", "X-Forwarded-User: fred"); got.status != 200 {
		t.Errorf("header of a locked user: status %d, want 200", got.status)
	}
	jira.Reset()
	if got := attempt("p:w"); got.status != 403 || jira.Failures("fred") != 3 {
		t.Errorf("right password after Reset: status %d, %d failures; want 403 and 3", got.status, jira.Failures("fred"))
	}
}

func TestLogins(t *testing.T) {
	jira, url := start(t, func(o *jiratest.Options) { o.ContextPath = "/jira" })
	form := "Content-Type: application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name, path, body string
		header           []string
		status           int
		in               bool
	}{
		{"JSON", "/rest/auth/1/session", `{"username":"fred","password":"p:w"}`, nil, 200, true},
		{"JSON by alias", "/rest/auth/latest/session.json", `{"username":"fred","password":"p:w"}`, nil, 200, true},
		{"JSON, wrong", "/rest/auth/1/session", `{"username":"fred","password":"x"}`, nil, 401, false},
		{"no JSON", "/rest/auth/1/session", `fred`, nil, 400, false},
		{"form", "/login.jsp", "os_username=fred&os_password=p%3Aw", []string{form}, 302, true},
		{"form, wrong", "/login.jsp", "os_username=fred&os_password=x", []string{form}, 200, false},
		{"no form", "/login.jsp", "os_username=fred&os_password=p%3Aw", nil, 200, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := do(t, "POST", url+"/jira"+tt.path, tt.body, tt.header...)
			if got.status != tt.status {
				t.Errorf("status %d, want %d", got.status, tt.status)
			}
			seen, _ := jira.Last()
			if in := seen.User == "Fred" && seen.How == jiratest.ByLogin; in != tt.in {
				t.Errorf("user %q by %s, want login %v", seen.User, seen.How, tt.in)
			}
			if !tt.in {
				return
			}
			cookie := "Cookie: JSESSIONID=" + got.session()
			if got := do(t, "GET", url+"/jira"+myself, "", cookie); got.status != 200 {
				t.Errorf("with the session: status %d, want 200", got.status)
			}
			do(t, "DELETE", url+"/jira/rest/auth/1/session", "", cookie)
			if got := do(t, "GET", url+"/jira"+myself, "", cookie); got.status != 401 {
				t.Errorf("after logging out: status %d, want 401", got.status)
			}
		})
	}
	for path, want := range map[string]int{"/jira": 302, "/jira/": 302, "/jirax/": 404, myself: 404} {
		if got := do(t, "GET", url+path, "", "X-Forwarded-User: fred"); got.status != want {
			t.Errorf("%s: status %d, want %d", path, got.status, want)
		}
	}
}

func TestMyself(t *testing.T) {
	_, url := start(t, nil)
	type groups struct {
		Size  int
		Items []struct{ Name string }
	}
	var got struct {
		Key, Name, DisplayName string
		Active                 bool
		Groups                 groups
	}
	for path, want := range map[string][]string{
		myself: nil,
		myself + "?expand=applicationRoles,groups": {"jira-users", "a&b"},
	} {
		got.Groups = groups{}
		if err := json.Unmarshal([]byte(do(t, "GET", url+path, "", "X-Forwarded-User: fred").body), &got); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, g := range got.Groups.Items {
			names = append(names, g.Name)
		}
		if diff := cmp.Diff(want, names); diff != "" || got.Groups.Size != 2 {
			t.Errorf("%s: size %d, groups (-want +got):\n%s", path, got.Groups.Size, diff)
		}
	}
	if got.Key != "JIRAUSER10100" || got.Name != "Fred" || got.DisplayName != "Fred F." || !got.Active {
		t.Errorf("got %+v", got)
	}
}

func TestIssues(t *testing.T) {
	_, url := start(t, nil)
	fred := "X-Forwarded-User: fred"
	issue := url + "/rest/api/2/issue"
	for _, tt := range []struct {
		method, url, body string
		status            int
		contains          string
	}{
		{"GET", issue + "/DEMO-1", "", 200, `"key":"DEMO-1"`},
		{"POST", issue, `{"fields":{"summary":"new"}}`, 201, `"key":"DEMO-2"`},
		{"POST", issue, `{"fields":{}}`, 400, `"errors":{"summary":`},
		{"PUT", issue + "/DEMO-2", `{"fields":{"summary":"newer"}}`, 204, ""},
		{"GET", issue + "/demo-2", "", 200, `"summary":"newer"`},
		{"POST", url + "/rest/api/2/search", `{"jql":""}`, 200, `"total":2`},
		{"DELETE", issue + "/DEMO-2", "", 204, ""},
		{"GET", issue + "/DEMO-2", "", 404, `"errorMessages":["Issue Does Not Exist"]`},
		{"PATCH", issue + "/DEMO-1", "", 404, `"status-code":404`},
	} {
		if got := do(t, tt.method, tt.url, tt.body, fred); got.status != tt.status || !strings.Contains(got.body, tt.contains) {
			t.Errorf("%s %s: %d %s; want %d and %s", tt.method, tt.url, got.status, got.body, tt.status, tt.contains)
		}
		if got := do(t, tt.method, tt.url, tt.body); got.status != 401 && got.status != 404 {
			t.Errorf("%s %s, anonymous: status %d", tt.method, tt.url, got.status)
		}
	}
}

func TestUpload(t *testing.T) {
	_, url := start(t, nil)
	body := strings.Repeat("0123456789abcdef", 1<<16)
	sum := sha256.Sum256([]byte(body))
	got := do(t, "POST", url+"/rest/api/2/issue/DEMO-1/attachments", body, "X-Forwarded-User: fred")
	var attached []struct {
		Size   int
		SHA256 string
	}
	if err := json.Unmarshal([]byte(got.body), &attached); err != nil || len(attached) != 1 {
		t.Fatalf("%v in %s", err, got.body)
	}
	if attached[0].Size != len(body) || attached[0].SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("got %+v", attached[0])
	}
}

func TestRecord(t *testing.T) {
	jira, url := start(t, func(o *jiratest.Options) { o.Keep = 2 })
	if _, ok := jira.Last(); ok {
		t.Error("a request before the first one")
	}
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			req, err := http.NewRequest("GET", url+"/rest/api/2/serverInfo?a=%41;b", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header["X-A"] = []string{"1", "2"}
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			res.Body.Close()
			jira.Requests()
		})
	}
	senders.Wait()
	do(t, "GET", url+"/secure/Dashboard.jspa", "", "X-Forwarded-User: fred")

	kept := jira.Requests()
	if len(kept) != 2 || jira.Total() != 5 {
		t.Fatalf("%d kept of %d, want 2 of 5", len(kept), jira.Total())
	}
	if kept[0].RequestURI != "/rest/api/2/serverInfo?a=%41;b" || !slices.Equal(kept[0].Header["X-A"], []string{"1", "2"}) {
		t.Errorf("kept %+v", kept[0])
	}
	if kept[1].User != "Fred" {
		t.Errorf("newest is for %q, want Fred", kept[1].User)
	}
	jira.Reset()
	if n := jira.Total(); n != 0 || len(jira.Requests()) != 0 {
		t.Errorf("%d requests after Reset, want none", n)
	}
}
