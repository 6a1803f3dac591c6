package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Native tokens of the service user: the one that Jira knows, and none.
const (
	serviceCredential = "c2VydmljZXNlcnZpY2VzZXJ2aWNlc2VydmljZQ=="
	wrongCredential   = "bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// refused waits until a refresh of the directory has failed since tokengate was
// started.
func (c *company) refused() {
	c.t.Helper()
	c.until("the directory's refusal", func() bool { return strings.Contains(c.gate.log.String(), "could not be refreshed") })
}

// After a restart while Jira refuses tokengate's own user, tokens work as before, with the
// saved directory.
func TestRestartWhileTheDirectoryIsAway(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	saved, credential := filepath.Join(c.dir, "data", "tokengate.directory"), filepath.Join(c.dir, "credential")
	content := func() string {
		found, _ := os.ReadFile(saved)
		return string(found)
	}
	c.until("the directory is saved", func() bool { return content() != "" })
	k, other := c.create("alice", `{"label":"x"}`), c.create("rita", `{"label":"x"}`)
	c.myself(k, 200)

	// A crash does not restore lost rights.
	before := content()
	if err := c.jira.Deactivate("rita"); err != nil {
		t.Fatal(err)
	}
	c.refresh()
	c.myself(other, 401)
	c.until("the lost rights are saved", func() bool { return content() != before })
	write(t, credential, wrongCredential)
	for what, end := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGTERM} {
		c.gate.signal(end)
		<-c.gate.done
		c.startGate()
		c.refused()
		if user := c.myself(k, 200); user != "alice" {
			t.Errorf("%s: alice's token is %q to Jira", what, user)
		}
		c.myself(other, 401)
	}

	// An older file does not restore an old name, which may now belong to another user.
	before = content()
	write(t, credential, serviceCredential)
	if err := c.jira.Rename("alice", "alicia"); err != nil {
		t.Fatal(err)
	}
	c.refresh()
	// The owner's tokens are renamed after the refresh.
	c.until("alicia's token", func() bool {
		return c.send(request{path: c.context + "/rest/api/2/myself", auth: bearer(k.value)}).status == 200
	})
	if user := c.myself(k, 200); user != "alicia" {
		t.Errorf("renamed, and the token is %q to Jira", user)
	}
	write(t, credential, wrongCredential)
	if err := c.gate.stop(); err != nil {
		t.Fatal(err)
	}
	write(t, saved, before)
	c.startGate()
	c.refused()
	c.myself(k, 503)

	// A truncated file does not prevent a start.
	if err := c.gate.stop(); err != nil {
		t.Fatal(err)
	}
	write(t, saved, content()[:500])
	c.gate = start(t, "serve", "--config", c.config)
	c.gate.waitFor("not whole")
	c.gate.waitFor(`"tokengate is ready"`)
	c.myself(k, 503)
}
