package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// identityHeader is the header that names the user to Jira in the second form of
// upstream.identity.
const identityHeader = "X-Forwarded-User"

// connect lets fred connect by creating a token with limits, and returns its id and value.
func (e *environment) connect(ctx context.Context) (id, value string, err error) {
	e.printf("\nfred creates a token with his Jira password; with the browser, he would use his session. tokengate lets\nJira make a personal access token for him with this login, and keeps it sealed:\n")
	answer, err := e.request(ctx, userRequest{"fred creates a token, which connects him", "fred", fred, "POST", api,
		`{"label":"nightly report","expiresInDays":90,"readOnly":true,"networks":["127.0.0.1","127.9.0.0/16"]}`, 200, `"state":"active"`})
	if err != nil {
		return "", "", err
	}
	var issued struct{ ID, PasswordValue string }
	if err := json.Unmarshal([]byte(answer), &issued); err != nil {
		return "", "", fmt.Errorf("read the new token: %w", err)
	}
	e.printf("\nIts value is shown once; it is in TOKEN below.\n")
	return issued.ID, issued.PasswordValue, nil
}

// runRobot connects a user who never logs in, and returns how many steps failed.
func (e *environment) runRobot(ctx context.Context) (failures int, err error) {
	e.printf("\nThe user robot of a program never logs in. An administrator has made a personal access token as robot in\nJira, and gives it to tokengate. Jira confirms whose it is:\n\n    $ tokengate upstream set --user robot < pat\n")
	if _, err := e.commandWith(ctx, robotsPAT, "upstream", "set", "--user", "robot"); err != nil {
		return 0, err
	}
	_, value, err := e.createToken(ctx, "robot", "--name", "build")
	if err != nil {
		return 0, err
	}
	return e.runSteps(ctx, value, []step{
		{title: "The robot's token works", path: "/rest/api/2/myself", bearer: true, status: 200, seen: "robot"},
	}), nil
}

// runDeadPAT uses a token whose owner has deleted the personal access token in Jira, and
// returns how many steps failed.
func (e *environment) runDeadPAT(ctx context.Context) (failures int, err error) {
	const path = "/rest/api/2/serverInfo" // which Jira shows to everyone
	_, value, err := e.createToken(ctx, "fred", "--name", "never anonymous")
	if err != nil {
		return 0, err
	}
	e.printf("\nfred deletes his personal access token in Jira, which then serves requests with it as nobody's.\n")
	for _, pat := range e.jira.PATs("fred") {
		e.jira.RevokePAT(pat.ID)
	}
	failures = e.runSteps(ctx, value, []step{
		{title: "Envoy does not show the answer, and tells tokengate", path: path, status: 503, seen: "anonymous"},
	})
	if _, err := e.log.wait(ctx, func(line string) bool {
		return strings.Contains(message(line), "does not accept the connection of a user")
	}); err != nil {
		return failures, err
	}
	failures += e.runSteps(ctx, value, []step{
		{title: "tokengate has asked Jira, and now refuses fred's tokens itself", path: path, status: 503, logged: "request denied: upstream_credential_broken"},
	})
	if _, err := e.request(ctx, userRequest{"fred connects again, with his password: Jira makes another one for him", "fred", fred, "POST", api + "connection", "{}", 204, ""}); err != nil {
		return failures, err
	}
	return failures + e.runSteps(ctx, value, []step{
		{title: "The token works again", path: path, status: 200, seen: "fred"},
	}), nil
}

// runHeader restarts with a Jira that trusts a header, and returns how many steps failed.
func (e *environment) runHeader(ctx context.Context) (failures int, err error) {
	_, value, err := e.createToken(ctx, "wilma", "--name", "by header")
	if err != nil {
		return 0, err
	}
	const pat, header = "identity: {pat: ", "identity: {header: " + identityHeader + "} # {pat: "
	e.printf("\nThe other form: an authenticator in Jira trusts a header, and nobody needs to be connected. It takes one\nline of tokengate.yaml, a new envoy.yaml and a restart:\n\n" +
		"    upstream: {identity: {header: " + identityHeader + "}}\n")
	e.jira.IgnoreHeader(false)
	e.how = jiratest.ByHeader
	if err := e.restart(ctx, pat, header); err != nil {
		return 0, err
	}
	const myself = "/rest/api/2/myself"
	failures = e.runSteps(ctx, value, []step{
		{title: "The token works, as wilma", path: myself, bearer: true, status: 200, seen: "wilma"},
		{title: "A client cannot set the header", path: myself, header: map[string]string{identityHeader: "betty", "Authorization": ""}, status: 401, seen: "anonymous"},
	})
	e.printf("\nBack to a Jira in which nothing is installed.\n")
	e.jira.IgnoreHeader(true)
	e.how = jiratest.ByBearer
	return failures, e.restart(ctx, header, pat)
}
