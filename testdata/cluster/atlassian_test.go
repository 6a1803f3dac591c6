//go:build cluster

package main_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestAtlassianChart lets the API server check what Atlassian's own chart jira becomes with
// the values in k8s/atlassian, and what is applied beside it.
func TestAtlassianChart(t *testing.T) {
	chart := os.Getenv("CHART")
	if chart == "" {
		t.Skip("no chart of Atlassian's: make test-cluster CHART=path names the directory of its chart jira, as `helm pull --untar` makes it")
	}
	const release = "jira"
	namespace(t, "atlassian")
	for topology, files := range map[string][]string{
		"gateway": {"jira-values.yaml"},
		"sidecar": {"jira-values.yaml", "sidecar-values.yaml"},
	} {
		t.Run(topology, func(t *testing.T) {
			args := []string{"template", release, chart, "--namespace", "atlassian", "--skip-tests"}
			for _, name := range files {
				args = append(args, "--values", file("k8s", "atlassian", name))
			}
			rendered, err := exec.CommandContext(t.Context(), "helm", args...).Output()
			if err != nil {
				if exit, ok := errors.AsType[*exec.ExitError](err); ok {
					t.Logf("%s", exit.Stderr)
				}
				t.Fatalf("helm %v: %v", args, err)
			}
			answer := dryRun(t, string(rendered), "-f", "-")
			for _, want := range []string{"statefulset.apps/" + release, "service/" + release} {
				if !slices.Contains(answer, want) {
					t.Errorf("the chart has no %s: %v", want, answer)
				}
			}
			for _, object := range answer {
				if strings.HasPrefix(object, "ingress") {
					t.Errorf("the chart has %s, which leads around Envoy", object)
				}
			}
		})
	}
	t.Run("beside the sidecar", func(t *testing.T) {
		answer := dryRun(t, "", "-k", file("k8s", "atlassian", "sidecar"))
		want := []string{"configmap/jira-tokengate", "ingress.networking.k8s.io/jira-tokengate", "networkpolicy.networking.k8s.io/jira",
			"persistentvolumeclaim/jira-tokengate", "service/jira-tokengate"}
		if !slices.Equal(answer, want) {
			t.Errorf("applied are %v, want %v", answer, want)
		}
	})
}

// dryRun lets the API server check objects, without keeping them, and returns their names, sorted.
func dryRun(t *testing.T, input string, args ...string) []string {
	t.Helper()
	out := kubectl(t, "atlassian", input, append([]string{"apply", "--server-side", "--dry-run=server", "--output", "name"}, args...)...)
	names := strings.Fields(out)
	slices.Sort(names)
	return names
}
