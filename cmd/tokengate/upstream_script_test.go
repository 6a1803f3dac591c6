package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// connectedServer is a server with upstream.identity.pat and its Jira, for the script upstream.
type connectedServer struct {
	dir     string
	jira    *jiratest.Server
	url     string   // Jira's
	keys    []string // files, the newest first
	process *process
	failure *jiratest.Failure
}

// The users of the Jira of a connectedServer, with their keys and personal access tokens.
var connectedUsers = []jiratest.User{
	{Name: "fred", Key: "JIRAUSER10100", Active: true, PATs: []string{"MTIzNDU2Nzg5MDEyOvFredFredFred"}},
	{Name: "wilma", Key: "JIRAUSER10101", Active: true, PATs: []string{"MTIzNDU2Nzg5MDEyOvWilmaWilmaWi"}},
	{Name: "service", Key: "JIRAUSER10102", Active: true, PATs: []string{"MTIzNDU2Nzg5MDEyOvServiceServi"}, Groups: []string{jiratest.Administrators}},
}

func startConnected(t *testing.T) *connectedServer {
	t.Helper()
	s := &connectedServer{dir: envoytest.Dir(t), jira: jiratest.New(jiratest.Options{Users: connectedUsers})}
	upstream := httptest.NewServer(s.jira)
	t.Cleanup(upstream.Close)
	s.url = upstream.URL
	if err := os.WriteFile(filepath.Join(s.dir, "credential"), []byte(connectedUsers[2].PATs[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	s.addKey(t)
	s.start(t)
	t.Cleanup(func() {
		for _, u := range connectedUsers {
			if strings.Contains(s.process.log.String(), u.PATs[0][:16]) {
				t.Error("a personal access token is in the log")
			}
		}
	})
	return s
}

// addKey makes a new sealing key and writes a configuration with all keys.
func (s *connectedServer) addKey(t *testing.T) {
	t.Helper()
	key := filepath.Join(s.dir, "key"+string(rune('0'+len(s.keys))))
	if err := os.WriteFile(key, bytes.Repeat([]byte{'k', byte(len(s.keys))}, 16), 0o400); err != nil {
		t.Fatal(err)
	}
	s.keys = append([]string{key}, s.keys...)
	settings := strings.NewReplacer("DIR", s.dir, "JIRA", s.url, "KEYS", strings.Join(s.keys, ", ")).Replace(`
publicURL: https://jira.example.com
listen: {grpc: "unix://DIR/g", http: "unix://DIR/h", admin: "unix://DIR/a", metrics: "unix://DIR/m"}
store: {badger: {dir: DIR/data}}
upstream: {url: "JIRA", identity: {pat: {sealKeys: [KEYS]}}}
directory: {upstream: {credential: DIR/credential}}
`)
	if err := os.WriteFile(s.file(), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
}

// file is the configuration file.
func (s *connectedServer) file() string { return filepath.Join(s.dir, "tokengate.yaml") }

func (s *connectedServer) start(t *testing.T) {
	t.Helper()
	s.process = start(t, "serve", "--config", s.file())
	s.process.waitFor(`"tokengate is ready"`)
}

// scriptCommands are the commands
//
//	revoke NAME   deletes the user's personal access tokens in Jira
//	newkey        adds a new sealing key before the others to the configuration, which the server refuses
//	restart       restarts the server
//	fail | heal   lets Jira fail on every request, or answer again
//	nopat FILE    fails if the file has a part of a personal access token
func (s *connectedServer) scriptCommands(t *testing.T) map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"revoke": func(ts *testscript.TestScript, _ bool, args []string) {
			for _, u := range connectedUsers {
				for _, pat := range s.jira.PATs(u.Key) {
					if u.Name == args[0] {
						s.jira.RevokePAT(pat.ID)
					}
				}
			}
		},
		"newkey": func(ts *testscript.TestScript, _ bool, _ []string) {
			s.addKey(t)
			s.process.signal(syscall.SIGHUP)
			s.process.waitFor("a change of upstream.identity needs a restart")
		},
		"restart": func(ts *testscript.TestScript, _ bool, _ []string) {
			ts.Check(s.process.stop())
			s.start(t)
		},
		"fail": func(*testscript.TestScript, bool, []string) { s.failure = s.jira.Fail("/", jiratest.Status(502)) },
		"heal": func(*testscript.TestScript, bool, []string) { s.failure.Stop() },
		"nopat": func(ts *testscript.TestScript, _ bool, args []string) {
			if strings.Contains(ts.ReadFile(args[0]), connectedUsers[0].PATs[0][:16]) {
				ts.Fatalf("%s has a personal access token", args[0])
			}
		},
	}
}

// At a terminal, which shows what is typed, nothing is read.
func TestUpstreamSetAtTerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer terminal.Close()
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"upstream", "set", "--user", "fred"}, terminal, &out, &errs)
	if code != exitUsage || !strings.Contains(errs.String(), "a terminal would show it") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
