//go:build cluster

package main_test

import (
	"testing"
	"time"
)

// TestSidecar applies k8s/sidecar: Envoy and tokengate in Jira's pod.
func TestSidecar(t *testing.T) {
	removed(t, "jira")
	volumes(t, 1, "50Gi")
	volumes(t, 1, "1Gi")
	openReadme(t).run(t, "sidecar", "")
	address := jsonPath(t, "jira", "service/jira", "{.spec.clusterIP}")
	g := gate{namespace: "jira", workload: "statefulset/jira", client: newClient(address)}
	g.story(t)

	_, token := g.create(t, "wilma", "load")
	l := startLoad(t, address, token)
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
	restarts := jsonPath(t, "jira", "pod/jira-0", `{.status.containerStatuses[?(@.name=="jira")].restartCount}`)
	if restarts != "0" {
		t.Errorf("Jira was started %s times again, want 0", restarts)
	}

	kubectl(t, "jira", "", "rollout", "restart", g.workload)
	rollout(t, "jira", g.workload)
	g.expect(t, "after the pod is replaced", 200, `"name":"wilma"`, "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+token)
}
