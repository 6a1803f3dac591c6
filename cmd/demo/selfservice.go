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

// userRequest is a request with a user's password or token, and its expected
// result.
type userRequest struct {
	title    string
	user     string
	password string // or a token's value
	method   string
	path     string
	body     string

	status   int
	contains string // part of the answer's body
}

// runSelfService runs the requests of users who manage their own tokens, and
// returns how many failed.
func (e *environment) runSelfService(ctx context.Context) (failures int, err error) {
	e.printf("\nUsers manage their own tokens with REST at Jira's address, with their Jira password. fred is a\ndeveloper, whose tokens are valid for up to 90 days; wilma is a contractor, whose tokens are\nread-only and need the approval of betty, an administrator.\n")
	request := func(st userRequest) (id, value string) {
		answer, err := e.request(ctx, st)
		if err != nil {
			failures++
			e.printf("    ✗ %v\n", err)
			return "", ""
		}
		var issued struct{ ID, PasswordValue string }
		if json.Unmarshal([]byte(answer), &issued) == nil {
			id, value = issued.ID, issued.PasswordValue
		}
		return id, value
	}
	const myself = "/rest/api/2/myself"
	_, freds := request(userRequest{"fred creates a token", "fred", fred, "POST", api, `{"label":"my script"}`, 200, `"state":"active"`})
	request(userRequest{"Jira sees fred", "fred", freds, "GET", myself, "", 200, `"name":"fred"`})
	request(userRequest{"The page in the browser shows it", "fred", fred, "GET", "/plugins/servlet/api-tokens", "", 200, "my script"})
	request(userRequest{"A lifetime above his policy's maximum is refused", "fred", fred, "POST", api, `{"label":"for ever","expiresInDays":91}`, 400, "90d"})
	id, wilmas := request(userRequest{"wilma creates one, which needs approval", "wilma", wilma, "POST", api, `{"label":"report"}`, 200, `"state":"pending"`})
	request(userRequest{"She has a personal access token in Jira now, which only tokengate knows", "wilma", wilma, "GET", "/rest/pat/latest/tokens", "", 200, `"name":"tokengate 127.0.0.1 1"`})
	request(userRequest{"The token does not work yet", "wilma", wilmas, "GET", myself, "", 401, "approved yet"})
	request(userRequest{"She cannot approve it herself", "wilma", wilma, "POST", api + id + "/approve", "{}", 403, "administrators"})
	request(userRequest{"betty approves it", "betty", betty, "POST", api + id + "/approve", "{}", 204, ""})
	request(userRequest{"Now it works", "wilma", wilmas, "GET", myself, "", 200, `"name":"wilma"`})
	request(userRequest{"betty reads the audit log", "betty", betty, "GET", api + "audit?limit=2", "", 200, "token.approve"})

	e.printf("\nfred leaves his team: a Jira administrator removes him from the group.\n")
	if err := e.jira.SetGroups("fred"); err != nil {
		return failures, err
	}
	if err := e.waitForDenial(ctx, freds); err != nil {
		return failures, err
	}
	request(userRequest{"Within a minute (in this demo immediately) his token is denied", "fred", freds, "GET", myself, "", 403, "no group that may use tokens"})
	return failures, nil
}

// request sends a request and returns the answer's body, if it is as expected.
func (e *environment) request(ctx context.Context, st userRequest) (string, error) {
	shown := st.password
	if token.Contains(shown) || token.IsCredential(shown) {
		shown = "$TOKEN"
	}
	curl := fmt.Sprintf(`curl -s -u "%s:%s"`, st.user, shown)
	if st.body != "" {
		curl += fmt.Sprintf(" -H 'Content-Type: application/json' -d '%s'", st.body)
	}
	e.printf("\n── %s\n\n    $ %s %s\n", st.title, curl, e.url+st.path)
	r, err := http.NewRequestWithContext(ctx, st.method, e.url+st.path, strings.NewReader(st.body))
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
	e.printf("    HTTP %d  %s\n", response.StatusCode, token.Redact(excerpt(body)))
	if response.StatusCode != st.status || !strings.Contains(string(body), st.contains) {
		return "", fmt.Errorf("want %d, with %q", st.status, st.contains)
	}
	return string(body), nil
}

// waitForDenial makes tokengate read Jira's users and groups again, and waits until
// the token is denied.
func (e *environment) waitForDenial(ctx context.Context, value string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := e.tokengate.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/rest/api/2/serverInfo", nil)
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
			return errors.New("the token still works after its owner left the group")
		}
	}
}
