package main

import (
	"context"
	"strings"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// identityHeader is the header that names the user to Jira in the second form of
// upstream.identity.
const identityHeader = "X-Forwarded-User"

// connect gives tokengate a personal access token that fred has made in Jira.
func (e *environment) connect(ctx context.Context) error {
	e.printf("\nfred has made a personal access token in his profile in Jira, and an administrator gives it to tokengate.\nJira confirms whose it is, and tokengate keeps it sealed:\n\n    $ tokengate upstream set --user fred < pat\n")
	_, err := e.commandWith(ctx, fredsPAT, "upstream", "set", "--user", "fred")
	return err
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
