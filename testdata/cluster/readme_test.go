//go:build cluster

package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// readme runs commands of k8s/README.md: the blocks "```sh NAME". They share a directory, as in a user's shell.
type readme struct {
	dir    string
	blocks map[string]string
}

func openReadme(t *testing.T) *readme {
	t.Helper()
	text, err := os.ReadFile(file("k8s", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	r := &readme{dir: t.TempDir(), blocks: map[string]string{}}
	for _, m := range regexp.MustCompile("(?ms)^ *```sh ([a-z -]+)\n(.*?)^ *```$").FindAllStringSubmatch(string(text), -1) {
		r.blocks[m[1]] += m[2]
	}
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "k8s"), filepath.Join(r.dir, "k8s")); err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs a block, and requires that it succeeds or, if its name ends in "fails", that it fails. Requests go to the
// Service, with what the ingress controller adds.
func (r *readme) run(t *testing.T, name, service string) string {
	t.Helper()
	out, err := r.try(t, name, service)
	if _, exit := errors.AsType[*exec.ExitError](err); err != nil && !exit {
		t.Fatal(err)
	}
	if (err != nil) != strings.HasSuffix(name, " fails") {
		t.Fatalf("%q of the README: %v: %s", name, err, out)
	}
	return out
}

// adapt makes the replacements that the README asks for.
func (r *readme) adapt(g gate, replicas string) {
	change := strings.NewReplacer("--namespace tokengate", "--namespace "+g.namespace, "--replicas 3", "--replicas "+replicas, "deployment/tokengate", g.workload)
	for _, name := range []string{"backup", "restore"} {
		r.blocks[name] = change.Replace(r.blocks[name])
	}
}

func (r *readme) try(t *testing.T, name, service string) (string, error) {
	t.Helper()
	script := r.blocks[name]
	if script == "" {
		return "", fmt.Errorf("the README has no commands %q", name)
	}
	script = strings.ReplaceAll(script, "https://jira.example.com/rest", "http://"+service+"/rest")
	script = strings.ReplaceAll(script, "curl ", "curl -H 'Host: jira.example.com' -H 'X-Forwarded-For: 192.0.2.7' -H 'X-Forwarded-Proto: https' ")
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = r.dir
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
