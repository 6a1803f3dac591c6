package jiratest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

const (
	pats     = "/rest/pat/latest/tokens"
	noCheck  = "X-Atlassian-Token: no-check"
	jsonType = "Content-Type: application/json"
)

// clock is a settable clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// startPATs is startDirectory with a clock at a fixed time. fred has a session.
func startPATs(t *testing.T, change func(*jiratest.Options)) (jira *jiratest.Server, url string, now *clock, session string) {
	t.Helper()
	now = &clock{now: time.Date(2026, 11, 28, 10, 11, 12, 345_678_000, time.UTC)}
	jira, url = startDirectory(t, func(o *jiratest.Options) {
		o.Now = now.Now
		if change != nil {
			change(o)
		}
	})
	return jira, url, now, "Cookie: JSESSIONID=" + do(t, "GET", url+myself, "", "X-Forwarded-User: fred").session()
}

// mintPAT creates a PAT with the session of startPATs.
func mintPAT(t *testing.T, url, session, body string) (id int64, bearer string) {
	t.Helper()
	got := do(t, "POST", url+pats, body, session, noCheck, jsonType)
	var made struct {
		ID       int64
		RawToken string
	}
	if err := json.Unmarshal([]byte(got.body), &made); err != nil || got.status != 201 || made.ID == 0 {
		t.Fatalf("creating a PAT: %v, status %d", err, got.status)
	}
	return made.ID, "Authorization: Bearer " + made.RawToken
}

// The answers' JSON, and a PAT that is created, used and deleted.
func TestPATs(t *testing.T) {
	_, url, now, session := startPATs(t, nil)
	var made map[string]any
	got := do(t, "POST", url+pats, `{"name":"tokengate","expirationDuration":90}`, session, noCheck, jsonType)
	if err := json.Unmarshal([]byte(got.body), &made); err != nil || got.status != 201 || got.header.Get("Content-Type") != "application/json;charset=UTF-8" {
		t.Fatalf("%v: %d %v", err, got.status, got.header)
	}
	raw, _ := made["rawToken"].(string)
	delete(made, "rawToken")
	want := map[string]any{"id": 4.0, "name": "tokengate", "createdAt": "2026-11-28T10:11:12.345+00:00", "expiringAt": "2027-02-26T10:11:12.345+00:00"}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	text, err := base64.StdEncoding.DecodeString(raw)
	if err != nil || len(raw) != 44 || text[12] != ':' || strings.Trim(string(text[:12]), "0123456789") != "" {
		t.Errorf("%v: the value has not Jira's form", err)
	}

	bearer := "Authorization: Bearer " + raw
	now.add(time.Hour)
	used := do(t, "GET", url+myself, "", bearer)
	if used.status != 200 || used.header.Get("X-AUSERNAME") != "Fred" || used.header.Get("X-Seraph-LoginReason") != "OK" || len(used.header.Values("Set-Cookie")) != 2 {
		t.Errorf("used: %d %v", used.status, used.header)
	}
	want["lastAccessedAt"] = "2026-11-28T11:11:12.345+00:00"
	for _, version := range []string{"latest", "1.0"} {
		path := url + "/rest/pat/" + version + "/tokens"
		list := get[[]map[string]any](t, path, session)
		if len(list) != 2 {
			t.Fatalf("%d PATs, want 2", len(list))
		}
		for _, got := range []map[string]any{get[map[string]any](t, path+"/4", session), list[1]} {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", version, diff)
			}
		}
	}
	for range 2 {
		if got := do(t, "DELETE", url+pats+"/4", "", session); got.status != 204 || got.body != "" {
			t.Errorf("deleted: %d %s", got.status, got.body)
		}
	}
	if got := do(t, "GET", url+pats+"/4", "", session); got.status != 404 {
		t.Errorf("after it was deleted: %d", got.status)
	}
}

func TestPATRefusals(t *testing.T) {
	long := strings.Repeat("x", 41)
	anonymous, illegal := "Cookie: a=b", "java.lang.IllegalArgumentException"
	for name, tt := range map[string]struct {
		settings  jiratest.PATSettings
		body      string
		header    string // default the session
		status    int
		exception string // its end; "" means no refusal
	}{
		"good":                {jiratest.PATSettings{}, `{"name":"a","expirationDuration":365}`, "", 201, ""},
		"eternal":             {jiratest.PATSettings{}, `{"name":"a"}`, "", 201, ""},
		"40 characters":       {jiratest.PATSettings{}, `{"name":"` + long[1:] + `","expirationDuration":null}`, "", 201, ""},
		"no name":             {jiratest.PATSettings{}, `{"expirationDuration":90}`, "", 400, illegal},
		"blank name":          {jiratest.PATSettings{}, `{"name":" ","expirationDuration":90}`, "", 400, illegal},
		"41 characters":       {jiratest.PATSettings{}, `{"name":"` + long + `","expirationDuration":90}`, "", 400, illegal},
		"21 of two units":     {jiratest.PATSettings{}, `{"name":"` + strings.Repeat("😀", 21) + `"}`, "", 400, illegal},
		"0 days":              {jiratest.PATSettings{}, `{"name":"a","expirationDuration":0}`, "", 400, illegal},
		"-1 days":             {jiratest.PATSettings{}, `{"name":"a","expirationDuration":-1}`, "", 400, illegal},
		"366 days":            {jiratest.PATSettings{}, `{"name":"a","expirationDuration":366}`, "", 400, illegal},
		"31 days":             {jiratest.PATSettings{MaxDays: 30}, `{"name":"a","expirationDuration":31}`, "", 400, illegal},
		"eternal ones off":    {jiratest.PATSettings{NoEternal: true}, `{"name":"a"}`, "", 400, illegal},
		"off":                 {jiratest.PATSettings{Off: true}, `{"name":"a","expirationDuration":90}`, "", 400, illegal},
		"shorter names":       {jiratest.PATSettings{MaxName: 3}, `{"name":"abcd"}`, "", 400, illegal},
		"no JSON":             {jiratest.PATSettings{}, `{"name":`, "", 400, "JsonParseException"},
		"the limit":           {jiratest.PATSettings{MaxPerUser: 1}, `{"name":"a","expirationDuration":90}`, "", 403, "UserTokenLimitExceededException"},
		"limit before ending": {jiratest.PATSettings{MaxPerUser: 1, NoEternal: true}, `{"name":"a"}`, "", 403, "UserTokenLimitExceededException"},
		"license":             {jiratest.PATSettings{NoLicense: true}, `{"name":"a","expirationDuration":90}`, "", 403, "InvalidLicenseException"},
		"anonymous":           {jiratest.PATSettings{}, `{"name":"a","expirationDuration":90}`, anonymous, 401, "NotAuthenticatedException"},
		"a password":          {jiratest.PATSettings{}, `{"name":"a","expirationDuration":90}`, basic("fred", "p:w"), 201, ""},
		"a PAT":               {jiratest.PATSettings{}, `{"name":"a","expirationDuration":90}`, "Authorization: Bearer native", 201, ""},
		"a PAT that may not":  {jiratest.PATSettings{NoRenewal: true}, `{"name":"a","expirationDuration":90}`, "Authorization: Bearer native", 401, "AuthorisationException"},
	} {
		t.Run(name, func(t *testing.T) {
			jira, url, _, session := startPATs(t, nil)
			jira.SetPATs(tt.settings)
			if tt.header == "" {
				tt.header = session
			}
			got := do(t, "POST", url+pats, tt.body, tt.header, noCheck, jsonType)
			var refusal struct{ Exception, Error string }
			_ = json.Unmarshal([]byte(got.body), &refusal)
			if got.status != tt.status || !strings.HasSuffix(refusal.Exception, tt.exception) || (refusal.Error != "") != (tt.exception != "") {
				t.Errorf("status %d, %+v; want %d and %s", got.status, refusal, tt.status, tt.exception)
			}
			if want := map[bool]int{true: 2, false: 1}[got.status == 201]; len(jira.PATs("JIRAUSER10100")) != want {
				t.Errorf("%d PATs, want %d", len(jira.PATs("JIRAUSER10100")), want)
			}
		})
	}
}

// A POST with a session needs X-Atlassian-Token, and a browser's also an Origin.
func TestPATNeedsXSRFHeader(t *testing.T) {
	jira, url, _, session := startPATs(t, nil)
	host := strings.TrimPrefix(url, "http://")
	for name, tt := range map[string]struct {
		header []string
		status int
	}{
		"without":                {[]string{session}, 403},
		"another value":          {[]string{session, "X-Atlassian-Token: check"}, 403},
		"with it":                {[]string{session, noCheck}, 201},
		"a browser":              {[]string{session, noCheck, "User-Agent: Mozilla/5.0", "Origin: http://" + host}, 201},
		"a browser elsewhere":    {[]string{session, noCheck, "User-Agent: Mozilla/5.0", "Origin: http://evil.example.com"}, 403},
		"a browser from nowhere": {[]string{session, noCheck, "User-Agent: Mozilla/5.0"}, 403},
		"a PAT":                  {[]string{"Authorization: Bearer native"}, 201},
		"a password":             {[]string{basic("fred", "p:w")}, 201},
	} {
		got := do(t, "POST", url+pats, `{"name":"a","expirationDuration":1}`, append(tt.header, jsonType)...)
		if refused := got.body == "XSRF check failed"; got.status != tt.status || refused != (tt.status == 403) {
			t.Errorf("%s: %d, want %d", name, got.status, tt.status)
		}
	}
	if got := do(t, "POST", url+pats, `{"name":"a"}`, session, noCheck, formType); got.status != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d", got.status)
	}
	if n := len(jira.PATs("JIRAUSER10100")); n != 5 {
		t.Errorf("%d PATs, want 5", n)
	}
}

// Only its user and administrators may see or delete a PAT; a missing one is anyone's.
func TestPATAccess(t *testing.T) {
	jira, url, _, session := startPATs(t, nil)
	fred := jira.PATs("JIRAUSER10100")[0].ID
	wilma := "X-Forwarded-User: wilma"
	for _, tt := range []struct {
		method string
		id     any
		header string
		status int
	}{
		{"GET", fred, session, 200},
		{"GET", fred, "Cookie: a=b", 401},
		{"GET", fred, wilma, 401},
		{"GET", fred, admin, 200},
		{"GET", 999, wilma, 404},
		{"GET", "x", wilma, 404},
		{"DELETE", fred, "Cookie: a=b", 401},
		{"DELETE", fred, wilma, 401},
		{"DELETE", 999, wilma, 204},
		{"DELETE", 999, "Cookie: a=b", 401},
		{"DELETE", fred, admin, 204},
	} {
		if got := do(t, tt.method, fmt.Sprint(url, pats, "/", tt.id), "", tt.header); got.status != tt.status {
			t.Errorf("%s %v with %s: %d, want %d", tt.method, tt.id, tt.header[:8], got.status, tt.status)
		}
	}
	if len(jira.PATs("JIRAUSER10100")) != 0 {
		t.Error("the administrator deleted nothing")
	}
	if got := do(t, "GET", url+pats, "", session); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("an empty list is %s", got.body)
	}
}

// For the race detector; and the limit holds.
func TestPATsRace(t *testing.T) {
	jira, url, _, session := startPATs(t, nil)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			do(t, "POST", url+pats, `{"name":"a","expirationDuration":1}`, session, noCheck, jsonType)
			do(t, "GET", url+pats, "", "Authorization: Bearer native")
			for _, p := range jira.PATs("JIRAUSER10100") {
				if p.Name == "given" {
					continue
				}
				jira.SetPATs(jiratest.PATSettings{})
				do(t, "DELETE", fmt.Sprint(url, pats, "/", p.ID+1000), "", session)
			}
		})
	}
	all.Wait()
	if n := len(jira.PATs("JIRAUSER10100")); n != 10 {
		t.Errorf("%d PATs, want 10", n)
	}
}

// Jira has done what was asked, but its answer is lost.
func TestLoseAnswer(t *testing.T) {
	jira, url, _, session := startPATs(t, nil)
	fault := jira.Fail("/rest/pat/", jiratest.LoseAnswer())
	req, err := http.NewRequest("POST", url+pats, strings.NewReader(`{"name":"lost","expirationDuration":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{session, noCheck, jsonType} {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body struct{ RawToken string }
	if err := json.NewDecoder(res.Body).Decode(&body); err == nil || body.RawToken != "" {
		t.Errorf("the answer came: %v", err)
	}
	fault.Stop()
	if made := jira.PATs("JIRAUSER10100"); len(made) != 2 || made[1].Name != "lost" {
		t.Errorf("%+v", made)
	}
}
