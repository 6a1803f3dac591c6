package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// The commands in authz/upstream/README.md with which users are connected do what it shows, with a Jira
// that trusts no header.
func TestReadmeConnect(t *testing.T) {
	t.Parallel()
	const servicePAT, robotsPAT = "c2VydmljZXNlcnZpY2VzZXJ2aWNlc2VydmljZQ==", "cm9ib3Ryb2JvdHJvYm90cm9ib3Ryb2JvdA=="
	files := t.TempDir()
	credential := filepath.Join(files, "jira")
	for file, text := range map[string]string{"jira": servicePAT, "robots-pat": robotsPAT} {
		if err := os.WriteFile(filepath.Join(files, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t, options{
		settings: func(yaml string) string {
			return strings.Replace(yaml, "identity: {header: X-Forwarded-User}", "identity: {pat: {sealKeys: ["+writeSealKey(t, "key!5678")+"]}}", 1) +
				"directory: {upstream: {credential: " + credential + "}}\n"
		},
		users: func(jira *jiratest.Server) {
			jira.IgnoreHeader(true)
			jira.Put(jiratest.User{Name: "service", Active: true, Groups: []string{jiratest.Administrators}, PATs: []string{servicePAT}})
			jira.Put(jiratest.User{Name: "robot", Active: true, PATs: []string{robotsPAT}})
			jira.Put(jiratest.User{Name: "Fred", Password: "yabba", Active: true})
		},
	})
	r.until("the first answer of the directory", func() bool {
		_, metrics := r.probe("/metrics")
		return strings.Contains(metrics, `tokengate_directory_refreshes_total{result="good"} 1`)
	})
	blocks := fences(read(t, upstreamDocument), "console connect$")
	if ran := r.runBlocks(blocks, files); ran < 5 {
		t.Errorf("only %d commands ran", ran)
	}
}

// The commands in authz/upstream/README.md make a sealing key that nobody else can read at any time, and do
// not replace one.
func TestReadmeSealKey(t *testing.T) {
	blocks := fences(read(t, upstreamDocument), "sh key$")
	if len(blocks) != 1 {
		t.Fatalf("%d blocks", len(blocks))
	}
	dir := filepath.Join(t.TempDir(), "tokengate")
	create := func() (key string, err error) {
		err = exec.CommandContext(t.Context(), "sh", "-ec", strings.ReplaceAll(blocks[0], "/etc/tokengate", dir)).Run()
		return read(t, filepath.Join(dir, "seal-key")), err
	}
	key, err := create()
	info, statErr := os.Stat(filepath.Join(dir, "seal-key"))
	if err != nil || statErr != nil || len(key) != 32 || info.Mode().Perm() != 0o400 {
		t.Fatalf("%d bytes, %v, error %v, %v", len(key), info, err, statErr)
	}
	if again, err := create(); err == nil || again != key {
		t.Error("the commands replaced a key")
	}
}
