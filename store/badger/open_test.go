package badger_test

import (
	"bufio"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/storetest"
)

// wantOpenError checks that the store does not open, and that the error wraps want, unless it is
// nil, and contains the words.
func wantOpenError(t *testing.T, opts badger.Options, want error, words ...string) {
	t.Helper()
	s, err := badger.Open(t.Context(), opts)
	if err == nil {
		s.Close()
		t.Fatal("the store opened")
	}
	if want != nil && !errors.Is(err, want) {
		t.Errorf("error %q, want %q", err, want)
	}
	for _, w := range append(words, "open store: ") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestOpenMakesDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "var", "tokengate")
	defer open(t, dir).Close()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("the directory has mode %o, want 700", got)
	}
}

func TestOpenOptions(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	opts := s.Opts()
	if !opts.SyncWrites {
		t.Error("the open database does not sync its writes")
	}
	if !opts.DetectConflicts {
		t.Error("the open database does not detect conflicts")
	}
	if opts.NumVersionsToKeep != 1 {
		t.Errorf("the open database keeps %d versions", opts.NumVersionsToKeep)
	}
	if opts.ValueThreshold != badger.MaxValue {
		t.Errorf("values above %d bytes leave the tree, and values up to %d are written", opts.ValueThreshold, badger.MaxValue)
	}
	if memory := int64(opts.NumMemtables+1)*opts.MemTableSize + opts.BlockCacheSize + opts.IndexCacheSize; memory > 16<<20 {
		t.Errorf("memtables and caches may take %d bytes", memory)
	}
}

func TestOpenNoDirectory(t *testing.T) {
	wantOpenError(t, badger.Options{}, nil, "no data directory")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, badger.Options{Dir: file}, nil, file+" is not a directory")
	wantOpenError(t, badger.Options{Dir: filepath.Join(file, "below")}, syscall.ENOTDIR, file)
}

func TestOpenNetworkFilesystem(t *testing.T) {
	dir := t.TempDir()
	nfs := func() (string, uint64) { return "NFS", 1 << 40 }
	wantOpenError(t, badger.Options{Dir: dir}.WithFilesystem(nfs), badger.ErrNetworkFS, dir, "NFS", "local disk")
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("the refused directory has %v (error %v)", files, err)
	}
}

func TestOpenInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	wantOpenError(t, badger.Options{Dir: dir}, badger.ErrInUse, dir, "stop that process")
	if err := s.Health(t.Context()); err != nil {
		t.Errorf("the store that is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	cmd, lines := child(t, "hold", dir, "")
	if line := readLine(t, lines); line != "open" {
		t.Fatalf("the other process says %q", line)
	}
	wantOpenError(t, badger.Options{Dir: dir}, badger.ErrInUse, dir)
	kill(t, cmd)
	// The lock ends with the process.
	open(t, dir).Close()
}

func TestOpenSchema(t *testing.T) {
	for _, version := range []string{"1", "3"} {
		t.Run(version, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir).Close()
			edit(t, dir, map[string]string{"m/schema": version})
			wantOpenError(t, badger.Options{Dir: dir}, badger.ErrSchema, dir, version, "knows 2")
		})
	}
	t.Run("of another program", func(t *testing.T) {
		dir := t.TempDir()
		edit(t, dir, map[string]string{"key": "value"})
		wantOpenError(t, badger.Options{Dir: dir}, badger.ErrSchema, dir, "another program")
		wantOpenError(t, badger.Options{Dir: dir, AcceptLoss: true}, badger.ErrSchema, dir, "another program")
	})
}

func TestOpenDamaged(t *testing.T) {
	const id = "test00000001"
	for name, record := range map[string]string{
		"no record":       "{\"id\":",
		"half a record":   "\x0a\x0ctest00000001\x10\x01\x1a\x04fr",
		"another's":       "\x0a\x0ctest00000002\x10\x01\x1a\x04fred",
		"without a state": "\x0a\x0ctest00000001\x10\x01\x1a\x04fred",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			create(t, s, storetest.NewToken(1, "fred"))
			s.Close()
			edit(t, dir, map[string]string{"t/" + id: record})

			s = open(t, dir)
			defer s.Close()
			got, err := s.Get(t.Context(), id)
			if err == nil || !strings.Contains(err.Error(), id) || got.ID != "" {
				t.Errorf("get: token %+v, error %v", got, err)
			}
			if _, err := cached.New(t.Context(), s); err == nil || !strings.Contains(err.Error(), id) {
				t.Errorf("index: error %v", err)
			}
		})
	}
}

func TestOpenEndedContext(t *testing.T) {
	ctx, cancel := contextWithCancel(t)
	cancel()
	if s, err := badger.Open(ctx, badger.Options{Dir: t.TempDir()}); err == nil {
		s.Close()
		t.Error("the store opened")
	}
}

// TestReopenLeavesNoFiles checks that repeated opening, writing and closing does not accumulate
// files.
func TestReopenLeavesNoFiles(t *testing.T) {
	dir := t.TempDir()
	for n := range 12 {
		s := open(t, dir)
		create(t, s, storetest.NewToken(n, "fred"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) > 20 {
		t.Errorf("%d files after 12 rounds: %v", len(files), files)
	}
}

func TestLog(t *testing.T) {
	var mu sync.Mutex
	levels := make(map[slog.Level]int)
	s, err := badger.Open(t.Context(), badger.Options{
		Dir: t.TempDir(),
		Log: func(level slog.Level, message string) {
			mu.Lock()
			defer mu.Unlock()
			levels[level]++
			if message == "" || strings.Contains(message, "\n") {
				t.Errorf("log message %q", message)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	mu.Lock()
	defer mu.Unlock()
	if levels[slog.LevelInfo] == 0 || levels[slog.LevelError] != 0 {
		t.Errorf("log messages by level: %v", levels)
	}
}

func readLine(t *testing.T, lines *bufio.Scanner) string {
	t.Helper()
	if !lines.Scan() {
		t.Fatalf("the other process ended early: %v", lines.Err())
	}
	return lines.Text()
}
