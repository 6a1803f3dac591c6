package main

import (
	"context"
	"errors"
	"os"
)

// runOutage stops tokengate, with Envoy's default configuration and with that of
// envoy.bypass, and returns how many steps failed.
func (e *environment) runOutage(ctx context.Context) (failures int, err error) {
	const myself, page = "/rest/api/2/myself", "/secure/Dashboard.jspa"
	browser := map[string]string{"Authorization": ""}
	_, value, err := e.createToken(ctx, "fred", "--name", "during an outage")
	if err != nil {
		return 0, err
	}
	e.printf("\ntokengate stops. By default Envoy asks it about every request.\n")
	if err := e.stopTokengate(); err != nil {
		return 0, err
	}
	failures = e.runSteps(ctx, value, []step{
		{title: "A browser's request, without a credential, does not reach Jira", path: page, header: browser, status: 503},
		{title: "Neither does a token", path: myself, status: 503},
	})

	e.printf("\nWith envoy.bypass, Envoy itself forwards requests without a credential:\n\n" +
		"    $ echo 'envoy: {bypass: true}' >> tokengate.yaml\n    $ tokengate envoy bootstrap --config tokengate.yaml > envoy.yaml\n")
	file, err := os.OpenFile(e.config, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return failures, err
	}
	_, err = file.WriteString("envoy: {bypass: true}\n")
	if err := errors.Join(err, file.Close(), e.envoy.Stop()); err != nil {
		return failures, err
	}
	if err := e.startEnvoy(ctx); err != nil {
		return failures, err
	}
	failures += e.runSteps(ctx, value, []step{
		{title: "tokengate is still away, and the browser's request passes", path: page, header: browser, status: 200, seen: "anonymous"},
		{title: "A token does not", path: myself, status: 503},
	})

	e.printf("\ntokengate starts again.\n")
	if err := e.startTokengate(ctx); err != nil {
		return failures, err
	}
	return failures + e.runSteps(ctx, value, []step{
		{title: "The token works", path: myself, status: 200, seen: "fred"},
	}), nil
}
