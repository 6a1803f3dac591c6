//go:build cluster

// Package main_test applies the manifests in a real Kubernetes, and tries them. `make test-cluster` runs it.
package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv("KUBECONFIG") == "" || os.Getenv("CONTAINERD_ADDRESS") == "" {
		fmt.Fprintln(os.Stderr, "these tests run in a cluster of their own: make test-cluster")
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// kubectl runs kubectl in a namespace, with an input, and returns what it printed on its standard output.
func kubectl(t *testing.T, namespace, input string, args ...string) string {
	t.Helper()
	out, err := tryKubectl(t.Context(), namespace, input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryKubectl(ctx context.Context, namespace, input string, args ...string) (string, error) {
	if namespace != "" {
		args = append([]string{"--namespace", namespace}, args...)
	}
	ctx, cancel := context.WithTimeout(ctx, 9*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// jsonPath returns a part of an object.
func jsonPath(t *testing.T, namespace, object, path string) string {
	t.Helper()
	kind, name, _ := strings.Cut(object, "/")
	return kubectl(t, namespace, "", "get", kind, name, "--output", "jsonpath="+path)
}

// namespace makes a namespace, which is removed at the end of the test. On a failure it prints what is in there.
func namespace(t *testing.T, name string, labels ...string) {
	t.Helper()
	kubectl(t, "", "", "create", "namespace", name)
	if len(labels) > 0 {
		kubectl(t, "", "", append([]string{"label", "namespace", name}, labels...)...)
	}
	removed(t, name)
}

// removed removes a namespace at the end of the test. On a failure it prints what is in there.
func removed(t *testing.T, name string) {
	t.Cleanup(func() {
		if t.Failed() {
			describe(t, name)
		}
		if _, err := tryKubectl(context.Background(), "", "", "delete", "namespace", name, "--timeout=4m"); err != nil {
			t.Error(err)
		}
	})
}

// describe prints a namespace's pods, events and logs.
func describe(t *testing.T, name string) {
	for _, args := range [][]string{{"get", "pods,pvc,services", "--output", "wide"}, {"get", "events", "--sort-by=.lastTimestamp"}} {
		out, err := tryKubectl(context.Background(), name, "", args...)
		t.Logf("%s:\n%s%v", strings.Join(args, " "), out, err)
	}
	pods, _ := tryKubectl(context.Background(), name, "", "get", "pods", "--output", "name")
	for pod := range strings.Lines(pods) {
		pod = strings.TrimSpace(pod)
		out, _ := tryKubectl(context.Background(), name, "", "logs", pod, "--all-containers", "--prefix", "--tail", "15")
		t.Logf("logs of %s:\n%s", pod, out)
	}
}

// volumes makes local volumes of a size without a class, as many as the test's claims.
func volumes(t *testing.T, count int, size string) {
	t.Helper()
	var all strings.Builder
	for n := range count {
		dir := filepath.Join(os.Getenv("CLUSTER_DIR"), "volumes", t.Name(), size, fmt.Sprint(n))
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		name := strings.ToLower(strings.ReplaceAll(fmt.Sprintf("%s-%s-%d", t.Name(), size, n), "/", "-"))
		fmt.Fprintf(&all, `---
apiVersion: v1
kind: PersistentVolume
metadata: {name: %s}
spec:
  capacity: {storage: %s}
  accessModes: [ReadWriteOnce]
  local: {path: %s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node0]}]}]}}
`, name, size, dir)
		t.Cleanup(func() { _, _ = tryKubectl(context.Background(), "", "", "delete", "pv", name, "--wait=false") })
	}
	kubectl(t, "", all.String(), "apply", "-f", "-")
}

// rollout waits until a workload's pods are ready.
func rollout(t *testing.T, namespace, workload string) {
	t.Helper()
	kubectl(t, namespace, "", "rollout", "status", workload, "--timeout=8m")
}

// kill ends the processes of a pod's container with SIGKILL, as a crash or the kernel without memory does.
func kill(t *testing.T, namespace, pod, container string) {
	t.Helper()
	path := fmt.Sprintf(`{range .status.containerStatuses[?(@.name=="%s")]}{.containerID}{end}{range .status.initContainerStatuses[?(@.name=="%[1]s")]}{.containerID}{end}`, container)
	id := strings.TrimPrefix(jsonPath(t, namespace, "pod/"+pod, path), "containerd://")
	// It may wait for its next start.
	if out, err := exec.Command("ctr", "tasks", "kill", "--signal", "SIGKILL", id).CombinedOutput(); err != nil && !strings.Contains(string(out), "not found") {
		t.Fatalf("kill %s of %s: %v: %s", container, pod, err, out)
	}
}

// file returns the path of a file of the repository, in whose root the tests run.
func file(parts ...string) string { return filepath.Join(parts...) }
