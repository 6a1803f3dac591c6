package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/seal"
)

// keyFile writes a key of 32 bytes that all differ from those of another number.
func keyFile(t *testing.T, number byte) string {
	t.Helper()
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i) ^ number<<3
	}
	return write(t, fmt.Sprintf("key%d", number), key, 0o400)
}

func write(t *testing.T, name string, content []byte, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return file
}

func readKeys(t *testing.T, files ...string) *seal.Keys {
	t.Helper()
	k, err := seal.ReadKeys(files)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var (
	secret = []byte("NDIxMjM0NTY3ODkwOtq2N8+S3cr3tValu3ForTests00")
	fred   = seal.Context{Site: "https://jira.example.com", User: "JIRAUSER10100", Credential: "abcdefghijkl"}
)

func TestSeal(t *testing.T) {
	first, second := keyFile(t, 1), keyFile(t, 2)
	old := readKeys(t, first)
	sealed, err := old.Seal(secret, fred)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, secret[:8]) {
		t.Error("the sealed form contains the secret")
	}
	again, err := old.Seal(secret, fred)
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("sealing twice gives the same bytes (error %v)", err)
	}
	rotated := readKeys(t, second, first)
	if got := rotated.Files(); !slices.Equal(got, []string{second, first}) {
		t.Errorf("the files are %q", got)
	}
	for name, k := range map[string]*seal.Keys{"the same key": old, "an old key beside the current one": rotated} {
		if opened, err := k.Open(sealed, fred); err != nil || !bytes.Equal(opened, secret) {
			t.Errorf("%s: opened %d bytes, error %v", name, len(opened), err)
		}
	}
	id, ok := seal.KeyOf(sealed)
	if !ok || id != old.Current() || id == rotated.Current() {
		t.Errorf("the sealed form names key %v (%v), want %v", id, ok, old.Current())
	}
	_, err = readKeys(t, second).Open(sealed, fred)
	if !errors.Is(err, seal.ErrNoKey) || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("without the key: error %v", err)
	}
	if _, err := new(seal.Keys).Seal(secret, fred); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("zero Keys: error %v", err)
	}
	if _, err := new(seal.Keys).Open(sealed, fred); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("zero Keys: error %v", err)
	}
}

// TestMovedRecord checks that a sealed secret opens nowhere else, and no changed byte
// or length goes unnoticed.
func TestMovedRecord(t *testing.T) {
	k := readKeys(t, keyFile(t, 1), keyFile(t, 2))
	sealed, err := k.Seal(secret, fred)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]seal.Context{
		"another user":       {Site: fred.Site, User: "JIRAUSER10101", Credential: fred.Credential},
		"another site":       {Site: "https://jira2.example.com", User: fred.User, Credential: fred.Credential},
		"another credential": {Site: fred.Site, User: fred.User, Credential: "abcdefghijkm"},
		"shifted parts":      {Site: fred.Site + "J", User: fred.User[1:], Credential: fred.Credential},
		"nothing":            {},
	} {
		if opened, err := k.Open(sealed, c); !errors.Is(err, seal.ErrDamaged) || opened != nil {
			t.Errorf("%s: opened %d bytes, error %v", name, len(opened), err)
		}
	}
	for at := range sealed {
		changed := bytes.Clone(sealed)
		changed[at] ^= 1
		if opened, err := k.Open(changed, fred); err == nil || opened != nil {
			t.Fatalf("byte %d changed: opened", at)
		}
		if opened, err := k.Open(sealed[:at], fred); err == nil || opened != nil {
			t.Fatalf("cut at %d: opened", at)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	good := keyFile(t, 1)
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"none":         {nil, "no file is given"},
		"missing":      {[]string{good, filepath.Join(t.TempDir(), "gone")}, "no such file"},
		"short":        {[]string{write(t, "short", secret[:31], 0o400)}, "has 31 bytes, not 32"},
		"with newline": {[]string{write(t, "newline", append(bytes.Clone(secret[:32]), '\n'), 0o400)}, "has 33 bytes, not 32"},
		"zeros":        {[]string{write(t, "zeros", make([]byte, 32), 0o400)}, "not random"},
		"for others":   {[]string{write(t, "others", secret[:32], 0o404)}, "mode 0404"},
		"group writes": {[]string{write(t, "group", secret[:32], 0o460)}, "mode 0460"},
		"a folder":     {[]string{t.TempDir()}, "is not a file"},
		"twice":        {[]string{good, keyFile(t, 1)}, "the key of another file"},
	} {
		k, err := seal.ReadKeys(c.files)
		if k != nil || !errors.Is(err, seal.ErrKeyFile) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), string(secret[:8])) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	if _, err := seal.ReadKeys([]string{write(t, "secret volume", secret[:32], 0o440)}); err != nil {
		t.Errorf("a file of a Kubernetes secret: %v", err)
	}
}

// TestKeysPrint checks that no verb prints a key.
func TestKeysPrint(t *testing.T) {
	k := readKeys(t, keyFile(t, 1))
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s", k, k, k, k)} {
		if !strings.Contains(text, k.Current().String()) || len(text) > 200 {
			t.Errorf("printed as %q", text)
		}
	}
}
