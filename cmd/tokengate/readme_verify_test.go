package main

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

const upstreamDocument = "../../authz/upstream/README.md"

// The commands in authz/upstream/README.md with which an administrator verifies a Jira get
// the answers that it says, from the Jira with which everything else is tested.
func TestReadmeVerify(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	server, env := startVerified(t)
	dir := t.TempDir()
	for _, c := range verifications(t) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", c.command)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", c.number, err)
			continue
		}
		head, _, _ := strings.Cut(string(out), "\r\n\r\n")
		if c.number == "9" { // jiratest has no such page
			c.status = "404"
		}
		if !strings.HasPrefix(head, "HTTP/1.1 "+c.status+" ") || !strings.Contains(strings.ToLower(head), strings.ToLower(c.header)) {
			t.Errorf("%s: the README says %s and %s; the answer is\n%s", c.number, c.status, c.header, strings.SplitN(head, "\r\nSet-Cookie", 2)[0])
		}
	}
	if n := len(server.PATs("fred")); n != 2 {
		t.Errorf("fred has %d personal access tokens, not those of 6 and 7", n)
	}
}

// verification is a numbered command and the answer that it should get.
type verification struct{ number, status, header, command string }

func verifications(t *testing.T) (all []verification) {
	t.Helper()
	blocks := fences(read(t, upstreamDocument), "sh verify")
	if len(blocks) != 1 {
		t.Fatalf("%d blocks of commands", len(blocks))
	}
	for _, m := range regexp.MustCompile(`(?m)^# (\d+): (\d+)(?: and (.+))?\n(.+)$`).FindAllStringSubmatch(blocks[0], -1) {
		all = append(all, verification{m[1], m[2], m[3], m[4]})
	}
	if lines := strings.Count(blocks[0], "\n"); len(all) == 0 || lines != 2*len(all) {
		t.Fatalf("%d lines with %d commands", lines, len(all))
	}
	return all
}

// startVerified starts a Jira that trusts no header, and returns the environment of the commands.
func startVerified(t *testing.T) (server *jiratest.Server, env []string) {
	t.Helper()
	server = jiratest.New(jiratest.Options{Users: []jiratest.User{
		{Name: "fred", Key: "fred", Password: "yabba", Active: true},
		{Name: "admin", Active: true, Groups: []string{jiratest.Administrators}, PATs: []string{"YWRtaW4ncyBQQVQ="}},
	}})
	server.IgnoreHeader(true)
	site := httptest.NewServer(server)
	t.Cleanup(site.Close)
	client, err := jira.Product.Connect(site.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	login := http.Header{"Authorization": {basic("fred", "yabba")}}
	made, err := jira.Product.Credentials(client).Mint(t.Context(), login, "verify", 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	file, err := w.CreateFormFile("file", "a.txt")
	if err == nil {
		_, err = file.Write([]byte("hello"))
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	upload, err := http.NewRequestWithContext(t.Context(), "POST", site.URL+"/rest/api/2/issue/DEMO-1/attachments", &form)
	if err != nil {
		t.Fatal(err)
	}
	upload.Header = http.Header{"Authorization": login["Authorization"], "Content-Type": {w.FormDataContentType()}, "X-Atlassian-Token": {"no-check"}}
	response, err := http.DefaultClient.Do(upload)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	_, _ = body.ReadFrom(response.Body)
	attachment := regexp.MustCompile(`/secure/attachment/[^"]+`).FindString(body.String())
	session := response.Cookies()
	i := slices.IndexFunc(session, func(c *http.Cookie) bool { return c.Name == "JSESSIONID" })
	if response.StatusCode != 200 || attachment == "" || i < 0 {
		t.Fatalf("the attachment: %d %s", response.StatusCode, &body)
	}
	return server, []string{"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1", "JIRA=" + site.URL, "PAT=" + made.Value.Reveal(), "ID=" + made.ID,
		"SESSION=" + session[i].Value, "ATTACHMENT=" + attachment, "ADMIN_PAT=YWRtaW4ncyBQQVQ="}
}

// Each command has a row, whose place in the code exists.
func TestReadmeVerifyPlaces(t *testing.T) {
	var commands, rows []string
	for _, c := range verifications(t) {
		commands = append(commands, c.number)
	}
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\|.*\\| `(\\w+)` in \\[[\\w.]+\\]\\(([^)]+)\\) \\|$")
	for _, m := range row.FindAllStringSubmatch(read(t, upstreamDocument), -1) {
		rows = append(rows, m[1])
		if !strings.Contains(read(t, "../../authz/upstream/"+m[3]), m[2]) {
			t.Errorf("%s: %s has no %s", m[1], m[3], m[2])
		}
	}
	if diff := cmp.Diff(commands, rows); diff != "" {
		t.Errorf("numbers (-commands +rows):\n%s", diff)
	}
}
