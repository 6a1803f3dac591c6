package envoytest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Envoy is a Process that belongs to a test: errors fail the test.
type Envoy struct {
	*Process
	t testing.TB
}

// Start runs Envoy with this bootstrap until the test ends, and returns when it is
// ready. If Envoy exits earlier or with an error, the test fails and shows its log.
func Start(t testing.TB, bootstrap []byte) *Envoy {
	t.Helper()
	p, err := Run(mustBinary(t), bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	e := &Envoy{Process: p, t: t}
	t.Cleanup(e.Stop)
	return e
}

// Stop stops Envoy before the end of the test.
func (e *Envoy) Stop() {
	e.t.Helper()
	if err := e.Process.Stop(); err != nil {
		e.t.Errorf("%v\n%s", err, e.Log())
	}
}

// Admin fetches a path of the administration interface.
func (e *Envoy) Admin(path string) []byte {
	e.t.Helper()
	b, err := e.Process.Admin(path)
	if err != nil {
		e.t.Fatal(err)
	}
	return b
}

// Stats returns Envoy's counters and gauges by name. A missing one is 0.
func (e *Envoy) Stats() map[string]uint64 {
	e.t.Helper()
	s, err := e.Process.Stats()
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

// AccessLog waits up to ten seconds for an access log entry that match accepts, and
// returns it. Entries are JSON objects, one per line of Envoy's standard output,
// written shortly after the response.
func (e *Envoy) AccessLog(match func(entry map[string]any) bool) map[string]any {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var found map[string]any
	err := e.stdout.wait(ctx, func(s string) bool {
		for line := range strings.Lines(s) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) == nil && match(entry) {
				found = entry
				return true
			}
		}
		return false
	})
	if err != nil {
		e.t.Fatalf("no such entry in envoy's access log:\n%s", e.Output())
	}
	return found
}

// Validate runs Envoy's validation of this bootstrap and returns its log. An invalid
// bootstrap fails the test.
func Validate(t testing.TB, bootstrap []byte) string {
	t.Helper()
	dir, file, err := writeConfig(bootstrap)
	if err != nil {
		t.Fatalf("validate envoy bootstrap: %v", err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, mustBinary(t), "--mode", "validate", "-c", file).CombinedOutput()
	if err != nil {
		t.Fatalf("envoy refuses the bootstrap: %v\n%s", err, out)
	}
	return string(out)
}

// Dir makes a temporary directory for the test. Unlike testing.T.TempDir's, its path
// is short enough for unix sockets.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func mustBinary(t testing.TB) string {
	t.Helper()
	path, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// BinaryEnv names the environment variable that holds another Envoy's path.
const BinaryEnv = "TOKENGATE_ENVOY"

// Binary returns the path of Envoy: $TOKENGATE_ENVOY, or .tools/envoy (see make
// tools) in the working directory or the nearest directory above it.
func Binary() (string, error) {
	if path := os.Getenv(BinaryEnv); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("find envoy by %s: %w", BinaryEnv, err)
		}
		return path, nil
	}
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find envoy: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, ".tools", "envoy")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find envoy: no .tools/envoy in %s or above it: run `make tools`, or set %s", start, BinaryEnv)
		}
	}
}
