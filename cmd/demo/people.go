package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/tokengate/tokengate/authz/token"
)

const api = "/rest/api-tokens/latest/"

// action is a request that somebody makes with a password or a token of their own,
// and what must come of it.
type action struct {
	title    string
	user     string
	password string // or a token's value
	method   string
	path     string
	body     string

	status int
	says   string // part of the answer
}

// tellPeople plays what people do by themselves, and returns how many steps
// went wrong.
func (s *environment) tellPeople(ctx context.Context) (failures int, err error) {
	s.say("\nPeople help themselves, by REST at Jira's own address, with what they have in Jira. fred is a\ndeveloper, whose tokens live 90 days at most; wilma is a contractor, whose tokens only read and\nneed betty's approval, who administers.\n")
	take := func(st action) (id, value string) {
		answer, err := s.take(ctx, st)
		if err != nil {
			failures++
			s.say("    ✗ %v\n", err)
			return "", ""
		}
		var issued struct{ ID, PasswordValue string }
		if json.Unmarshal([]byte(answer), &issued) == nil {
			id, value = issued.ID, issued.PasswordValue
		}
		return id, value
	}
	const myself = "/rest/api/2/myself"
	_, freds := take(action{"fred makes himself a token", "fred", fred, "POST", api, `{"label":"my script"}`, 200, `"state":"active"`})
	take(action{"It is fred to Jira", "fred", freds, "GET", myself, "", 200, `"name":"fred"`})
	take(action{"In a browser he finds it, and can make others, on a page", "fred", fred, "GET", "/plugins/servlet/api-tokens", "", 200, "my script"})
	take(action{"One that lives longer than his rule allows he does not get", "fred", fred, "POST", api, `{"label":"for ever","expiresInDays":91}`, 400, "90d"})
	id, wilmas := take(action{"wilma makes one, which waits for approval", "wilma", wilma, "POST", api, `{"label":"report"}`, 200, `"state":"pending"`})
	take(action{"and does not work yet", "wilma", wilmas, "GET", myself, "", 401, "approved yet"})
	take(action{"She cannot approve it herself", "wilma", wilma, "POST", api + id + "/approve", "{}", 403, "administrators"})
	take(action{"betty can", "betty", betty, "POST", api + id + "/approve", "{}", 204, ""})
	take(action{"Now it works", "wilma", wilmas, "GET", myself, "", 200, `"name":"wilma"`})
	take(action{"betty sees who did what", "betty", betty, "GET", api + "audit?limit=2", "", 200, "token.approve"})

	s.say("\nfred leaves his team: somebody takes him out of the group in Jira, and tells nobody else.\n")
	if err := s.jira.SetGroups("fred"); err != nil {
		return failures, err
	}
	if err := s.untilRefused(ctx, freds); err != nil {
		return failures, err
	}
	take(action{"Within a minute (in this demo at once) his token is good for nothing", "fred", freds, "GET", myself, "", 403, "no group that may use tokens"})
	return failures, nil
}

// take makes the request of a step and returns the answer, if it is right.
func (s *environment) take(ctx context.Context, st action) (string, error) {
	shown := st.password
	if token.Contains(shown) || token.IsCredential(shown) {
		shown = "$TOKEN"
	}
	curl := fmt.Sprintf(`curl -s -u "%s:%s"`, st.user, shown)
	if st.body != "" {
		curl += fmt.Sprintf(" -H 'Content-Type: application/json' -d '%s'", st.body)
	}
	s.say("\n── %s\n\n    $ %s %s\n", st.title, curl, s.url+st.path)
	r, err := http.NewRequestWithContext(ctx, st.method, s.url+st.path, strings.NewReader(st.body))
	if err != nil {
		return "", err
	}
	r.SetBasicAuth(st.user, st.password)
	if st.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", err
	}
	s.say("    HTTP %d  %s\n", response.StatusCode, token.Redact(excerpt(body)))
	if response.StatusCode != st.status || !strings.Contains(string(body), st.says) {
		return "", fmt.Errorf("it should have been %d, with %q", st.status, st.says)
	}
	return string(body), nil
}

// untilRefused has tokengate ask Jira who is who, and waits until the token is
// refused.
func (s *environment) untilRefused(ctx context.Context, value string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := s.gate.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/rest/api/2/serverInfo", nil)
		if err != nil {
			return err
		}
		r.SetBasicAuth("fred", value)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode == http.StatusForbidden {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("the token of somebody who has left goes on working")
		}
	}
}
