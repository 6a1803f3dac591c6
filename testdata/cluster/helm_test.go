//go:build cluster

package main_test

import (
	"os/exec"
	"testing"
)

// TestHelm installs, upgrades and uninstalls the chart with Helm. TestGateway shows what its objects do.
func TestHelm(t *testing.T) {
	startJira(t)
	volumes(t, 3, "8Gi")
	namespace(t, "tokengate", "pod-security.kubernetes.io/enforce=restricted")
	page := openReadme(t)
	page.run(t, "helm", "")
	address := jsonPath(t, "tokengate", "service/tokengate", "{.spec.clusterIP}")
	g := gate{namespace: "tokengate", workload: "deployment/tokengate", client: newClient(address), page: page}
	g.story(t)

	_, token := g.create(t, "wilma", "before the upgrade")
	before := jsonPath(t, "tokengate", "secret/tokengate-etcd", "{.data}")
	helm(t, "upgrade", "tokengate", file("k8s", "chart", "tokengate"), "--namespace", "tokengate", "--reuse-values",
		"--set", "config.tokens.maxPerUser=7", "--set", "resources.tokengate.requests.cpu=50m", "--wait", "--timeout", "9m")
	if jsonPath(t, "tokengate", "secret/tokengate-etcd", "{.data}") != before {
		t.Error("an upgrade made other certificates")
	}
	g.expect(t, "after an upgrade", 200, `"name":"wilma"`, "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+token)

	helm(t, "uninstall", "tokengate", "--namespace", "tokengate", "--wait")
	if left := kubectl(t, "tokengate", "", "get", "deployments,statefulsets,services,networkpolicies", "--output", "name"); left != "" {
		t.Errorf("an uninstalled chart leaves %s", left)
	}
}

func helm(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "helm", args...).CombinedOutput(); err != nil {
		t.Fatalf("helm %v: %v: %s", args, err, out)
	}
}
