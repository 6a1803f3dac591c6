package web_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/backup"
)

// An operator gets a backup on the admin socket, with the record of that. Elsewhere nobody gets one.
func TestBackup(t *testing.T) {
	f := newFixture(t)
	f.create(t, "fred", "ci")
	admin := f.management(t, "robots", "").PasswordValue
	for _, path := range []string{base + "/backup", "/rest/api-tokens/1.0/backup"} {
		denied(t, f.from("192.0.2.7", "Bearer "+admin).send(t, "POST", path, nil), 405, "")
	}
	denied(t, f.send(t, "GET", base+"/backup", nil), 405, "")
	// Not by send: a backup holds hashes, and is not in the description, which is for the other listener.
	got, err := f.client.Do(newRequest(t, "POST", base+"/backup", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if h := got.Header; got.StatusCode != 200 || h.Get("Content-Type") != "application/octet-stream" || h.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", got.StatusCode, h)
	}
	content, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := backup.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c, err := backup.Count(t.Context(), file.Records, f.clock())
	if err != nil || c.Active != 2 || c.Of[store.AuditRecord] != 3 || file.Made.Sub(f.clock()).Abs() > time.Second {
		t.Errorf("counts %+v, made at %v, error %v", c, file.Made, err)
	}
	log, err := f.tokens.AuditLog(t.Context(), 0, 1)
	if err != nil || log[0].Action != "store.backup" || log[0].Outcome != "done" || log[0].From != "admin socket" {
		t.Errorf("the audit log is %+v, error %v", log, err)
	}
}
