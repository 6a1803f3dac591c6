package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/cmd/tokengate/doctor"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// examine runs tokengate doctor and returns what it found by check. The exit code must say
// whether there is an error.
func (r *rig) examine(flags ...string) map[string]doctor.Finding {
	r.t.Helper()
	args := append([]string{"doctor", "--config", r.config, "--envoy-admin", r.dir + "/e", "--output", "json"}, flags...)
	stdout, stderr, code := command(r.t, "", "", args...)
	var answer struct{ Checks []doctor.Finding }
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || len(answer.Checks) != len(doctor.Checks) {
		r.t.Fatalf("%v in %s", err, stdout)
	}
	found, wrong := make(map[string]doctor.Finding), false
	for _, f := range answer.Checks {
		found[f.ID] = f
		wrong = wrong || f.Verdict == doctor.Error
		if (f.Do != "") != (f.Verdict == doctor.Warning || f.Verdict == doctor.Error) || f.Found == "" || f.Link != doctor.Page+"#"+f.ID {
			r.t.Errorf("%+v", f)
		}
	}
	if (code == exitFailed) != wrong || code == exitUsage || wrong != strings.Contains(stderr, "checks failed") {
		r.t.Errorf("exit %d: %s", code, stderr)
	}
	return found
}

// says examines and compares the checks that are wrong, in alphabetical order.
func (r *rig) says(when string, want []string, flags ...string) map[string]doctor.Finding {
	r.t.Helper()
	var got []string
	found := r.examine(flags...)
	for id, f := range found {
		if f.Verdict == doctor.Error || f.Verdict == doctor.Warning {
			got = append(got, id)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		for _, id := range got {
			r.t.Log(found[id])
		}
		r.t.Errorf("%s (-want +got):\n%s", when, cmp.Diff(want, got))
	}
	return found
}

func (r *rig) chmod(name string, mode os.FileMode) {
	r.t.Helper()
	if err := os.Chmod(r.dir+name, mode); err != nil {
		r.t.Fatal(err)
	}
}

// tokengate doctor is silent about a right installation, and about one with a mistake it names
// that and nothing else.
func TestDoctor(t *testing.T) {
	t.Parallel()
	c := newCompany(t, options{})
	c.awaitHealthChecks()
	c.create("alice", `{"label":"a"}`)
	found := c.says("in order", nil)
	skipped := map[string]bool{"sealing-keys": true, "connections": true, "certificates": true} // they are not used
	for id, f := range found {
		if (f.Verdict == doctor.Skipped) != skipped[id] {
			t.Errorf("%+v", f)
		}
	}
	stdout, _, code := command(t, "", "", "doctor", "--config", c.config, "--envoy-admin", c.dir+"/e")
	if code != 0 || strings.Count(stdout, "  ok  ") != len(doctor.Checks)-len(skipped) || strings.Contains(stdout, "→") {
		t.Errorf("exit %d:\n%s", code, stdout)
	}

	mode := func(name string, wrong, right os.FileMode) func() func() {
		return func() func() {
			c.chmod(name, wrong)
			return func() { c.chmod(name, right) }
		}
	}
	jira := func(set func(bool)) func() func() {
		return func() func() {
			set(true)
			return func() { set(false) }
		}
	}
	fails := func(fault jiratest.Fault) func() func() { return func() func() { return c.jira.Fail("/", fault).Stop } }
	// another starts a second Envoy with a mistake.
	another := func(old, new string) func() func() {
		return func() func() {
			text, _ := c.run("envoy", "bootstrap", "--config", c.config, "--listen", "127.0.0.1:0", "--envoy-admin", c.dir+"/2")
			changed := regexp.MustCompile(old).ReplaceAllString(text, new)
			if changed == text {
				t.Fatal("the mistake is not in the configuration")
			}
			return envoytest.Start(t, []byte(changed)).Stop
		}
	}
	for _, m := range []struct {
		name  string
		plant func() (undo func())
		flags []string
		id    string
		text  string
	}{
		{"a socket open to all", mode("/g", 0o666, 0o660), nil, "socket-grpc", "mode 0666, not 0660: every user"},
		{"the admin socket open to a group", mode("/a", 0o620, 0o600), nil, "socket-admin", "mode 0620, not 0600"},
		{"the sockets' directory open to all", mode("", 0o777, 0o700), nil, "envoy-admin socket-directories", "socket of its own"},
		{"the data open to all", mode("/data", 0o777, 0o700), nil, "store-directory", "mode 0777"},
		{"Envoy's socket open to all", mode("/e", 0o666, 0o600), nil, "envoy-admin", "mode 0666, not 0600: every user"},
		{"Envoy's socket open to a group", mode("/e", 0o660, 0o600), nil, "envoy-admin", "mode 0660, not 0600"},
		{"no Envoy there", mode("/e", 0o600, 0o600), []string{"--envoy-admin", "/nowhere/e"}, "envoy-admin", "no such file"},
		{"identity header not removed", another(`- remove: "x-forwarded-user"`, ""), []string{"--envoy-admin", c.dir + "/2"}, "envoy-strip", "x-forwarded-user"},
		{"another tokengate is asked", another(regexp.QuoteMeta(c.dir+"/g"), c.dir+"/elsewhere"), []string{"--envoy-admin", c.dir + "/2"}, "envoy-ext-authz", c.dir + "/elsewhere"},
		{"an older configuration", another(`(?s)("x-tokengate-configuration", value: ")[0-9a-f]+(.*)`+regexp.QuoteMeta(c.dir+"/g"), "${1}0123456789abcdef${2}"+c.dir+"/elsewhere"), []string{"--envoy-admin", c.dir + "/2"}, "envoy-outdated", "(envoy.bypass)"},
		{"Jira elsewhere", another(regexp.QuoteMeta(strings.Split(c.jiraAt, ":")[1]), "9"), []string{"--envoy-admin", c.dir + "/2"}, "envoy-upstream", "127.0.0.1:9, but upstream.url is " + c.jiraAt},
		{"Jira open around Envoy", mode("", 0o700, 0o700), []string{"--jira", "http://" + c.jiraAt}, "upstream-around", "can be any user"},
		{"Jira fails", fails(jiratest.Status(503)), nil, "upstream", "answers 503"},
		{"no authenticator", jira(c.jira.IgnoreHeader), nil, "identity", "does not believe X-Forwarded-User"},
	} {
		undo := m.plant()
		found := c.says(m.name, strings.Fields(m.id), m.flags...)
		for _, id := range strings.Fields(m.id) {
			if f := found[id]; !strings.Contains(f.Found, m.text) {
				t.Errorf("%s: %s", m.name, f.Found)
			}
		}
		undo()
	}
	if f := c.says("the gate itself", []string{"upstream-around"}, "--jira", c.envoy.URL)["upstream-around"]; !strings.Contains(f.Found, "Envoy's address") {
		t.Errorf("%+v", f)
	}

	// A name that the authenticator cuts.
	c.jira.Put(jiratest.User{Name: "ann@example.com", Active: true, Groups: []string{"staff", "devs"}})
	c.jira.Put(jiratest.User{Name: "ann", Active: true})
	c.refresh()
	c.run("token", "create", "--user", "ann@example.com", "--name", "a")
	c.says("a name with @", nil)
	c.jira.CutHeader(true)
	if f := c.says("a name that is cut", []string{"identity-names"})["identity-names"]; !strings.Contains(f.Found, "for ann@example.com for one of ann:") {
		t.Errorf("%+v", f)
	}
	c.jira.CutHeader(false)

	// Jira refuses the credential of the directory. SIGHUP refreshes it.
	credential := read(t, c.dir+"/credential")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(c.dir+"/credential", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.gate.signal(syscall.SIGHUP)
	}
	write("bm9zdWNodG9rZW5ub3N1Y2h0b2tlbm5vc3VjaHRv\n")
	c.gate.waitFor("the directory could not be refreshed")
	c.says("a refused credential", []string{"users"})
	write(credential)
	c.gate.waitFor("the directory answers again")
	c.says("in order again", nil)
}

// tokengate doctor follows an installation from before its first start to its end.
func TestDoctorOverTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{noGate: true})
	good := read(t, r.config)
	r.says("before the first start", []string{"server", "socket-admin", "socket-grpc", "socket-http", "socket-metrics", "store-directory"})
	r.startGate()
	r.awaitHealthChecks()
	r.says("started", nil)

	changed := strings.Replace(good, "header: X-Forwarded-User", "header: X-Remote-User", 1)
	r.write(changed)
	if f := r.says("a change that is not read yet or needs a restart", []string{"config-applied", "envoy-outdated"})["config-applied"]; f.Found == "" {
		t.Error(f)
	}
	r.gate.signal(syscall.SIGHUP)
	r.gate.waitFor("the configuration file was refused")
	if f := r.says("a change that needs a restart", []string{"config-applied", "envoy-outdated"})["config-applied"]; !strings.Contains(f.Found, "a change of upstream.identity needs a restart") {
		t.Error(f)
	}
	r.restartGate(changed)
	r.awaitHealthChecks()
	r.says("an Envoy of other settings", []string{"envoy-outdated"})
	if f := r.says("and its socket is unknown", []string{"envoy-admin", "envoy-outdated"}, "--envoy-admin", "/nowhere/e")["envoy-outdated"]; !strings.Contains(f.Found, "(envoy.bypass)") {
		t.Error(f)
	}
	r.restartGate(good)
	r.awaitHealthChecks()
	r.says("after a restart", nil)

	if err := r.gate.stop(); err != nil {
		t.Error(err)
	}
	if f := r.says("stopped", []string{"server"})["server"]; !strings.Contains(f.Found, "no server listens on the admin socket") {
		t.Error(f)
	}
	r.envoy.Stop()
	r.startGate()
	r.says("without Envoy", []string{"envoy-admin", "envoy-asks"})
	r.write(good + "\nnetwrok: {}\n")
	found := r.says("a bad file", []string{"config"})
	for id, f := range found {
		if id != "config" && (f.Verdict != doctor.Skipped || f.Found != "the configuration cannot be read") {
			t.Errorf("%+v", f)
		}
	}
}
