//go:build cluster

package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startPolicies starts kube-router, which enforces NetworkPolicies, until the end of the test.
func startPolicies(t *testing.T) {
	t.Helper()
	log, err := os.Create(filepath.Join(os.Getenv("CLUSTER_DIR"), "logs", "kube-router.log"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--kubeconfig", os.Getenv("KUBECONFIG"), "--hostname-override", "node0", "--run-router=false", "--run-service-proxy=false", "--run-firewall=true"}
	cmd := exec.Command("kube-router", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		// Its own cleaning needs IPVS.
		const clean = `for t in iptables ip6tables; do $t-save | grep -vE 'KUBE-(ROUTER|POD-FW|NWPLCY)' | $t-restore; done`
		if out, err := exec.Command("bash", "-euo", "pipefail", "-c", clean).CombinedOutput(); err != nil {
			t.Errorf("remove the rules: %v: %s", err, out)
		}
		log.Close()
	})
}

// probe is a pod that tries to connect to others.
type probe struct{ namespace string }

func startProbe(t *testing.T, namespaceName string, labels ...string) probe {
	t.Helper()
	namespace(t, namespaceName, labels...)
	kubectl(t, namespaceName, `
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec:
  automountServiceAccountToken: false
  containers: [{name: probe, image: "standin:1", args: [pause]}]
`, "apply", "-f", "-")
	kubectl(t, namespaceName, "", "wait", "--for=condition=Ready", "pod/probe", "--timeout=1m")
	return probe{namespaceName}
}

// reaches says whether the pod can connect to host:port.
func (p probe) reaches(address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := tryKubectl(ctx, p.namespace, "", "exec", "probe", "--", "standin", "connect", address)
	return err == nil
}

// waitReaches waits until a probe reaches an address or no longer does.
func waitReaches(t *testing.T, p probe, address string, want bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		if p.reaches(address) == want {
			return
		}
	}
	t.Errorf("a pod of the namespace %s reaches %s: %v, want %v", p.namespace, address, !want, want)
}

// podAddress returns a pod's address.
func podAddress(t *testing.T, namespace, pod string) string {
	t.Helper()
	return strings.TrimSpace(jsonPath(t, namespace, "pod/"+pod, "{.status.podIP}"))
}
