package usagefile_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger/usagefile"
)

const killedFile = "TOKENGATE_TEST_USAGE" // of the child process of TestKilled

func TestMain(m *testing.M) {
	if path := os.Getenv(killedFile); path != "" {
		addForever(path)
	}
	os.Exit(m.Run())
}

func id(n int) string { return fmt.Sprintf("test%08d", n) }

func use(n int) store.Usage {
	return store.Usage{
		Count: uint64(n) + 1, Writes: uint64(n), LastUsed: time.Unix(int64(1+n), 0).UTC(),
		LastAddress: netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}),
	}
}

// file is an open file, and what it should hold.
type file struct {
	*usagefile.File
	t     testing.TB
	path  string
	isNew bool
	log   []string
	want  map[string]store.Usage
	full  error // of Room
}

func open(t testing.TB, path string) *file {
	t.Helper()
	f := &file{t: t, path: path, want: make(map[string]store.Usage)}
	var err error
	f.File, f.isNew, err = usagefile.Open(path, usagefile.Options{
		Room: func(int64) error { return f.full },
		Warn: func(message string) { f.log = append(f.log, message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func (f *file) reopen() {
	f.t.Helper()
	f.close()
	again := open(f.t, f.path)
	f.File, f.isNew, f.log = again.File, again.isNew, again.log
}

func (f *file) close() {
	f.t.Helper()
	if err := f.Close(); err != nil {
		f.t.Fatal(err)
	}
}

// set stores usage; zero removes it.
func (f *file) set(all map[string]store.Usage) {
	f.t.Helper()
	err := f.Update(f.t.Context(), store.InUsageOrder(maps.Keys(all)), func(id string, u store.Usage) (store.Usage, error) {
		if u != f.want[id] {
			f.t.Errorf("the usage of %s is %v, want %v", id, u, f.want[id])
		}
		return all[id], nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	maps.Copy(f.want, all)
	maps.DeleteFunc(f.want, func(_ string, u store.Usage) bool { return u == store.Usage{} })
}

// some returns the usage of tokens from to to.
func some(from, to int) map[string]store.Usage {
	all := make(map[string]store.Usage)
	for n := from; n < to; n++ {
		all[id(n)] = use(n)
	}
	return all
}

// all reads the whole file, and calls between after each part.
func (f *file) all(between func()) map[string]store.Usage {
	f.t.Helper()
	all := make(map[string]store.Usage)
	r := f.NewReader()
	defer r.Close()
	for {
		more, err := r.Next()
		if err != nil {
			f.t.Fatal(err)
		}
		if !more {
			return all
		}
		between()
		err = r.Visit(func(id string, u store.Usage) error {
			if _, twice := all[id]; twice {
				f.t.Errorf("%s was read twice", id)
			}
			all[id] = u
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
		between()
	}
}

func (f *file) check(what string) {
	f.t.Helper()
	same(f.t, what, f.want, f.all(func() {}))
	if size, ok := f.Size(); !ok || size.Records != int64(len(f.want)) {
		f.t.Errorf("%s: %d tokens have usage, the size says %v, %v", what, len(f.want), size, ok)
	}
}

func same(t testing.TB, what string, want, got map[string]store.Usage) {
	t.Helper()
	if !maps.Equal(want, got) {
		t.Errorf("%s (-want +got):\n%.2000s", what, cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})))
	}
}

// TestUpdate compares the file with a map after random changes, while it grows.
func TestUpdate(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "usage"))
	if f.check("empty"); !f.isNew {
		t.Error("a new file is not new")
	}
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		more := make(map[string]store.Usage)
		for range 100 {
			n := random.IntN(20_000)
			if more[id(n)] = use(random.IntN(1000)); n%3 == 0 {
				more[id(n)] = store.Usage{}
			}
		}
		f.set(more)
		if round%50 == 0 {
			f.check("changed")
		}
	}
	f.check("changed")
	f.reopen()
	if f.check("reopened"); f.isNew {
		t.Error("a file that was there is new")
	}
	if f.set(map[string]store.Usage{"": use(1), "short": use(1)}); len(f.log) > 0 {
		t.Error(f.log)
	}
	delete(f.want, "")
	delete(f.want, "short")
	f.check("ids of another length")
}

// TestUsage stores values at the edges.
func TestUsage(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "usage"))
	for n, u := range []store.Usage{
		{Count: 1},
		{Count: 1 << 63, Writes: 1<<64 - 1},
		{LastUsed: time.Unix(1<<40, 0).UTC()},
		{Count: 1, LastAddress: netip.MustParseAddr("2001:db8::1")},
		{Count: 1, LastAddress: netip.MustParseAddr("0.0.0.0")},
	} {
		f.set(map[string]store.Usage{id(n): u})
	}
	f.check("stored")
	f.reopen()
	f.check("reopened")
}

// TestReader changes and doubles the file while it is read.
func TestReader(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "usage"))
	f.set(some(0, 10_000))
	snapshot := maps.Clone(f.want)
	parts := 0
	got := f.all(func() {
		parts++
		changed := make(map[string]store.Usage)
		for n := parts % 5; n < 10_000; n += 5 {
			if changed[id(n)] = use(n + parts); n%7 == 0 {
				changed[id(n)] = store.Usage{}
			}
		}
		if parts == 3 { // the file doubles
			maps.Copy(changed, some(10_000, 30_000))
		}
		f.set(changed)
	})
	if parts < 6 {
		t.Errorf("%d parts", parts)
	}
	same(t, "the snapshot", snapshot, got)
	if len(f.want) < 25_000 {
		t.Errorf("only %d tokens", len(f.want))
	}
	f.check("the changes")
	f.reopen()
	f.check("reopened")
}

// TestFull checks that nothing is stored if the file cannot be doubled.
func TestFull(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "usage"))
	f.set(some(0, 500))
	no := errors.New("no")
	add := func(ctx context.Context) error {
		return f.Update(ctx, store.InUsageOrder(maps.Keys(some(0, 5000))), func(string, store.Usage) (store.Usage, error) { return use(1), nil })
	}
	f.full = no
	if err := add(t.Context()); !errors.Is(err, no) {
		t.Errorf("error %v", err)
	}
	f.full = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := add(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	err := f.Update(t.Context(), store.InUsageOrder(maps.Keys(some(0, 100))), func(id string, u store.Usage) (store.Usage, error) {
		if id == "test00000050" {
			return u, no
		}
		return use(7), nil
	})
	if !errors.Is(err, no) {
		t.Errorf("error %v", err)
	}
	f.check("nothing changed")
	if names, err := filepath.Glob(f.path + "*"); err != nil || len(names) != 1 {
		t.Errorf("files %v, %v", names, err)
	}
}

// TestUnusable opens what is not such a file.
func TestUnusable(t *testing.T) {
	for name, c := range map[string]struct {
		put  func(path string) error
		says string
		left int // tokens
	}{
		"empty":         {func(path string) error { return os.Truncate(path, 0) }, "usage has no readable header", 0},
		"short":         {func(path string) error { return os.Truncate(path, 12) }, "usage has no readable header", 0},
		"only a header": {func(path string) error { return os.Truncate(path, 4096) }, "65536 bytes shorter", 0},
		"text":          {func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("text", 10_000)), 0o600) }, "no readable header", 0},
		"directory":     {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, "usage is not a file", 0},
		"device":        {func(path string) error { return errors.Join(os.Remove(path), os.Symlink(os.DevNull, path)) }, "usage is not a file", 0},
		"pipe":          {func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) }, "usage is not a file", 0},
		"dangling link": {func(path string) error { return errors.Join(os.Remove(path), os.Symlink("nowhere", path)) }, "a dangling link", 0},
		"link": {func(path string) error {
			return errors.Join(os.Rename(path, path+".elsewhere"), os.Symlink(path+".elsewhere", path))
		}, "", 10},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, filepath.Join(t.TempDir(), "usage"))
			f.set(some(0, 10))
			f.close()
			if err := c.put(f.path); err != nil {
				t.Fatal(err)
			}
			f = open(t, f.path)
			if got := f.all(func() {}); len(got) != c.left {
				t.Errorf("%d tokens are left", len(got))
			}
			if log := strings.Join(f.log, "\n"); !strings.Contains(log, c.says) || c.says == "" && log != "" || f.isNew {
				t.Errorf("new %v, the log says %q", f.isNew, log)
			}
			_, err := os.Lstat(f.path + usagefile.Damaged)
			if renamed := err == nil; renamed == (c.left > 0 || strings.Contains(c.says, "shorter")) {
				t.Errorf("renamed: %v", renamed)
			}
			f.want = f.all(func() {})
			f.set(some(0, 100))
			if f.reopen(); len(f.log) > 0 {
				t.Errorf("the next start says %q", f.log)
			}
			f.check("used")
		})
	}
	if _, _, err := usagefile.Open(filepath.Join(t.TempDir(), "no", "usage"), usagefile.Options{}); err == nil {
		t.Error("no error without a directory")
	}
}

// TestEachByte changes bytes of each field, and cuts the file at many lengths. At most the
// usage of a sector is lost, or all with the header, and a message says so.
func TestEachByte(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "usage"))
	f.set(some(0, 100))
	f.close()
	whole, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(what string, at int, content []byte) {
		t.Helper()
		if err := os.WriteFile(f.path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		again := open(t, f.path)
		defer again.Close()
		got := again.all(func() {})
		lost := len(f.want) - len(got)
		maps.DeleteFunc(got, func(id string, u store.Usage) bool { return f.want[id] == u })
		most := 9
		if at < 16 || what == "cut" {
			most = len(f.want)
		}
		if lost > most || len(got) > 0 {
			t.Errorf("byte %d %s: %d lost, wrong are %v", at, what, lost, got)
		}
		if lost > 0 && len(again.log) != 1 || lost == 0 && what == "flipped" && len(again.log) > 0 {
			t.Errorf("byte %d %s: %d lost, the log says %q", at, what, lost, again.log)
		}
		// What was lost is counted again.
		err := again.Update(t.Context(), store.InUsageOrder(maps.Keys(f.want)), func(id string, _ store.Usage) (store.Usage, error) { return f.want[id], nil })
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprintf("byte %d %s, counted again", at, what), f.want, again.all(func() {}))
	}
	for at := range whole {
		sector := whole[at/512*512:][:512]
		if at > 16 && at%23 != 0 || !slices.ContainsFunc(sector, func(b byte) bool { return b != 0 }) {
			continue
		}
		flipped := slices.Clone(whole)
		flipped[at] ^= 1 << (at % 8)
		changed("flipped", at, flipped)
	}
	for at := 0; at < len(whole); at += 2047 {
		changed("cut", at, whole[:at])
	}
}

// addForever adds usage of more and more tokens, and prints each step.
func addForever(path string) {
	f, _, err := usagefile.Open(path, usagefile.Options{
		Room: func(int64) error { return nil },
		Warn: func(message string) { fmt.Println(message) },
	})
	for n := 0; err == nil; n++ {
		more := some(n*100, n*100+100)
		more[id(0)] = use(0)
		batch := store.InUsageOrder(maps.Keys(more))
		err = f.Update(context.Background(), batch, func(_ string, u store.Usage) (store.Usage, error) {
			u.Count++
			return u, nil
		})
		fmt.Println("added")
	}
	fmt.Println(err)
	os.Exit(1)
}

// TestKilled kills a process that adds usage and doubles the file. No acknowledged usage is lost, and
// none is counted twice.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage")
	want := make(map[string]uint64)
	for life := range 8 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), killedFile+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		steps := 0
		for lines := bufio.NewScanner(out); lines.Scan(); steps++ {
			if lines.Text() != "added" {
				t.Fatal(lines.Text())
			}
			if steps == 20+life*37 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait()
		f := open(t, path)
		got := f.all(func() {})
		for n := range steps * 100 {
			want[id(n)]++
		}
		want[id(0)] += uint64(steps) - 1
		for id, u := range want {
			if more := got[id].Count - u; more > 1 {
				t.Errorf("life %d: %s was used %d times, the file has %d", life, id, u, got[id].Count)
			}
		}
		if len(f.log) > 0 {
			t.Errorf("the log says %q", f.log)
		}
		for id, u := range got {
			want[id] = u.Count
		}
		t.Logf("life %d: %d steps, %d tokens", life, steps, len(got))
		f.close()
	}
}
