//go:build cluster

package main_test

import "testing"

// TestSidecar applies k8s/sidecar: Envoy and tokengate in Jira's pod.
func TestSidecar(t *testing.T) {
	removed(t, "jira")
	volumes(t, 1, "50Gi")
	volumes(t, 2, "1Gi")
	page := openReadme(t)
	page.run(t, "sidecar", "")
	address := jsonPath(t, "jira", "service/jira", "{.spec.clusterIP}")
	g := gate{namespace: "jira", workload: "statefulset/jira", client: newClient(address), page: page}
	token := testOne(t, g)
	t.Run("backup and restore", func(t *testing.T) { backupAndRestore(t, g, "restore-sidecar", token) })
}
