package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The programs in authz/README.md get answers as fred. A program is skipped if its
// interpreter or compiler is not installed.
func TestReadmePrograms(t *testing.T) {
	t.Parallel()
	r := newRig(t, withoutProxy(t))
	value := r.mint("programs")
	readme := read(t, "../../authz/README.md")
	for _, program := range []struct {
		kind, file string
		run        []string
		check      []string // succeeds where the program can run
	}{
		{"python", "myself.py", []string{"python3", "myself.py"}, []string{"python3", "-c", "import requests"}},
		{"javascript", "myself.mjs", []string{"node", "myself.mjs"}, []string{"node", "-e", "fetch"}},
		{"java", "Myself.java", []string{"java", "Myself.java"}, []string{"javac", "--version"}},
	} {
		t.Run(program.kind, func(t *testing.T) {
			blocks := fences(readme, program.kind+"$")
			if len(blocks) != 1 {
				t.Fatalf("the README has %d such programs", len(blocks))
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, program.file), []byte(blocks[0]), 0o600); err != nil {
				t.Fatal(err)
			}
			run := func(command []string) (string, error) {
				cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "JIRA="+r.envoy.URL, "TOKEN="+value.Reveal(), "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			if _, err := run(program.check); err != nil {
				t.Skipf("%s cannot run here: %v", program.kind, err)
			}
			out, err := run(program.run)
			if err != nil || !strings.Contains(out, "Fred") {
				t.Errorf("%v: %s", err, out)
			}
			if found := findSecret(t, out); found != "" {
				t.Errorf("it printed %s", found)
			}
		})
	}
}
