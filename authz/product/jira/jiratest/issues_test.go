package jiratest_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

const form = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--\r\n"

// An attachment can be read back and is listed in the issue.
func TestAttachments(t *testing.T) {
	_, base := start(t, nil)
	const fred, kind = "X-Forwarded-User: fred", "Content-Type: multipart/form-data; boundary=x"
	const path = "/rest/api/2/issue/DEMO-1/attachments"
	if got := do(t, "POST", base+path, form, fred, kind); got.status != 403 {
		t.Errorf("without the header against forms of other sites: %d", got.status)
	}
	if got := do(t, "POST", base+path, "--x--", fred, kind, "X-Atlassian-Token: no-check"); got.status != 400 {
		t.Errorf("a form without a file: %d", got.status)
	}
	got := do(t, "POST", base+path, form, fred, kind, "X-Atlassian-Token: no-check")
	var attached []struct{ ID, Filename, Content, Self string }
	if err := json.Unmarshal([]byte(got.body), &attached); err != nil || len(attached) != 1 || attached[0].Filename != "a b.txt" {
		t.Fatalf("%d %v: %s", got.status, err, got.body)
	}
	content, err := url.Parse(attached[0].Content)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		content.EscapedPath():                        "hello",
		"/rest/api/2/attachment/" + attached[0].ID:   `"a b.txt"`,
		"/rest/api/2/issue/DEMO-1?fields=attachment": attached[0].Content,
	} {
		if got := do(t, "GET", base+path, "", fred); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for path, want := range map[string]int{content.EscapedPath(): 302, "/rest/api/2/attachment/" + attached[0].ID: 401} {
		if got := do(t, "GET", base+path, ""); got.status != want {
			t.Errorf("%s as anonymous: %d, want %d", path, got.status, want)
		}
	}
	for path, want := range map[string]int{"/secure/attachment/1/x": 404, "/rest/api/2/attachment/1": 404} {
		if got := do(t, "GET", base+path, "", fred); got.status != want {
			t.Errorf("%s: %d, want %d", path, got.status, want)
		}
	}
}

// os_authType=basic makes Jira challenge anonymous clients only.
func TestChallengeOnDemand(t *testing.T) {
	_, base := start(t, nil)
	const path = "/rest/api/2/serverInfo?os_authType=basic"
	if got := do(t, "GET", base+path, ""); got.status != 401 || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("anonymous: %d %v", got.status, got.header)
	}
	if got := do(t, "GET", base+path, "", "X-Forwarded-User: fred"); got.status != 200 {
		t.Errorf("by fred: %d", got.status)
	}
}
