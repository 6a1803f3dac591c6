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
	"strings"
	"time"
)

// scenario is one step of the story: a request, as curl would send it, and what
// must come of it.
type scenario struct {
	title  string
	method string            // "" is GET
	path   string            //
	header map[string]string // beyond the credential
	body   string
	from   string // a loopback address to send from; "" is 127.0.0.1
	bearer bool   // send the token as Bearer instead of with Fred's name

	status int
	logged string // the message that tokengate must log; "" for none
	seen   string // whom Jira must have seen; "" if it must have heard nothing
}

// tell plays the story and returns an error that counts what went wrong.
func tell(ctx context.Context, s *environment) error {
	s.say("\nA Jira-shaped server, tokengate and a real Envoy are up. Jira is reached at %s,\nthrough Envoy; it knows a user fred, who has a password. Fred wants a token for a script.\n", s.url)

	id, value, err := s.mint(ctx, "--name", "nightly report", "--expires", "90d", "--read-only", "--ip", "127.0.0.1", "--ip", "127.9.0.0/16")
	if err != nil {
		return err
	}
	const myself = "/rest/api/2/myself"
	in := fmt.Sprintf("fred authenticated via API Token (%s)", id)
	failures := s.play(ctx, value, []scenario{
		{title: "The token lets the script in, as fred", path: myself, status: 200, logged: in, seen: "fred"},
		{title: "It works as Bearer, too", path: myself, bearer: true, status: 200, logged: in, seen: "fred"},
		{title: "It is read-only, so it may not write", method: "POST", path: "/rest/api/2/issue", body: `{"fields":{"summary":"hello"}}`, status: 403, logged: "request denied: read_only"},
		{title: "It is not good from another network (curl uses another of this machine's addresses)", path: myself, from: "127.7.7.7", status: 403, logged: "request denied: network_not_allowed"},
		{title: "It is good from its second network", path: myself, from: "127.9.8.7", status: 200, logged: in, seen: "fred"},
		{title: "It cannot make itself another credential", path: "/rest/pat/latest/tokens", status: 403, logged: "request denied: endpoint_forbidden"},
		{title: "A client that names itself in Jira's identity header stays nobody", path: myself, header: map[string]string{"X-Forwarded-User": "admin", "Authorization": ""}, status: 401, seen: "nobody"},
	})

	s.say("\nThe administrator revokes it:\n\n    $ tokengate token revoke %s\n", id)
	if _, err := s.command(ctx, "token", "revoke", id); err != nil {
		return err
	}
	failures += s.play(ctx, value, []scenario{
		{title: "The very next request is refused, and Jira counts no failed login for fred", path: myself, status: 401, logged: "request denied: unknown_token"},
	})

	id, value, err = s.mint(ctx, "--name", "short-lived", "--expires", "3s")
	if err != nil {
		return err
	}
	failures += s.play(ctx, value, []scenario{
		{title: "A token that lives for three seconds works", path: myself, status: 200, logged: fmt.Sprintf("fred authenticated via API Token (%s)", id), seen: "fred"},
	})
	s.say("\n… three seconds later …\n")
	if err := s.untilExpired(ctx, id); err != nil {
		return err
	}
	failures += s.play(ctx, value, []scenario{
		{title: "and then no more", path: myself, status: 401, logged: "request denied: expired"},
	})
	wrong, err := s.tellPeople(ctx)
	if err != nil {
		return err
	}
	failures += wrong
	if n := s.jira.Failures("fred"); n != 0 {
		failures++
		s.say("\nJira counted %d failed logins for fred, not 0\n", n)
	}
	if failures > 0 {
		return fmt.Errorf("%d steps did not answer as they should", failures)
	}
	s.say("\nEvery step answered as it should.\n")
	return nil
}

// mint creates a token for fred by the command line, keeps its value in a file
// that only this user can read, and returns its id and value.
func (s *environment) mint(ctx context.Context, args ...string) (id, value string, err error) {
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; strings.Contains(a, " ") {
			quoted[i] = `"` + a + `"`
		}
	}
	file := filepath.Join(s.dir, "token")
	s.say("\n    $ tokengate token create --user fred %s > %s\n    $ TOKEN=$(cat %[2]s)\n", strings.Join(quoted, " "), file)
	out, err := s.command(ctx, append([]string{"token", "create", "--user", "fred"}, args...)...)
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		return "", "", err
	}
	value = strings.TrimSpace(out)
	return value[len("tgate_"):][:12], value, nil
}

// play sends the requests of some chapters and returns how many failed.
func (s *environment) play(ctx context.Context, value string, chapters []scenario) (failures int) {
	for _, c := range chapters {
		s.say("\n── %s\n\n    $ %s\n", c.title, c.curl(s.url))
		if err := s.playOne(ctx, value, c); err != nil {
			failures++
			s.say("    ✗ %v\n", err)
		}
	}
	return failures
}

func (s *environment) playOne(ctx context.Context, value string, c scenario) error {
	s.jira.Reset()
	request, err := c.request(ctx, s.url, value)
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
	s.say("    HTTP %d  %s\n", response.StatusCode, excerpt(body))
	if response.StatusCode != c.status {
		return fmt.Errorf("the status should be %d", c.status)
	}
	if c.logged != "" {
		line, err := s.log.wait(ctx, func(line string) bool { return message(line) == c.logged })
		if err != nil {
			return err
		}
		s.say("    log:  %s\n", line)
	}
	return s.checkSeen(c.seen)
}

// checkSeen says whom Jira saw, and whether that is right.
func (s *environment) checkSeen(want string) error {
	last, heard := s.jira.Last()
	got := ""
	if heard {
		if got = last.User; got == "" {
			got = "nobody"
		}
		s.say("    Jira: saw %s", got)
		for _, name := range []string{"Authorization", "Cookie"} {
			if last.Header.Get(name) == "" {
				s.say(", no %s", name)
			}
		}
		s.say("\n")
	} else {
		s.say("    Jira: heard nothing\n")
	}
	if got != want {
		return fmt.Errorf("it should have been %q that Jira saw", want)
	}
	return nil
}

// untilExpired waits until the token's end has passed by the clock.
func (s *environment) untilExpired(ctx context.Context, id string) error {
	out, err := s.command(ctx, "token", "show", id, "--output", "json")
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

func (c scenario) request(ctx context.Context, url, value string) (*http.Request, error) {
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(ctx, method, url+c.path, strings.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("fred:"+value)))
	if c.bearer {
		r.Header.Set("Authorization", "Bearer "+value)
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, v := range c.header {
		if r.Header.Set(name, v); v == "" {
			r.Header.Del(name)
		}
	}
	return r, nil
}

// curl returns the command line that equals the request.
func (c scenario) curl(url string) string {
	words := []string{"curl", "-s"}
	if c.from != "" {
		words = append(words, "--interface "+c.from)
	}
	_, anonymous := c.header["Authorization"]
	switch {
	case anonymous:
	case c.bearer:
		words = append(words, `-H "Authorization: Bearer $TOKEN"`)
	default:
		words = append(words, `-u "fred:$TOKEN"`)
	}
	for name, value := range c.header {
		if value != "" {
			words = append(words, fmt.Sprintf("-H '%s: %s'", name, value))
		}
	}
	if c.body != "" {
		words = append(words, fmt.Sprintf("-H 'Content-Type: application/json' -d '%s'", c.body))
	}
	return strings.Join(append(words, url+c.path), " ")
}

// invite says what there is to try.
func (s *environment) invite() {
	s.say(`
Everything stays up until Ctrl-C. In another terminal:

    $ export TOKENGATE_ADMIN_SOCKET=%s
    $ TOKEN=$(%s token create --user wilma --name "my own")
    $ curl -s -u "wilma:$TOKEN" %s/rest/api/2/myself
    $ curl -s -u betty:%[4]s %[3]s%[5]s
    $ %[2]s token list

And in a browser, for wilma (password %[6]s) and betty, who administers (%[4]s):

    %[3]s/plugins/servlet/api-tokens
`, s.socket, program, s.url, betty, api+"tokens", wilma)
}

func (s *environment) say(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

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

// excerpt returns a body on one line, cut.
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
