package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"
)

// runScenario runs the steps of the cluster, and returns an error with the number of failures.
func (c *cluster) runScenario(ctx context.Context) error {
	const myself = "/rest/api/2/myself"
	first, second := c.first, c.second
	first.printf("\nA simulated Jira, three nodes of etcd, and two tokengates run, each with a real Envoy:\n\n"+
		"    first   %s\n    second  %s\n\nIn both files tokengate.yaml, store names etcd instead of badger:\n\n    store:\n      etcd:\n        endpoints:\n", first.url, second.url)
	for _, n := range c.etcd {
		first.printf("          - %s\n", n.url)
	}

	steps := func(e *environment, value string, all ...step) (failures int) { return e.runSteps(ctx, value, all) }
	works := func(title string) step { return step{title: title, path: myself, status: 200, seen: "fred"} }
	denied := func(title string) step { return step{title: title, path: myself, status: 401} }

	id, value, err := c.issue(ctx, first, "fred creates a token at the first", "nightly report")
	if err != nil {
		return err
	}
	failures := steps(second, value, works("It works at the second"))

	if err := c.revoke(ctx, second, id); err != nil {
		return err
	}
	failures += steps(first, value, denied("The first denies it at once"))

	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	first.printf("\nThe node of etcd that leads the others is killed: kill -9 %d\n", leader.cmd.Process.Pid)
	leader.stop(syscall.SIGKILL)
	if id, value, err = c.issue(ctx, first, "Tokens are still created", "build"); err != nil {
		return err
	}
	_, during, err := c.issue(ctx, second, "Also at the second", "deploy")
	if err != nil {
		return err
	}
	failures += steps(second, value, works("The token of the first works at the second"))
	failures += steps(first, during, works("The token of the second works at the first"))

	first.printf("\nThe first tokengate is killed: kill -9 %d\n", first.tokengate.Process.Pid)
	if err := first.killTokengate(); err != nil {
		return err
	}
	failures += steps(first, value, step{title: "Its Envoy answers 503", path: myself, status: 503})
	if err := waitForStatus(ctx, http.DefaultClient, first.url+healthPath, http.StatusServiceUnavailable); err != nil {
		return err
	}
	failures += steps(first, value, step{title: "It also tells so a load balancer, which asks here and sends requests to the second from then on",
		path: healthPath, header: map[string]string{"Authorization": ""}, status: 503})
	failures += steps(second, value, works("The second goes on"))
	if err := c.revoke(ctx, second, id); err != nil {
		return err
	}
	first.printf("\nBoth start again.\n")
	if err := leader.start(); err != nil {
		return err
	}
	if err := errors.Join(leader.wait(ctx), first.startTokengate(ctx)); err != nil {
		return err
	}
	failures += steps(first, value, denied("The first denies what was revoked meanwhile"))
	failures += steps(first, during, works("The other token works there"))

	if failures > 0 {
		return fmt.Errorf("%d steps failed", failures)
	}
	first.printf("\nAll steps succeeded.\n")
	return nil
}

// issue lets fred create a token through an Envoy.
func (c *cluster) issue(ctx context.Context, e *environment, title, label string) (id, value string, err error) {
	answer, err := e.request(ctx, userRequest{title, "fred", fred, "POST", api, fmt.Sprintf(`{"label":"%s"}`, label), 200, `"state":"active"`})
	if err != nil {
		return "", "", err
	}
	var issued struct{ ID, PasswordValue string }
	if err := json.Unmarshal([]byte(answer), &issued); err != nil {
		return "", "", fmt.Errorf("read the new token: %w", err)
	}
	return issued.ID, issued.PasswordValue, nil
}

// revoke revokes a token with the command line beside a tokengate.
func (c *cluster) revoke(ctx context.Context, e *environment, id string) error {
	which := map[*environment]string{c.first: "first", c.second: "second"}[e]
	e.printf("\nAn administrator revokes it, beside the %s:\n\n    $ tokengate token revoke %s\n", which, id)
	_, err := e.command(ctx, "token", "revoke", id)
	return err
}
