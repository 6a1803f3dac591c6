//go:build cluster

package main_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestGateway applies k8s/etcd and k8s/gateway, and tries them under load and faults.
func TestGateway(t *testing.T) {
	startJira(t)
	volumes(t, 4, "8Gi") // one replaces another
	page := openReadme(t)
	removed(t, "tokengate")
	page.run(t, "gateway", "")
	address := jsonPath(t, "tokengate", "service/tokengate", "{.spec.clusterIP}")
	g := gate{namespace: "tokengate", workload: "deployment/tokengate", client: newClient(address), page: page}
	t.Run("README", func(t *testing.T) {
		page.run(t, "verify", address)
		page.run(t, "verify fails", address)
		t.Log(page.run(t, "doctor", ""))
		t.Log(page.run(t, "upkeep", ""))
	})
	t.Run("story", func(t *testing.T) { g.story(t) })
	// Policies stay in force from here on.
	t.Run("policies", func(subtest *testing.T) { testPolicies(subtest, g, func() { startPolicies(t) }) })

	_, token := g.create(t, "wilma", "load")
	l := startLoad(t, address, token)
	defer l.end()
	l.pass(t, 5*time.Second)
	l.report(t, "without a fault")
	faults := []struct {
		name    string
		do      func(*testing.T, gate, *load)
		allowed []string
	}{
		{"rolling update", rollingUpdate, nil},
		{"tokengate killed five times", func(t *testing.T, g gate, l *load) { killFiveTimes(t, g, l, "tokengate") }, nil},
		// Nobody answers a connection to the pod until kube-proxy no longer chooses it.
		{"Envoy killed five times", func(t *testing.T, g gate, l *load) { killFiveTimes(t, g, l, "envoy") }, []string{sentAgain}},
		{"drain", drain, nil},
		{"a member of etcd gone", memberGone, nil},
		{"changed configuration", changedConfiguration, nil},
		{"changed certificates", changedCertificates, nil},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			f.do(t, g, l)
			l.pass(t, 5*time.Second)
			l.report(t, f.name, f.allowed...)
		})
	}
	l.end()
	t.Run("roll back", func(t *testing.T) { page.run(t, "rollback", "") })
	t.Run("backup and restore", func(t *testing.T) { backupAndRestore(t, g, "restore-etcd", token) })
	t.Run("new member of etcd", func(t *testing.T) {
		page.run(t, "member", "")
		if list := kubectl(t, g.namespace, "", "exec", "tokengate-etcd-2", "--", "etcdctl", "member", "list"); strings.Count(list, ", started, ") != 3 {
			t.Errorf("the members are\n%s", list)
		}
	})
	t.Run("new authorities", func(t *testing.T) {
		page.run(t, "leak", "")
		g.expect(t, "with new authorities", 200, `"name":"wilma"`, "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+token)
	})
}

// backupAndRestore makes a backup, loses the store, and restores it.
func backupAndRestore(t *testing.T, g gate, stop, token string) {
	replicas := jsonPath(t, g.namespace, g.workload, "{.spec.replicas}")
	g.page.adapt(g, replicas)
	g.page.run(t, "backup", "")
	_, later := g.create(t, "wilma", "after the backup")
	g.page.run(t, stop, "")
	g.page.run(t, "restore", "")
	rollout(t, g.namespace, g.workload)
	g.expect(t, "a token in the backup", 200, `"name":"wilma"`, "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+token)
	g.expect(t, "a later token", 401, "", "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+later)
}

// pods returns the names of the gateway's pods that are not ending.
func (g gate) pods(t *testing.T) []string {
	t.Helper()
	names := "go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}"
	return strings.Fields(kubectl(t, g.namespace, "", "get", "pods", "--selector", g.selector(), "--output", names))
}

func rollingUpdate(t *testing.T, g gate, _ *load) {
	kubectl(t, g.namespace, "", "rollout", "restart", g.workload)
	rollout(t, g.namespace, g.workload)
}

// killFiveTimes kills a container of one pod five times within a minute. kubelet waits longer each time before it starts
// the container again, so that it is away for most of the minute.
func killFiveTimes(t *testing.T, g gate, l *load, container string) {
	pod := g.pods(t)[0]
	for range 5 {
		kill(t, g.namespace, pod, container)
		l.pass(t, 11*time.Second)
	}
	restarts := fmt.Sprintf(`{.status.containerStatuses[?(@.name=="%s")].restartCount}{.status.initContainerStatuses[?(@.name=="%[1]s")].restartCount}`, container)
	t.Logf("kubelet has started %s %s times again", container, jsonPath(t, g.namespace, "pod/"+pod, restarts))
	kubectl(t, g.namespace, "", "wait", "--for=condition=Ready", "pod/"+pod, "--timeout=2m")
}

// drain drains the node. There is only one, so it is opened again at once; the replaced pods wait for the
// PodDisruptionBudget.
func drain(t *testing.T, g gate, _ *load) {
	before := g.pods(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", "drain", "node0", "--pod-selector", g.selector(), "--delete-emptydir-data", "--force", "--timeout=4m")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for jsonPath(t, "", "node/node0", "{.spec.unschedulable}") != "true" {
		time.Sleep(100 * time.Millisecond)
	}
	kubectl(t, "", "", "uncordon", "node0")
	if err := cmd.Wait(); err != nil {
		t.Errorf("drain: %v: %s", err, out.String())
	}
	rollout(t, g.namespace, g.workload)
	for _, pod := range g.pods(t) {
		for _, old := range before {
			if pod == old {
				t.Errorf("the pod %s was not evicted", pod)
			}
		}
	}
}

func memberGone(t *testing.T, g gate, l *load) {
	for range 3 {
		kill(t, g.namespace, "tokengate-etcd-1", "etcd")
		l.pass(t, 5*time.Second)
	}
	kubectl(t, g.namespace, "", "delete", "pod", "tokengate-etcd-0", "--wait=false")
	id, value := g.create(t, "wilma", "while a member is gone")
	g.expect(t, "a token made while a member is gone", 200, `"name":"wilma"`, "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+value)
	g.command(t, "token", "revoke", id)
	rollout(t, g.namespace, "statefulset/tokengate-etcd")
}

// changedConfiguration changes the ConfigMap, which kubelet gives to the pods by changing a symbolic link.
func changedConfiguration(t *testing.T, g gate, l *load) {
	before := g.pods(t)
	name := jsonPath(t, g.namespace, g.workload, "{.spec.template.spec.volumes[*].configMap.name}")
	config := jsonPath(t, g.namespace, "configmap/"+name, `{.data.tokengate\.yaml}`)
	changed := strings.Replace(config, "deny: []", "deny: [203.0.113.0/24]", 1)
	if changed == config {
		changed += "\nnetwork: {deny: [203.0.113.0/24]}\n"
	}
	patch := fmt.Sprintf(`{"data":{"tokengate.yaml":%q}}`, changed)
	kubectl(t, g.namespace, "", "patch", "configmap", name, "--type=merge", "--patch", patch)
	id, value := g.create(t, "fred", "network")
	until(t, 2*time.Minute, "all replicas deny the network", func() bool {
		for range 12 { // each is asked with a high probability
			c := newClient(strings.TrimPrefix(g.client.url, "http://"))
			c.http.CloseIdleConnections()
			status, _, err := c.do(t.Context(), "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+value, "X-Forwarded-For", "203.0.113.9")
			c.http.CloseIdleConnections()
			if err != nil || status != 403 {
				return false
			}
		}
		return true
	})
	g.command(t, "token", "revoke", id)
	if after := g.pods(t); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("the pods were %v, and are %v", before, after)
	}
}

// changedCertificates renews all certificates, as the README says, and then ends connections that were made before.
func changedCertificates(t *testing.T, g gate, l *load) {
	before := jsonPath(t, g.namespace, "secret/tokengate-ca", "{.data}")
	g.page.run(t, "certificates", "")
	if jsonPath(t, g.namespace, "secret/tokengate-ca", "{.data}") != before {
		t.Error("a renewal changed the authority")
	}
	l.pass(t, 90*time.Second) // kubelet renews the files of Secrets within this time
	for n := range 3 {
		pod := fmt.Sprint("tokengate-etcd-", n)
		kill(t, g.namespace, pod, "etcd")
		l.pass(t, 2*time.Second)
		kubectl(t, g.namespace, "", "wait", "--for=condition=Ready", "pod/"+pod, "--timeout=2m")
	}
	id, value := g.create(t, "wilma", "after the certificates")
	g.expect(t, "a token made with new certificates", 200, `"name":"wilma"`, "GET", "/rest/api/2/myself", "", "Authorization", "Bearer "+value)
	g.command(t, "token", "revoke", id)
}

// testPolicies tries who reaches which port, before and after a program enforces NetworkPolicies.
func testPolicies(t *testing.T, g gate, enforce func()) {
	pod := g.pods(t)[0]
	jira := podAddress(t, "jira", "jira-0")
	gateway, etcd := podAddress(t, g.namespace, pod), podAddress(t, g.namespace, "tokengate-etcd-0")
	stranger := startProbe(t, "stranger")
	ingress := startProbe(t, "ingress")
	monitoring := startProbe(t, "monitoring")
	ports := []struct {
		address string
		from    string // the namespace that may connect
	}{
		{jira + ":8080", ""},
		{gateway + ":8000", "ingress"},
		{gateway + ":9464", "monitoring"},
		{gateway + ":9465", "monitoring"},
		{gateway + ":9001", ""},
		{gateway + ":9002", ""},
		{etcd + ":2379", ""},
		{etcd + ":2380", ""},
		{etcd + ":2381", "monitoring"},
	}
	for _, p := range ports {
		waitReaches(t, stranger, p.address, true)
	}
	if out := g.page.run(t, "around", ""); !strings.Contains(out, "the application answers without Envoy") {
		t.Errorf("without a program that enforces policies, the doctor of a stranger says: %s", out)
	}

	enforce()
	for _, p := range ports {
		for _, from := range []probe{stranger, ingress, monitoring} {
			waitReaches(t, from, p.address, from.namespace == p.from)
		}
	}
	if out := g.page.run(t, "around", ""); !strings.Contains(out, "upstream-around  ok") {
		t.Errorf("the doctor of a stranger says: %s", out)
	}
	g.story(t)
}

// until waits until a condition holds.
func until(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Errorf("not within %v: %s", limit, what)
			return
		}
	}
}
