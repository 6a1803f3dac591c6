//go:build cluster

package main_test

import (
	"strings"
	"testing"
)

// TestGateway applies k8s/etcd and k8s/gateway, and tries them under load and faults.
func TestGateway(t *testing.T) {
	startJira(t)
	volumes(t, 3, "8Gi")
	kubectl(t, "", "", "apply", "-f", file("k8s", "namespace.yaml"))
	removed(t, "tokengate")
	kubectl(t, "", run(t, file("k8s", "certificates.sh")), "apply", "-f", "-")
	kubectl(t, "", "", "apply", "-k", file("k8s", "etcd"))
	rollout(t, "tokengate", "statefulset/tokengate-etcd")
	kubectl(t, "", "", "apply", "-k", file("k8s", "gateway"))
	rollout(t, "tokengate", "deployment/tokengate")

	address := jsonPath(t, "tokengate", "service/tokengate", "{.spec.clusterIP}")
	g := gate{namespace: "tokengate", workload: "deployment/tokengate", client: newClient(address)}
	g.story(t)
	pods := strings.Fields(kubectl(t, "tokengate", "", "get", "pods", "--selector", "app.kubernetes.io/name=tokengate", "--output", "jsonpath={.items[*].metadata.name}"))
	t.Logf("pods: %v", pods)
	_, token := g.create(t, "wilma", "load")
	l := startLoad(t, address, token)
	kubectl(t, "tokengate", "", "rollout", "restart", "deployment/tokengate")
	rollout(t, "tokengate", "deployment/tokengate")
	l.report(t, "rolling update")
}
