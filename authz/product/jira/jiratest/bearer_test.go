package jiratest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// Jira reads a Bearer credential only in one spelling, and ignores all others.
func TestBearerSpelling(t *testing.T) {
	_, url := start(t, nil)
	for header, live := range map[string]bool{
		"Bearer native":     true,
		"Bearer  native":    true, // Jira splits at any number of blanks
		"Bearer native ":    true,
		"bearer native":     false,
		"BEARER native":     false,
		"Bearer\tnative":    false,
		"Bearer native x":   false,
		"Bearer":            false,
		"native":            false,
		"Bearer Native":     false,
		"Bearer native,":    false,
		"Bearer \"native\"": false,
	} {
		if got := do(t, "GET", url+myself, "", "Authorization: "+header); (got.status == 200) != live {
			t.Errorf("%q: status %d, want live: %v", header, got.status, live)
		}
	}
}

// With a dead PAT, a request goes on as anonymous, and only X-AUSERNAME tells.
func TestDeadPAT(t *testing.T) {
	const key = "JIRAUSER10100"
	for name, kill := range map[string]func(jira *jiratest.Server, url string, id int64, now *clock) error{
		"deleted by its user": func(jira *jiratest.Server, url string, id int64, _ *clock) error {
			do(t, "DELETE", fmt.Sprint(url, pats, "/", id), "", "X-Forwarded-User: fred")
			return nil
		},
		"deleted by an administrator": func(jira *jiratest.Server, url string, id int64, _ *clock) error {
			do(t, "DELETE", fmt.Sprint(url, pats, "/", id), "", admin)
			return nil
		},
		"revoked": func(jira *jiratest.Server, _ string, id int64, _ *clock) error { jira.RevokePAT(id); return nil },
		"expired": func(_ *jiratest.Server, _ string, _ int64, now *clock) error { now.add(48 * time.Hour); return nil },
		"off": func(jira *jiratest.Server, _ string, _ int64, _ *clock) error {
			jira.SetPATs(jiratest.PATSettings{Off: true})
			return nil
		},
		"deactivated": func(jira *jiratest.Server, _ string, _ int64, _ *clock) error { return jira.Deactivate("fred") },
		"deleted user": func(jira *jiratest.Server, _ string, _ int64, _ *clock) error {
			err := jira.Delete("fred")
			jira.Put(jiratest.User{Name: "fred", Key: key, Active: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			jira, url, now, session := startPATs(t, func(o *jiratest.Options) { o.Public = true })
			id, bearer := mintPAT(t, url, session, `{"name":"a","expirationDuration":1}`)
			now.add(24*time.Hour - time.Millisecond)
			if err := jira.Rename(key, "frederick"); err != nil {
				t.Fatal(err)
			}
			if got := do(t, "GET", url+myself, "", bearer); got.status != 200 || got.header.Get("X-AUSERNAME") != "frederick" {
				t.Fatalf("after a rename: %d, %s", got.status, got.header.Get("X-AUSERNAME"))
			}
			if err := jira.Rename(key, "fred"); err != nil {
				t.Fatal(err)
			}
			if err := kill(jira, url, id, now); err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]int{"/rest/api/2/serverInfo": 200, "/rest/api/2/issue/DEMO-1": 200, myself: 401, pats: 401} {
				got := do(t, "GET", url+path, "", bearer)
				if got.status != want || got.header.Get("X-AUSERNAME") != "anonymous" || got.session() != "" {
					t.Errorf("%s: %d %v, want %d", path, got.status, got.header, want)
				}
			}
			if got := do(t, "POST", url+"/rest/api/2/issue", `{"fields":{"summary":"x"}}`, bearer); got.status != 201 {
				t.Errorf("an anonymous write: %d", got.status)
			}
		})
	}
}

// A deactivated user's PAT lives again with its user; an expired one stays in the list
// and counts.
func TestPATsStay(t *testing.T) {
	jira, url, now, session := startPATs(t, nil)
	_, bearer := mintPAT(t, url, session, `{"name":"a","expirationDuration":1}`)
	status := func() int { return do(t, "GET", url+myself, "", bearer).status }
	if err := jira.Deactivate("fred"); err != nil {
		t.Fatal(err)
	}
	inactive := status()
	if err := jira.Activate("fred"); err != nil {
		t.Fatal(err)
	}
	if active := status(); inactive != 401 || active != 200 {
		t.Errorf("inactive %d, active again %d", inactive, active)
	}
	jira.Put(jiratest.User{Name: "fred", Key: "JIRAUSER10100", Active: true, Groups: []string{"x"}})
	if got := status(); got != 200 {
		t.Errorf("after the user was put again: %d", got)
	}
	now.add(24 * time.Hour)
	jira.SetPATs(jiratest.PATSettings{MaxPerUser: 2})
	got := do(t, "POST", url+pats, `{"name":"a","expirationDuration":1}`, session, noCheck, jsonType)
	if n := len(jira.PATs("JIRAUSER10100")); status() != 401 || n != 2 || got.status != 403 {
		t.Errorf("%d PATs, and one more: %d", n, got.status)
	}
}

// A PAT takes precedence over a session, and ends it unless a setting forbids.
func TestPATEndsTheSession(t *testing.T) {
	for _, keep := range []bool{false, true} {
		jira, url, _, _ := startPATs(t, nil)
		jira.SetPATs(jiratest.PATSettings{KeepSession: keep})
		wilma := "Cookie: JSESSIONID=" + do(t, "GET", url+myself, "", "X-Forwarded-User: wilma").session()
		got := do(t, "GET", url+myself, "", wilma, "Authorization: Bearer native")
		if seen, _ := jira.Last(); seen.User != "Fred" || seen.How != jiratest.ByBearer || "Cookie: JSESSIONID="+got.session() != wilma {
			t.Errorf("%s by %s", seen.User, seen.How)
		}
		do(t, "GET", url+myself, "", wilma)
		seen, _ := jira.Last()
		if want := map[bool]string{true: "Fred", false: ""}[keep]; seen.User != want {
			t.Errorf("keep %v: the session is %q's, want %q", keep, seen.User, want)
		}
	}
}

func TestVersions(t *testing.T) {
	file := "/secure/attachment/10001/a.txt"
	bearer := "Authorization: Bearer native"
	for version, want := range map[string]struct{ list, myself, file, basic int }{
		"8.13.0":  {404, 401, 302, 200},
		"8.14.1":  {200, 200, 302, 200},
		"8.15":    {200, 200, 404, 200},
		"":        {200, 200, 404, 200},
		"11.3.12": {200, 200, 404, 403},
	} {
		_, url := start(t, func(o *jiratest.Options) { o.Version = version })
		for path, status := range map[string]int{pats: want.list, myself: want.myself, file: want.file} {
			if got := do(t, "GET", url+path, "", bearer); got.status != status {
				t.Errorf("%s, %s: %d, want %d", version, path, got.status, status)
			}
		}
		if got := do(t, "GET", url+myself, "", basic("fred", "p:w")); got.status != want.basic {
			t.Errorf("%s, Basic: %d, want %d", version, got.status, want.basic)
		}
		info := get[struct{ Version string }](t, url+"/rest/api/2/serverInfo")
		if version == "" {
			version = "10.3.24"
		}
		if !strings.HasPrefix(info.Version, version) {
			t.Errorf("serverInfo names %s, want %s", info.Version, version)
		}
	}
}
