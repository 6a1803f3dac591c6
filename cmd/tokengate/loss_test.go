package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The store has gone back to before a token was revoked: the server does not
// start, says why and what to do, and changes no file. With the loss accepted it
// starts with what is there.
func TestStoreThatWentBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	if log := r.gate.log.String(); !strings.Contains(log, "a new store was made") || !strings.Contains(log, `"msg":"the tokens are loaded","tokens":0`) {
		t.Errorf("the log of the first start is %s", log)
	}
	value, kept := r.mint("revoked"), r.mint("kept")
	stop := func() {
		t.Helper()
		if err := r.gate.stop(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	manifest := filepath.Join(r.dir, "data", "MANIFEST")
	before, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	r.startGate()
	if log := r.gate.log.String(); !strings.Contains(log, `"msg":"the tokens are loaded","tokens":2`) || strings.Contains(log, "a new store was made") {
		t.Errorf("the log of a start is %s", log)
	}
	r.run("token", "revoke", value.ID().String())
	stop()
	after, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string][]byte{
		"three bytes cut": after[:len(after)-3],
		"an older one":    before,
	} {
		write(t, manifest, string(content))
		p := start(t, "serve", "--config", r.config)
		code := p.exitCode()
		log := p.log.String()
		if code != 1 {
			t.Errorf("%s: exit %d", what, code)
		}
		for _, words := range []string{"acknowledged changes are missing", "MANIFEST is older or shorter", "restore the whole directory from a backup", "--accept-loss"} {
			if !strings.Contains(log, words) {
				t.Errorf("%s: the log does not say %q: %s", what, words, log)
			}
		}
		if strings.Contains(log, "panic") || strings.Contains(log, "is ready") {
			t.Errorf("%s: the log is %s", what, log)
		}
		if now, err := os.ReadFile(manifest); err != nil || string(now) != string(content) {
			t.Errorf("%s: MANIFEST was changed (error %v)", what, err)
		}
	}
	r.gate = start(t, "serve", "--config", r.config, "--accept-loss")
	r.gate.waitFor("loss accepted: MANIFEST is older or shorter")
	r.gate.waitFor(`"tokengate is ready"`)
	if got := r.send(request{auth: bearer(kept)}); got.status != 200 {
		t.Errorf("a token that was kept: status %d", got.status)
	}
	if got := r.send(request{auth: bearer(value)}); got.status != 401 {
		t.Errorf("the revoked token, whose record was found in a table: status %d", got.status)
	}
	stop()
	r.startGate()
	stop()
}

// The only table is broken: the log says that everything is lost, names the folder
// of the kept files, and warns for as long as the flag stays set.
func TestStoreThatIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	const flagSet = "--accept-loss is set and nothing was lost"
	value := r.mint("1")
	for _, name := range []string{"2", "3", "4", "5", "6"} {
		r.mint(name)
	}
	r.run("token", "revoke", value.ID().String())
	stop := func() {
		t.Helper()
		if err := r.gate.stop(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	tables, err := filepath.Glob(filepath.Join(r.dir, "data", "*.sst"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("tables %v, error %v", tables, err)
	}
	write(t, tables[0], strings.Repeat("x", 100))

	acceptLoss := func() {
		t.Helper()
		r.gate = start(t, "serve", "--config", r.config, "--accept-loss")
		r.gate.waitFor(`"tokengate is ready"`)
	}
	acceptLoss()
	log := r.gate.log.String()
	for _, words := range []string{
		"lost: the changes up to number 7 were acknowledged, but all their records are missing",
		"are kept in " + filepath.Join(r.dir, "data", "tokengate.lost-"),
		`"msg":"the tokens are loaded","tokens":0`,
	} {
		if !strings.Contains(log, words) {
			t.Errorf("the log does not say %q: %s", words, log)
		}
	}
	for _, words := range []string{"MANIFEST is older", "acknowledged changes are there", flagSet} {
		if strings.Contains(log, words) {
			t.Errorf("the log says %q: %s", words, log)
		}
	}
	stop()
	acceptLoss()
	if log := r.gate.log.String(); !strings.Contains(log, flagSet) {
		t.Errorf("the log does not warn of the flag: %s", log)
	}
	stop()
	r.startGate()
	if strings.Contains(r.gate.log.String(), flagSet) {
		t.Error("a start without the flag warns of it")
	}
	stop()
}
