package main

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokengate/tokengate/authz/config"
)

func TestReload(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	good := read(t, r.config)
	value := r.mint("reload")
	load := startLoad(r, request{auth: bearer(value)})

	// A signal reloads immediately. The log line says that the new file is in force.
	r.write(withoutKey(t, good, "network") + "\nnetwork: {deny: [10.0.0.0/8]}\n")
	r.gate.signal(syscall.SIGHUP)
	r.gate.waitFor("the configuration file was reloaded")
	if got := r.send(request{auth: bearer(value)}); got.status != 403 {
		t.Errorf("a denied network after the reload: %d", got.status)
	}
	// Without a signal the change is noticed.
	r.write(good)
	r.gate.waitFor("the configuration file was reloaded")
	if got := r.send(request{auth: bearer(value)}); got.status != 200 {
		t.Errorf("after the second reload: %d", got.status)
	}
	if !r.hasMetric(`tokengate_config_reloads_total{result="applied"} 2`) || !r.hasMetric("tokengate_config_last_reload_successful 1") {
		t.Error("the metrics do not show two reloads")
	}

	for name, c := range map[string]struct{ file, logged string }{
		"unknown key":  {good + "\nnetwrok: {deny: [10.0.0.0/8]}\n", "netwrok: unknown key"},
		"half a file":  {good[:len(good)/2] + "\n  :", "tokengate.yaml:"},
		"empty file":   {"", "tokengate.yaml:"},
		"fixed key":    {strings.Replace(good, "header: X-Forwarded-User", "header: X-Remote-User", 1), "upstream.identity"},
		"fixed listen": {strings.Replace(good, r.dir+"/g", r.dir+"/g2", 1), "listen"},
	} {
		r.write(c.file)
		r.gate.signal(syscall.SIGHUP)
		line := r.gate.waitFor("the configuration file was refused")
		if !strings.Contains(line, c.logged) {
			t.Errorf("%s: logged %s, want %s named", name, line, c.logged)
		}
		if got := r.send(request{auth: bearer(value)}); got.status != 200 {
			t.Errorf("%s: the old configuration is gone: %d", name, got.status)
		}
		if !r.hasMetric("tokengate_config_last_reload_successful 0") {
			t.Errorf("%s: the metric does not say that the file was refused", name)
		}
	}
	if err := os.Remove(r.config); err != nil {
		t.Fatal(err)
	}
	r.gate.waitFor("the configuration file was refused")
	r.write(good)
	r.gate.waitFor("the configuration file was reloaded")
	for status, n := range load.stop().total() {
		if status != 200 && status != 403 {
			t.Errorf("%d requests got %d while the file was reloaded", n, status)
		}
	}
}

// The log level follows the configuration.
func TestLogLevelIsReloaded(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	good := read(t, r.config)
	quiet, loud := r.mint("quiet"), r.mint("loud")
	r.write(good + "\nlog: {level: error}\n")
	r.gate.signal(syscall.SIGHUP)
	r.until("the reload", func() bool { return r.hasMetric(`tokengate_config_reloads_total{result="applied"} 1`) })
	for range 3 {
		r.send(request{auth: bearer(quiet)})
		r.send(request{auth: "Basic !"})
	}
	r.write(good)
	r.gate.signal(syscall.SIGHUP)
	r.gate.waitFor("the configuration file was reloaded")
	if text := r.gate.log.String(); strings.Contains(text, "authenticated via API Token ("+quiet.ID().String()) || strings.Contains(text, "request denied") {
		t.Errorf("at level error tokengate logged:\n%s", text)
	}
	r.send(request{auth: bearer(loud)})
	r.gate.waitFor("authenticated via API Token (" + loud.ID().String())
}

// A half-written file is not applied: a change counts only when two reads in a row find
// the same file.
func TestHalfAFileIsNotApplied(t *testing.T) {
	t.Parallel()
	const end = "\nnetwork: {deny: [10.0.0.0/8]}\n"
	var half string
	r := newRig(t, options{settings: func(yaml string) string {
		half = withoutKey(t, yaml, "network")
		return half + end
	}})
	if _, err := config.Parse("half", []byte(half)); err != nil {
		t.Fatalf("half a file is no good file, so this test says nothing: %v", err)
	}
	value := r.mint("half")
	refused := func() {
		t.Helper()
		if got := r.send(request{auth: bearer(value)}); got.status != http.StatusForbidden {
			t.Errorf("status %d from a denied network", got.status)
		}
	}
	looks := watchReads(t, r.config)
	refused()
	r.write(half)
	looks.next() // tokengate has seen the half file
	began := time.Now()
	for range 5 {
		refused()
	}
	file, err := os.OpenFile(r.config, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(end); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Skipf("five requests took %v, so the half file may have stood still for two looks", took)
	}
	for range 2 {
		looks.next()
		refused()
	}
	for _, result := range []string{"applied", "refused"} {
		if !r.hasMetric(`tokengate_config_reloads_total{result="` + result + `"} 0`) {
			t.Errorf("a reload was %s", result)
		}
	}
}

// reads reports when a file has been read.
type reads struct {
	t    *testing.T
	file *os.File // inotify
}

func watchReads(t *testing.T, path string) *reads {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	t.Cleanup(func() { file.Close() })
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_NOWRITE); err != nil {
		t.Fatal(err)
	}
	return &reads{t, file}
}

// next waits until the file is read again.
func (r *reads) next() {
	r.t.Helper()
	var events [4096]byte
	wait := func(until time.Time) error {
		if err := r.file.SetReadDeadline(until); err != nil {
			r.t.Fatal(err)
		}
		_, err := r.file.Read(events[:])
		return err
	}
	for wait(time.Now().Add(time.Millisecond)) == nil { // what was read before
	}
	if err := wait(time.Now().Add(waitTime)); err != nil {
		r.t.Fatalf("tokengate did not look at its configuration file: %v", err)
	}
}

// Envoy's health checks tell tokengate from which settings Envoy's configuration was generated.
func TestOutdatedEnvoyIsReported(t *testing.T) {
	t.Parallel()
	const warning, outdated = "Envoy's configuration is out of date", "tokengate_envoy_configuration_outdated 1"
	r := newRig(t, options{})
	good := read(t, r.config)
	r.awaitHealthChecks()
	if r.hasMetric(outdated) || strings.Contains(r.gate.log.String(), warning) {
		t.Error("Envoy's configuration was not generated from tokengate's")
	}
	r.restartGate(strings.Replace(good, "header: X-Forwarded-User", "header: X-Remote-User", 1))
	r.gate.waitFor(warning)
	if r.awaitHealthChecks(); !r.hasMetric(outdated) {
		t.Error("no metric says so")
	}
	if n := strings.Count(r.gate.log.String(), warning); n != 1 {
		t.Errorf("%d warnings", n)
	}
	r.restartGate(good)
	if r.awaitHealthChecks(); r.hasMetric(outdated) {
		t.Error("the metric stays")
	}
}
