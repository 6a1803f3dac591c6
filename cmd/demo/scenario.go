package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// step is a request with the token and its expected result.
type step struct {
	title  string
	method string // "" is GET
	path   string
	header map[string]string // besides the credential
	body   string
	from   string // the loopback address to send from; "" is 127.0.0.1
	bearer bool   // send the token as Bearer instead of Basic

	status int
	logged string // the expected log message; "" if not checked
	seen   string // the user that Jira must see, or "anonymous"; "" if Jira must not receive the request
}

// runScenario runs all steps and returns an error with the number of failures.
func runScenario(ctx context.Context, e *environment) error {
	e.printf("\nA simulated Jira, tokengate and a real Envoy are running. Jira is reached at %s,\nthrough Envoy. Nothing is installed in Jira, and it trusts no header. tokengate sends it requests with\npersonal access tokens that Jira made, which are sealed on disk with a key:\n\n    $ (umask 0377; set -C; head -c 32 /dev/urandom > %s)\n\nJira has a user fred, who needs a token for a script.\n", e.url, filepath.Join(e.dir, "seal-key"))
	id, value, err := e.connect(ctx)
	if err != nil {
		return err
	}
	const myself = "/rest/api/2/myself"
	in := fmt.Sprintf("fred authenticated via API Token (%s)", id)
	failures := e.runSteps(ctx, value, []step{
		{title: "The token works, as fred", path: myself, status: 200, logged: in, seen: "fred"},
		{title: "It also works as a Bearer token", path: myself, bearer: true, status: 200, logged: in, seen: "fred"},
		{title: "It is read-only, so writing is denied", method: "POST", path: "/rest/api/2/issue", body: `{"fields":{"summary":"hello"}}`, status: 403, logged: "request denied: read_only"},
		{title: "It is denied in another network (curl sends from another loopback address)", path: myself, from: "127.7.7.7", status: 403, logged: "request denied: network_not_allowed"},
		{title: "It works in its second network", path: myself, from: "127.9.8.7", status: 200, logged: in, seen: "fred"},
		{title: "It cannot create other credentials", path: "/rest/pat/latest/tokens", status: 403, logged: "request denied: endpoint_forbidden"},
	})

	e.printf("\nThe administrator revokes it:\n\n    $ tokengate token revoke %s\n", id)
	if _, err := e.command(ctx, "token", "revoke", id); err != nil {
		return err
	}
	failures += e.runSteps(ctx, value, []step{
		{title: "The next request is denied, and Jira counts no failed login for fred", path: myself, status: 401, logged: "request denied: unknown_token"},
	})

	id, value, err = e.createToken(ctx, "fred", "--name", "short-lived", "--expires", "3s")
	if err != nil {
		return err
	}
	failures += e.runSteps(ctx, value, []step{
		{title: "A token that is valid for three seconds works", path: myself, status: 200, logged: fmt.Sprintf("fred authenticated via API Token (%s)", id), seen: "fred"},
	})
	e.printf("\n… three seconds later …\n")
	if err := e.waitForExpiry(ctx, id); err != nil {
		return err
	}
	failures += e.runSteps(ctx, value, []step{
		{title: "It has expired", path: myself, status: 401, logged: "request denied: expired"},
	})
	for _, part := range []func(context.Context) (int, error){e.runRobot, e.runDeadPAT, e.runOutage, e.runSelfService, e.runHeader} {
		more, err := part(ctx)
		if err != nil {
			return err
		}
		failures += more
	}
	if n := e.jira.Failures("fred"); n != 0 {
		failures++
		e.printf("\nJira counted %d failed logins for fred, not 0\n", n)
	}
	if failures > 0 {
		return fmt.Errorf("%d steps failed", failures)
	}
	e.printf("\nAll steps succeeded.\n")
	return nil
}

// createToken creates a token for a user with the command line, writes its value to
// a file with mode 0600, and returns its id and value.
func (e *environment) createToken(ctx context.Context, user string, args ...string) (id, value string, err error) {
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; strings.Contains(a, " ") {
			quoted[i] = `"` + a + `"`
		}
	}
	file := filepath.Join(e.dir, "token")
	e.printf("\n    $ tokengate token create --user %s %s > %s\n    $ TOKEN=$(cat %[3]s)\n", user, strings.Join(quoted, " "), file)
	out, err := e.command(ctx, append([]string{"token", "create", "--user", user}, args...)...)
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		return "", "", err
	}
	value = strings.TrimSpace(out)
	return value[len("tgate_"):][:12], value, nil
}

// runSteps runs steps with a token and returns how many failed.
func (e *environment) runSteps(ctx context.Context, value string, steps []step) (failures int) {
	for _, c := range steps {
		e.printf("\n── %s\n\n    $ %s\n", c.title, c.curl(e.url))
		if err := e.runStep(ctx, value, c); err != nil {
			failures++
			e.printf("    ✗ %v\n", err)
		}
	}
	return failures
}

func (e *environment) runStep(ctx context.Context, value string, c step) error {
	e.jira.Reset()
	request, err := c.request(ctx, e.url, value)
	if err != nil {
		return err
	}
	client := http.DefaultClient
	if c.from != "" {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DialContext = dialer.DialContext
		defer transport.CloseIdleConnections()
		client = &http.Client{Transport: transport}
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	e.printf("    HTTP %d  %s\n", response.StatusCode, excerpt(body))
	if response.StatusCode != c.status {
		return fmt.Errorf("want status %d", c.status)
	}
	if c.logged != "" {
		line, err := e.log.wait(ctx, func(line string) bool { return message(line) == c.logged })
		if err != nil {
			return err
		}
		e.printf("    log:  %s\n", line)
	}
	return e.checkSeen(c.seen)
}

// checkSeen prints which user Jira saw and how, and compares it with what is expected. At any
// time tokengate may read users and groups, so its own requests are left out.
func (e *environment) checkSeen(want string) error {
	requests := slices.DeleteFunc(e.jira.Requests(), func(r jiratest.Seen) bool { return r.User == serviceUser })
	got, how := "", e.how
	if n := len(requests); n > 0 {
		last := requests[n-1]
		if got = last.User; got == "" {
			got = "anonymous"
			e.printf("    Jira: user anonymous")
		} else {
			how = last.How
			e.printf("    Jira: user %s, by %s", got, map[jiratest.How]string{jiratest.ByBearer: "a personal access token", jiratest.ByHeader: identityHeader}[how])
		}
		for _, name := range []string{"Authorization", "Cookie", identityHeader} {
			if last.Header.Get(name) == "" {
				e.printf(", no %s", name)
			}
		}
		e.printf("\n")
	} else {
		e.printf("    Jira: no request\n")
	}
	if got != want || how != e.how {
		return fmt.Errorf("want Jira to see %q, by %s", want, e.how)
	}
	return nil
}

// waitForExpiry waits until the token has expired.
func (e *environment) waitForExpiry(ctx context.Context, id string) error {
	out, err := e.command(ctx, "token", "show", id, "--output", "json")
	if err != nil {
		return err
	}
	var bean struct {
		ExpiresAt int64 `json:"expiresAt"` // milliseconds
	}
	if err := json.Unmarshal([]byte(out), &bean); err != nil {
		return fmt.Errorf("read token show: %w", err)
	}
	select {
	case <-time.After(time.Until(time.UnixMilli(bean.ExpiresAt))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s step) request(ctx context.Context, url, value string) (*http.Request, error) {
	method := s.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, url+s.path, strings.NewReader(s.body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("fred:"+value)))
	if s.bearer {
		r.Header.Set("Authorization", "Bearer "+value)
	}
	if s.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, v := range s.header {
		if r.Header.Set(name, v); v == "" {
			r.Header.Del(name)
		}
	}
	return r, nil
}

// curl returns the request as a curl command.
func (s step) curl(url string) string {
	words := []string{"curl", "-s"}
	if s.from != "" {
		words = append(words, "--interface "+s.from)
	}
	_, anonymous := s.header["Authorization"]
	switch {
	case anonymous:
	case s.bearer:
		words = append(words, `-H "Authorization: Bearer $TOKEN"`)
	default:
		words = append(words, `-u "fred:$TOKEN"`)
	}
	for name, value := range s.header {
		if value != "" {
			words = append(words, fmt.Sprintf("-H '%s: %s'", name, value))
		}
	}
	if s.body != "" {
		words = append(words, fmt.Sprintf("-H 'Content-Type: application/json' -d '%s'", s.body))
	}
	return strings.Join(append(words, url+s.path), " ")
}

// printHints prints commands to try.
func (e *environment) printHints() {
	e.printf(`
Everything keeps running until Ctrl-C. In another terminal:

    $ export TOKENGATE_ADMIN_SOCKET=%s
    $ TOKEN=$(%s token create --user wilma --name "my own")
    $ curl -s -u "wilma:$TOKEN" %s/rest/api/2/myself
    $ curl -s -u betty:%[4]s %[3]s%[5]s
    $ %[2]s token list
    $ %[2]s upstream list

In a browser, as wilma (password %[6]s) or as the administrator betty (%[4]s):

    %[3]s/plugins/servlet/api-tokens
`, e.socket, program, e.url, betty, api+"tokens", wilma)
}

func (e *environment) printf(format string, args ...any) { fmt.Fprintf(e.out, format, args...) }

// message returns the message of a log line.
func message(line string) string {
	var entry struct {
		Message string `json:"msg"`
	}
	if json.Unmarshal([]byte(line), &entry) != nil {
		return ""
	}
	return entry.Message
}

// excerpt returns a body on one line, shortened.
func excerpt(body []byte) string {
	if _, title, ok := strings.Cut(string(body), "<title>"); ok { // of a page
		title, _, _ = strings.Cut(title, "</title>")
		return "a page: " + title
	}
	text := strings.Join(strings.Fields(string(body)), " ")
	if len(text) > 160 {
		text = text[:160] + "…"
	}
	return text
}
