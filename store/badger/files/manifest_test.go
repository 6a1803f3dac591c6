package files

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFollows checks that a MANIFEST follows its own state, a shorter one, and after a rewrite
// one with lower table ids.
func TestFollows(t *testing.T) {
	written := func(ids ...uint64) Manifest {
		t.Helper()
		dir := t.TempDir()
		tables := make(map[uint64]Entry)
		for _, id := range ids {
			tables[id] = Entry{}
		}
		if err := WriteManifest(dir, tables); err != nil {
			t.Fatal(err)
		}
		m, err := ReadManifest(dir, true)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Tables) != len(ids) {
			t.Fatalf("tables %v, want %v", m.Tables, ids)
		}
		return m
	}
	longer := func(m Manifest) Manifest {
		m.data = append(m.data[:len(m.data):len(m.data)], "another change"...)
		return m
	}
	one, two, three := written(1), written(2), written(3)
	for name, c := range map[string]struct {
		m, before Manifest
		want      bool
	}{
		"the same":                        {two, two, true},
		"longer":                          {longer(two), two, true},
		"shorter":                         {two, longer(two), false},
		"another of the same table":       {written(1, 2), two, false},
		"a longer one, of the same table": {longer(written(1, 2)), two, false},
		"anew, with a higher table":       {three, longer(two), true},
		"with a lower table":              {one, two, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.m.Follows(c.before.Mark()); got != c.want {
				t.Errorf("follows is %v, want %v", got, c.want)
			}
		})
	}
}

// TestReplaceFails checks that a failed Replace keeps the old file and leaves no other.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("new")); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left: %v (error %v)", entries, err)
	}
	path = filepath.Join(dir, "file2")
	for _, content := range []string{"old", "new"} {
		if err := Replace(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("content %q, error %v", got, err)
		}
	}
}
