package badger_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/storetest"
)

// site is a data directory whose store has acknowledged a revocation, with an older copy of it.
type site struct {
	t       *testing.T
	above   string // the directory that holds both
	dir     string
	older   string
	revoked []string // tokens
	active  []string
}

// newSite creates a store with two tables. A crashed one also has a log with the last revocation,
// as after kill -9.
func newSite(t *testing.T, crashed bool) *site {
	t.Helper()
	above := t.TempDir()
	s := &site{t: t, above: above, dir: filepath.Join(above, "data"), older: filepath.Join(t.TempDir(), "older")}
	token := func(n int) string { return storetest.NewToken(n, "fred").ID }
	db := open(t, s.dir)
	create(t, db, storetest.NewToken(1, "fred"))
	create(t, db, storetest.NewToken(2, "fred"))
	closeStore(t, db)
	s.copyTo(s.older)

	db = open(t, s.dir)
	create(t, db, storetest.NewToken(3, "fred"))
	s.revoke(db, token(1))
	s.revoked, s.active = []string{token(1)}, []string{token(2), token(3)}
	if !crashed {
		closeStore(t, db)
		return s
	}
	closeStore(t, db)
	db = open(t, s.dir)
	create(t, db, storetest.NewToken(4, "fred"))
	s.revoke(db, token(2))
	s.revoked, s.active = []string{token(1), token(2)}, []string{token(3), token(4)}
	image := filepath.Join(t.TempDir(), "image")
	s.copyTo(image)
	closeStore(t, db)
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.dir, os.DirFS(image)); err != nil {
		t.Fatal(err)
	}
	return s
}

// clone returns a copy of the site for another test.
func (s *site) clone(t *testing.T) *site {
	t.Helper()
	c := *s
	c.t, c.above = t, t.TempDir()
	c.dir = filepath.Join(c.above, "data")
	from := *s
	from.t = t
	from.copyTo(c.dir)
	write(t, c.dir+".tokengate", read(t, s.dir+".tokengate"))
	return &c
}

func closeStore(t *testing.T, db *badger.Store) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s *site) revoke(db *badger.Store, id string) {
	s.t.Helper()
	if err := revoke(s.t.Context(), db, id); err != nil {
		s.t.Fatal(err)
	}
}

// copyTo copies the data directory without the reserved space.
func (s *site) copyTo(to string) {
	s.t.Helper()
	if err := os.Mkdir(to, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for _, path := range s.files("*") {
		if filepath.Base(path) == "tokengate.reserve" {
			continue
		}
		write(s.t, filepath.Join(to, filepath.Base(path)), read(s.t, path))
	}
}

// files returns the paths in the data directory that match the pattern, at least one.
func (s *site) files(pattern string) []string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, pattern))
	if err != nil || len(found) == 0 {
		s.t.Fatalf("no file is %s in %s (error %v)", pattern, s.dir, err)
	}
	return found
}

func (s *site) remove(pattern string) {
	s.t.Helper()
	for _, path := range s.files(pattern) {
		if err := os.RemoveAll(path); err != nil {
			s.t.Fatal(err)
		}
	}
}

// change changes the content of files.
func (s *site) change(pattern string, how func([]byte) []byte) {
	s.t.Helper()
	for _, path := range s.files(pattern) {
		write(s.t, path, how(read(s.t, path)))
	}
}

// fromOlder replaces files with those of the older copy.
func (s *site) fromOlder(pattern string) {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.older, pattern))
	if err != nil || len(found) == 0 {
		s.t.Fatalf("no file is %s in the older copy (error %v)", pattern, err)
	}
	for _, path := range found {
		write(s.t, filepath.Join(s.dir, filepath.Base(path)), read(s.t, path))
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// content returns the content of all files in the data directory's parent, by path.
func (s *site) content() map[string]string {
	s.t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(s.above, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := ""
		if info.Mode().IsRegular() {
			h := sha256.Sum256(read(s.t, path))
			sum = hex.EncodeToString(h[:])
		}
		all[path] = fmt.Sprint(info.Mode(), sum)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

func cut(n int) func([]byte) []byte    { return func(b []byte) []byte { return b[:max(len(b)-n, 0)] } }
func first(n int) func([]byte) []byte  { return func(b []byte) []byte { return b[:min(len(b), n)] } }
func half(b []byte) []byte             { return b[:len(b)/2] }
func zeroed(b []byte) []byte           { return make([]byte, len(b)) }
func flip(at int) func([]byte) []byte  { return func(b []byte) []byte { b[at] ^= 1; return b } }
func garbage(b []byte) []byte          { rand.Read(b); return b }
func emptied([]byte) []byte            { return nil }
func logEnd(b []byte) int              { return len(bytes.TrimRight(b, "\x00")) }
func withoutRest(b []byte) []byte      { return b[:logEnd(b)] }
func cutLog(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:logEnd(b)-n] } }

// TestDamagedDirectory checks that each kind of damage is either refused, without changing the
// directory, or harmless.
func TestDamagedDirectory(t *testing.T) {
	t.Parallel()
	stopped, crashed := newSite(t, false), newSite(t, true)
	for name, c := range map[string]struct {
		crashed bool // the store was killed, and has a log
		do      func(*site)
		want    error // nil: harmless
		says    string
	}{
		"MANIFEST, three bytes cut":          {do: func(s *site) { s.change("MANIFEST", cut(3)) }, want: badger.ErrLost, says: "MANIFEST is older or shorter"},
		"MANIFEST, three bytes cut, crashed": {crashed: true, do: func(s *site) { s.change("MANIFEST", cut(3)) }, want: badger.ErrLost, says: "MANIFEST is older or shorter"},
		"MANIFEST, an older one":             {do: func(s *site) { s.fromOlder("MANIFEST") }, want: badger.ErrLost, says: "MANIFEST is older or shorter"},
		"MANIFEST, an older one, crashed":    {crashed: true, do: func(s *site) { s.fromOlder("MANIFEST") }, want: badger.ErrLost, says: "MANIFEST is older or shorter"},
		"MANIFEST, none":                     {do: func(s *site) { s.remove("MANIFEST") }, want: badger.ErrDamaged, says: "no MANIFEST"},
		"MANIFEST, none, crashed":            {crashed: true, do: func(s *site) { s.remove("MANIFEST") }, want: badger.ErrDamaged, says: "no MANIFEST"},
		"MANIFEST, zeroed":                   {do: func(s *site) { s.change("MANIFEST", zeroed) }, want: badger.ErrDamaged, says: "MANIFEST"},
		"MANIFEST, empty":                    {do: func(s *site) { s.change("MANIFEST", emptied) }, want: badger.ErrDamaged, says: "MANIFEST"},
		"MANIFEST, a bit":                    {do: func(s *site) { s.change("MANIFEST", flip(30)) }, want: badger.ErrDamaged, says: "MANIFEST"},
		"MANIFEST, only its head":            {do: func(s *site) { s.change("MANIFEST", first(8)) }, want: badger.ErrLost, says: "MANIFEST is older or shorter"},

		"a table, none":             {do: func(s *site) { s.remove("000002.sst") }, want: badger.ErrDamaged, says: "000002.sst is missing"},
		"all tables, none":          {do: func(s *site) { s.remove("*.sst") }, want: badger.ErrDamaged, says: "000001.sst is missing"},
		"a table, a bit of a token": {do: func(s *site) { s.change("000002.sst", flip(40)) }, want: badger.ErrDamaged, says: "000002.sst"},
		"a table, a bit of its end": {do: func(s *site) { s.change("000002.sst", func(b []byte) []byte { return flip(len(b) - 1)(b) }) }, want: badger.ErrDamaged, says: "000002.sst"},
		"a table, zeroed":           {do: func(s *site) { s.change("000002.sst", zeroed) }, want: badger.ErrDamaged, says: "000002.sst"},
		"a table, half":             {do: func(s *site) { s.change("000002.sst", half) }, want: badger.ErrDamaged, says: "000002.sst"},
		"a table, empty":            {do: func(s *site) { s.change("000002.sst", emptied) }, want: badger.ErrDamaged, says: "000002.sst"},
		"a table, garbage":          {do: func(s *site) { s.change("000002.sst", garbage) }, want: badger.ErrDamaged, says: "000002.sst"},
		"a table, another's":        {do: func(s *site) { write(s.t, s.dir+"/000002.sst", read(s.t, s.dir+"/000001.sst")) }, want: badger.ErrLost, says: "the records of"},
		"a table that is not named": {do: func(s *site) { write(s.t, s.dir+"/000009.sst", read(s.t, s.dir+"/000001.sst")) }},

		"the log, none":        {crashed: true, do: func(s *site) { s.remove("*.mem") }, want: badger.ErrLost, says: "2 of them (5 to 6)"},
		"the log, zeroed":      {crashed: true, do: func(s *site) { s.change("*.mem", zeroed) }, want: badger.ErrLost, says: "2 of them (5 to 6)"},
		"the log, empty":       {crashed: true, do: func(s *site) { s.change("*.mem", emptied) }, want: badger.ErrLost, says: "2 of them (5 to 6)"},
		"the log, a few bytes": {crashed: true, do: func(s *site) { s.change("*.mem", first(10)) }, want: badger.ErrLost, says: "2 of them (5 to 6)"},
		"the log, a bit near its end": {crashed: true, do: func(s *site) {
			s.change("*.mem", func(b []byte) []byte { return flip(logEnd(b) - 30)(b) })
		}, want: badger.ErrLost, says: "1 of them (6)"},
		"the log, a bit near its begin": {crashed: true, do: func(s *site) { s.change("*.mem", flip(60)) }, want: badger.ErrLost, says: "2 of them (5 to 6)"},
		"the log, three bytes cut":      {crashed: true, do: func(s *site) { s.change("*.mem", cutLog(3)) }, want: badger.ErrLost, says: "1 of them (6)"},
		"the log, garbage":              {crashed: true, do: func(s *site) { s.change("*.mem", garbage) }, want: badger.ErrDamaged, says: "does not start like a log"},
		"the log, without its rest":     {crashed: true, do: func(s *site) { s.change("*.mem", withoutRest) }},
		"nothing, crashed":              {crashed: true, do: func(*site) {}},
		"a second log, empty":           {crashed: true, do: func(s *site) { write(s.t, s.dir+"/00099.mem", nil) }},

		"the value log, none":        {do: func(s *site) { s.remove("*.vlog") }},
		"the value log, zeroed":      {do: func(s *site) { s.change("*.vlog", zeroed) }},
		"the value log, empty":       {do: func(s *site) { s.change("*.vlog", emptied) }},
		"the value log, a few bytes": {do: func(s *site) { s.change("*.vlog", first(10)) }},
		"the value log, garbage":     {do: func(s *site) { s.change("*.vlog", func(b []byte) []byte { return garbage(make([]byte, 100)) }) }, want: badger.ErrDamaged, says: "does not start like a log"},

		"KEYREGISTRY, none":    {do: func(s *site) { s.remove("KEYREGISTRY") }},
		"KEYREGISTRY, zeroed":  {do: func(s *site) { s.change("KEYREGISTRY", zeroed) }, want: badger.ErrDamaged, says: "KEYREGISTRY"},
		"KEYREGISTRY, cut":     {do: func(s *site) { s.change("KEYREGISTRY", cut(3)) }, want: badger.ErrDamaged, says: "KEYREGISTRY"},
		"KEYREGISTRY, empty":   {do: func(s *site) { s.change("KEYREGISTRY", emptied) }, want: badger.ErrDamaged, says: "KEYREGISTRY"},
		"DISCARD, none":        {do: func(s *site) { s.remove("DISCARD") }},
		"DISCARD, zeroed":      {do: func(s *site) { s.change("DISCARD", zeroed) }},
		"DISCARD, garbage":     {do: func(s *site) { s.change("DISCARD", garbage) }},
		"DISCARD, a few bytes": {do: func(s *site) { s.change("DISCARD", first(10)) }},
		"LOCK, of another":     {do: func(s *site) { write(s.t, s.dir+"/LOCK", []byte("1\n")) }},
		"LOCK, none":           {do: func(*site) {}}, // and no reserve: a copy has neither

		"the sequence, none":          {do: func(s *site) { s.remove("tokengate.sequence") }, want: badger.ErrDamaged, says: "tokengate.sequence is missing"},
		"the sequence, zeroed":        {do: func(s *site) { s.change("tokengate.sequence", zeroed) }, want: badger.ErrDamaged, says: "tokengate.sequence is damaged"},
		"the sequence, empty":         {do: func(s *site) { s.change("tokengate.sequence", emptied) }, want: badger.ErrDamaged, says: "tokengate.sequence is damaged"},
		"the sequence, none, crashed": {crashed: true, do: func(s *site) { s.remove("tokengate.sequence") }, want: badger.ErrDamaged, says: "tokengate.sequence is missing"},
		"the sequence, its newest slot, and the log's end": {crashed: true, do: func(s *site) {
			s.change("*.mem", cutLog(3))
			s.change("tokengate.sequence", func(b []byte) []byte { return flip(newestSlot(b) + 20)(b) })
		}, want: badger.ErrDamaged, says: "tokengate.sequence is damaged"},
		"the sequence, its newest slot zeroed, and the log's end": {crashed: true, do: func(s *site) {
			s.change("*.mem", cutLog(3))
			s.change("tokengate.sequence", func(b []byte) []byte { clear(b[newestSlot(b):][:512]); return b })
		}, want: badger.ErrDamaged, says: "tokengate.sequence is damaged"},
		"the usage, none":              {do: func(s *site) { s.remove("tokengate.usage") }},
		"the usage, zeroed":            {do: func(s *site) { s.change("tokengate.usage", zeroed) }},
		"the usage, garbage":           {do: func(s *site) { s.change("tokengate.usage", garbage) }},
		"the usage, half":              {crashed: true, do: func(s *site) { s.change("tokengate.usage", half) }},
		"the usage, a new one begun":   {do: func(s *site) { write(s.t, s.dir+"/tokengate.usage.new-1", nil) }},
		"everything but the sequence":  {do: func(s *site) { keepOnly(s, "tokengate.sequence") }, want: badger.ErrLost, says: "only tokengate.sequence is left"},
		"everything":                   {do: func(s *site) { s.remove("*") }, want: badger.ErrLost, says: "is the disk mounted?"},
		"the directory":                {do: func(s *site) { s.remove("") }, want: badger.ErrLost, says: "is the disk mounted?"},
		"tables and logs":              {do: func(s *site) { s.remove("*.sst"); s.remove("MANIFEST"); s.remove("*.vlog") }, want: badger.ErrLost, says: "only tokengate.sequence is left"},
		"a database of before":         {do: func(s *site) { keepOnly(s, "tokengate.sequence"); older(s) }, want: badger.ErrLost, says: "the records of 2 of them (3 to 4)"},
		"a database of another server": {do: func(s *site) { keepOnly(s, "tokengate.sequence"); another(s) }, want: badger.ErrLost, says: "the database has identity"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stopped.clone(t)
			if c.crashed {
				s = crashed.clone(t)
			}
			c.do(s)
			if c.want == nil {
				s.wantAll(badger.Options{Dir: s.dir})
				return
			}
			before := s.content()
			for range 2 {
				wantOpenError(t, badger.Options{Dir: s.dir}, c.want, s.dir, c.says, "--accept-loss", "nothing was changed", "backup")
			}
			if diff := cmp.Diff(before, s.content()); diff != "" {
				t.Errorf("the refused start changed files (-before +after):\n%s", diff)
			}
			s.acceptLoss(c.says)
			if strings.HasPrefix(name, "MANIFEST") {
				s.wantAll(badger.Options{Dir: s.dir}) // the tables are there
			}
		})
	}
}

// newestSlot returns the offset of the newer slot of tokengate.sequence. A slot's count follows a
// magic of 8 bytes.
func newestSlot(b []byte) int {
	if bytes.Compare(b[8:16], b[512+8:][:8]) > 0 {
		return 0
	}
	return 512
}

func keepOnly(s *site, name string) {
	for _, path := range s.files("*") {
		if filepath.Base(path) != name {
			if err := os.Remove(path); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// older replaces the database with that of the older copy.
func older(s *site) {
	keep := read(s.t, s.dir+"/tokengate.sequence")
	s.fromOlder("*")
	write(s.t, s.dir+"/tokengate.sequence", keep)
}

// another replaces the database with one that has more changes and tables.
func another(s *site) {
	keep := read(s.t, s.dir+"/tokengate.sequence")
	other := newSite(s.t, true)
	db := open(s.t, other.dir)
	for n := range 10 {
		create(s.t, db, storetest.NewToken(100+n, "wilma"))
	}
	closeStore(s.t, db)
	s.older = other.dir
	for _, pattern := range []string{"MANIFEST", "*.sst", "*.vlog", "KEYREGISTRY"} {
		s.fromOlder(pattern)
	}
	write(s.t, s.dir+"/tokengate.sequence", keep)
}

// wantAll opens the store and checks that all acknowledged changes are in effect.
func (s *site) wantAll(opts badger.Options) {
	s.t.Helper()
	for range 2 { // the second start finds what the first has left
		db, err := badger.Open(s.t.Context(), opts)
		if err != nil {
			s.t.Fatalf("a start after harmless damage is refused: %v", err)
		}
		for _, id := range s.revoked {
			if got, err := db.Get(s.t.Context(), id); err != nil || got.State != store.Revoked {
				s.t.Errorf("%s was revoked and is %v (error %v)", id, got.State, err)
			}
		}
		for _, id := range s.active {
			if got, err := db.Get(s.t.Context(), id); err != nil || got.State != store.Active {
				s.t.Errorf("%s was active and is %v (error %v)", id, got.State, err)
			}
		}
		closeStore(s.t, db)
	}
}

// acceptLoss opens the store with AcceptLoss and checks that the log says what was found, that
// writes work, and that the next start is normal.
func (s *site) acceptLoss(says string) {
	s.t.Helper()
	db, log := s.openWarned(true)
	if !strings.Contains(log, says) && says != "is the disk mounted?" {
		s.t.Errorf("the log does not say %q: %q", says, log)
	}
	create(s.t, db, storetest.NewToken(1000, "barney"))
	closeStore(s.t, db)
	db = open(s.t, s.dir)
	if _, err := db.Get(s.t.Context(), storetest.NewToken(1000, "barney").ID); err != nil {
		s.t.Error(err)
	}
	if _, err := cached.New(s.t.Context(), db); err != nil {
		s.t.Error(err)
	}
	closeStore(s.t, db)
}

// TestEachByte changes each byte of a file, and truncates it at many lengths. Every start is
// refused and changes nothing.
func TestEachByte(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file     string
		crashed  bool
		from, to func([]byte) int // the bytes that mean something
	}{
		{"MANIFEST", false, func([]byte) int { return 0 }, func(b []byte) int { return len(b) }},
		{"000002.sst", false, func([]byte) int { return 0 }, func(b []byte) int { return len(b) }},
		{"KEYREGISTRY", false, func([]byte) int { return 16 }, func(b []byte) int { return len(b) }}, // behind 16 random bytes
		{"*.mem", true, func([]byte) int { return 20 }, logEnd},                                      // behind 12 random bytes
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.crashed)
			path := s.files(c.file)[0]
			whole := read(t, path)
			refused := func(what string, at int, content []byte) {
				t.Helper()
				write(t, path, content)
				db, err := badger.Open(t.Context(), badger.Options{Dir: s.dir})
				if err == nil {
					db.Close()
					t.Fatalf("byte %d of %d %s: the store opened", at, len(whole), what)
				}
				if !errors.Is(err, badger.ErrDamaged) && !errors.Is(err, badger.ErrLost) {
					t.Fatalf("byte %d %s: error %v", at, what, err)
				}
				if !bytes.Equal(read(t, path), content) {
					t.Fatalf("byte %d %s: the file was changed", at, what)
				}
			}
			content := whole[:c.to(whole)] // without the zeros behind it
			for at := c.from(whole); at < len(content); at++ {
				refused("changed", at, flip(at)(slices.Clone(content)))
				if at%cutStep == 0 {
					refused("is the first that is missing", at, content[:at])
				}
			}
			write(t, path, whole)
			s.wantAll(badger.Options{Dir: s.dir})
		})
	}
}
