//go:build cluster

package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestBadgerGateway applies k8s/gateway-badger. While its only tokengate is away, browsers go on, and a request with a
// token gets the status 503.
func TestBadgerGateway(t *testing.T) {
	startJira(t)
	volumes(t, 2, "1Gi")
	removed(t, "tokengate")
	page := openReadme(t)
	page.run(t, "gateway-badger", "")
	address := jsonPath(t, "tokengate", "service/tokengate", "{.spec.clusterIP}")
	g := gate{namespace: "tokengate", workload: "deployment/tokengate", client: newClient(address), page: page}
	token := testOne(t, g)
	t.Run("backup and restore", func(t *testing.T) { backupAndRestore(t, g, "restore-badger", token) })
}

// testOne tries the only tokengate of a Jira, and replaces its pod at the end. It returns a token of wilma.
func testOne(t *testing.T, g gate) (token string) {
	g.story(t)
	_, token = g.create(t, "wilma", "load")
	l := startLoad(t, strings.TrimPrefix(g.client.url, "http://"), token)
	defer l.end()
	l.pass(t, 5*time.Second)
	l.report(t, "without a fault")
	t.Run("killed five times", func(t *testing.T) { onlyTokengateKilled(t, g, l) })
	t.Run("changed configuration", func(t *testing.T) {
		changedConfiguration(t, g, l)
		l.pass(t, 5*time.Second)
		l.report(t, "changed configuration")
	})
	l.end()

	// A replaced pod opens the same store.
	kubectl(t, g.namespace, "", "rollout", "restart", g.workload)
	rollout(t, g.namespace, g.workload)
	g.expect(t, "after the pod is replaced", 200, `"name":"wilma"`, "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+token)
	return token
}

// onlyTokengateKilled makes and revokes tokens before tokengate is killed each time, and checks that no change was lost.
func onlyTokengateKilled(t *testing.T, g gate, l *load) {
	pod := g.pods(t)[0]
	var active, revoked []string
	for n := range 5 {
		id, gone := g.create(t, "fred", fmt.Sprint("revoked before crash ", n))
		_, value := g.create(t, "fred", fmt.Sprint("made before crash ", n))
		g.command(t, "token", "revoke", id)
		active, revoked = append(active, value), append(revoked, gone)
		kill(t, g.namespace, pod, "tokengate")
		restarts := fmt.Sprint(n + 1)
		until(t, 6*time.Minute, "kubelet has started tokengate again", func() bool {
			return jsonPath(t, g.namespace, "pod/"+pod, `{.status.initContainerStatuses[?(@.name=="tokengate")].restartCount}`) == restarts
		})
		kubectl(t, g.namespace, "", "wait", "--for=condition=Ready", "pod/"+pod, "--timeout=4m")
	}
	if others := jsonPath(t, g.namespace, "pod/"+pod, "{.status.containerStatuses[*].restartCount}"); strings.Trim(others, "0 ") != "" {
		t.Errorf("other containers were started again: %s times", others)
	}
	l.pass(t, 5*time.Second)
	l.report(t, "tokengate killed five times", "token: status 503")
	for n, value := range active {
		g.expect(t, "a token made before a crash", 200, `"name":"fred"`, "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+value)
		g.expect(t, "a token revoked before a crash", 401, "", "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+revoked[n])
	}
	if list := g.command(t, "token", "list", "--user", "fred"); strings.Count(list, "made before crash") != len(active) {
		t.Errorf("%d tokens are listed, want %d", strings.Count(list, "made before crash"), len(active))
	}
}
