//go:build cluster

package main_test

import "testing"

// TestSidecar applies k8s/sidecar: Envoy and tokengate in Jira's pod.
func TestSidecar(t *testing.T) {
	removed(t, "jira")
	volumes(t, 1, "50Gi")
	volumes(t, 1, "1Gi")
	openReadme(t).run(t, "sidecar", "")
	address := jsonPath(t, "jira", "service/jira", "{.spec.clusterIP}")
	testOne(t, gate{namespace: "jira", workload: "statefulset/jira", client: newClient(address)})
}
