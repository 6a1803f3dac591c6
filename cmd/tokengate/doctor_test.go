package main

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tokengate doctor names what is wrong with a real server and a real Envoy, and nothing else.
func TestDoctor(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{noGate: true})
	good := read(t, r.config)
	total := 0 // checks of a site that uses a header
	for _, c := range doctorChecks {
		if !c.pat {
			total++
		}
	}
	// says runs the checks and compares those that are not ok: their results and a part of their texts.
	says := func(when string, want ...string) {
		t.Helper()
		stdout, stderr, code := command(t, "", "", "doctor", "--config", r.config, "--output", "json")
		var answer struct{ Checks []finding }
		if err := json.Unmarshal([]byte(stdout), &answer); err != nil || len(answer.Checks) != total {
			t.Fatalf("%s: %v in %s", when, err, stdout)
		}
		var got []string
		wrong := false
		for _, f := range answer.Checks {
			if f.Result == "ok" {
				continue
			}
			wrong = wrong || f.Result == "wrong"
			if (f.Advice != "") != (f.Result == "wrong") {
				t.Errorf("%s: %+v", when, f)
			}
			text := f.Check + " " + f.Result + ": " + f.Found
			for _, w := range want {
				if name, part, _ := strings.Cut(w, ": "); strings.HasPrefix(text, name+": ") && strings.Contains(f.Found, part) {
					text = w
				}
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		if (code == exitFailed) != wrong || code == exitUsage || wrong != strings.Contains(stderr, "checks failed") {
			t.Errorf("%s: exit %d: %s", when, code, stderr)
		}
	}
	chmod := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}

	const noReload, noEnvoy = "reload unknown: not checked", "Envoy's configuration unknown: not checked"
	says("before the first start", "data directory wrong: does not exist", "listen.grpc wrong: no socket", "listen.http wrong: no socket",
		"listen.admin wrong: no socket", "listen.metrics wrong: no socket", "server wrong: there is no admin socket", noReload, noEnvoy)
	r.startGate()
	r.awaitHealthChecks()
	says("in order")
	stdout, _, code := command(t, "", "", "doctor", "--config", r.config)
	if code != 0 || strings.Count(stdout, "  ok  ") != total {
		t.Errorf("exit %d:\n%s", code, stdout)
	}

	chmod(r.dir+"/g", 0o666)
	chmod(r.dir+"/a", 0o620)
	chmod(r.dir+"/data", 0o777)
	says("other modes", "data directory wrong: has mode 0777", "listen.grpc wrong: has mode 0666, not 0660", "listen.admin wrong: has mode 0620, not 0600")
	chmod(r.dir+"/data", 0o700)

	changed := strings.Replace(good, "header: X-Forwarded-User", "header: X-Remote-User", 1)
	r.write(changed)
	r.gate.signal(syscall.SIGHUP)
	r.gate.waitFor("the configuration file was refused")
	says("a change that needs a restart", "listen.grpc wrong: mode", "listen.admin wrong: mode", "reload wrong: a change of upstream.identity needs a restart")
	r.restartGate(changed)
	r.awaitHealthChecks()
	says("an Envoy of other settings", "Envoy's configuration wrong: out of date")
	stdout, _, _ = command(t, "", "", "doctor", "--config", r.config)
	if !strings.Contains(stdout, "(envoy.bypass)") || !strings.Contains(stdout, "→ Generate it again with tokengate envoy bootstrap") {
		t.Errorf("the text does not say what an outdated Envoy costs and what to do:\n%s", stdout)
	}
	r.restartGate(good)
	r.awaitHealthChecks()
	says("after a restart")

	if err := r.gate.stop(); err != nil {
		t.Error(err)
	}
	says("stopped", "server wrong: no server listens on the admin socket", noReload, noEnvoy)
	r.envoy.Stop()
	r.startGate()
	says("without Envoy", "Envoy's configuration wrong: no Envoy")
	const no = " unknown: not checked"
	r.write(good + "\nnetwrok: {}\n")
	says("a bad file", "configuration wrong: netwrok: unknown key", "data directory"+no, "listen.grpc"+no, "listen.http"+no,
		"listen.admin"+no, "listen.metrics"+no, "server"+no, noReload, noEnvoy)
}
