package badger_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	upstream "github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/storetest"
)

// TestStoreOfBeforeTheSequence checks that a store of a version without a ledger opens, with a
// log line, and has one from then on.
func TestStoreOfBeforeTheSequence(t *testing.T) {
	s := newSite(t, true)
	raw(t, s.dir, func(txn *upstream.Txn) error { return txn.Delete([]byte("m/identity")) })
	s.remove("tokengate.sequence")
	write(t, filepath.Join(s.dir, "tokengate.probe"), []byte("x"))
	var lines []string
	db, err := badger.Open(t.Context(), badger.Options{Dir: s.dir, Log: func(level slog.Level, message string) {
		if level >= slog.LevelWarn {
			lines = append(lines, message)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, db)
	if log := strings.Join(lines, "\n"); !strings.Contains(log, "tokengate.sequence starts at change 6") {
		t.Errorf("the log says %q", log)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "tokengate.probe")); err == nil {
		t.Error("the old probe file still exists")
	}
	s.wantAll(badger.Options{Dir: s.dir})
	s.change("MANIFEST", cut(3))
	wantOpenError(t, badger.Options{Dir: s.dir}, badger.ErrLost, "MANIFEST is older or shorter")
}

// TestIsNew checks that only a store in an empty directory is new.
func TestIsNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for n, want := range []bool{true, false, false} {
		s := open(t, dir)
		if s.IsNew() != want {
			t.Errorf("open %d: new is %v", n, s.IsNew())
		}
		closeStore(t, s)
	}
	// No change was acknowledged, so nothing can be lost.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	create(t, s, storetest.NewToken(1, "fred"))
	closeStore(t, s)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, badger.Options{Dir: dir}, badger.ErrLost, "is the disk mounted?")
	s, err := badger.Open(t.Context(), badger.Options{Dir: dir, AcceptLoss: true})
	if err != nil || !s.IsNew() {
		t.Fatalf("with the loss accepted: %v", err)
	}
	closeStore(t, s)
}

// TestDamagedSlot checks that a damaged slot prevents a start: if it was the newer one, the older
// one would hide the loss of the last change.
func TestDamagedSlot(t *testing.T) {
	t.Parallel()
	const meaning = 72 // bytes of a slot that mean something; the rest of its sector is unused
	stopped := newSite(t, true)
	for slot := range 2 {
		for at := range meaning {
			t.Run(fmt.Sprint(slot, at), func(t *testing.T) {
				t.Parallel()
				s := *stopped
				s.t, s.dir = t, t.TempDir()
				write(t, filepath.Join(s.dir, "tokengate.sequence"), flip(slot*512+at)(read(t, stopped.dir+"/tokengate.sequence")))
				wantOpenError(t, badger.Options{Dir: s.dir}, badger.ErrDamaged, "tokengate.sequence is damaged")
			})
		}
	}
}

func TestLedgerPairs(t *testing.T) {
	type slots [2]uint64 // the count in each slot; 0: the slot is all zero
	for _, c := range []struct {
		slots slots
		whole bool
	}{
		{slots{0, 1}, true}, // of a start that was killed before it wrote a second one
		{slots{2, 1}, true},
		{slots{2, 3}, true},
		{slots{4, 3}, true},
		{slots{0, 0}, false},
		{slots{2, 0}, false},
		{slots{0, 3}, false},
		{slots{4, 1}, false},
		{slots{2, 5}, false},
		{slots{3, 2}, false}, // an even count belongs into the first slot
		{slots{3, 3}, false},
		{slots{2, 2}, false},
	} {
		t.Run(fmt.Sprint(c.slots), func(t *testing.T) {
			dir := t.TempDir()
			var content []byte
			for _, count := range c.slots {
				slot := make([]byte, 512)
				if count > 0 {
					copy(slot, badger.LedgerSlot(count))
				}
				content = append(content, slot...)
			}
			write(t, filepath.Join(dir, "tokengate.sequence"), content)
			sequence, err := badger.ReadLedger(dir)
			if want := max(c.slots[0], c.slots[1]); c.whole && (err != nil || sequence != want) {
				t.Errorf("sequence %d, error %v, want %d", sequence, err, want)
			}
			if !c.whole && (err == nil || !strings.Contains(err.Error(), "is damaged")) {
				t.Errorf("sequence %d, error %v", sequence, err)
			}
		})
	}
}

// TestUnacknowledgedMayBeMissing checks that usage, totals, and a change whose process was killed
// before the acknowledgement may be missing.
func TestUnacknowledgedMayBeMissing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	token := create(t, s, storetest.NewToken(1, "fred"))
	log := func() string {
		found, err := filepath.Glob(filepath.Join(dir, "*.mem"))
		if err != nil || len(found) != 1 {
			t.Fatalf("logs: %v (error %v)", found, err)
		}
		return found[0]
	}
	before := read(t, log())
	for range 3 {
		err := errors.Join(
			s.AddUsage(t.Context(), map[string]store.Usage{token.ID: {Count: 1}}),
			s.AddTotals(t.Context(), 1, map[string]uint64{"x": 1}),
			s.Health(t.Context()),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	(&site{t: t, dir: dir}).copyTo(image)
	name := filepath.Base(log())
	closeStore(t, s)
	if bytes.Equal(before, read(t, filepath.Join(image, name))) {
		t.Fatal("the usage is not in the log: the test is wrong")
	}
	write(t, filepath.Join(image, name), before)
	s = open(t, image)
	defer s.Close()
	if got, err := s.Get(t.Context(), token.ID); err != nil || got.State != store.Active {
		t.Errorf("state %v, error %v", got.State, err)
	}
}

// TestDeletedRecordsAreNotMissed checks that pruned audit records do not count as missing.
func TestDeletedRecordsAreNotMissed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range 8 {
		create(t, s, storetest.NewToken(n, "fred"))
	}
	closeStore(t, s)
	remove := func(sequence uint64) {
		raw(t, dir, func(txn *upstream.Txn) error {
			return txn.Delete(binary.BigEndian.AppendUint64([]byte("a/"), sequence))
		})
	}
	for sequence := uint64(1); sequence < 5; sequence++ {
		remove(sequence)
	}
	s = open(t, dir)
	create(t, s, storetest.NewToken(9, "fred"))
	closeStore(t, s)
	open(t, dir).Close()
}

// TestKilledWhileMaking checks that a store whose creation was killed can be opened.
func TestKilledWhileMaking(t *testing.T) {
	for _, gone := range [][]string{
		{"*.sst", "*.vlog", "MANIFEST", "KEYREGISTRY", "DISCARD"}, // the ledger is there, and no database
		{"*.vlog", "KEYREGISTRY"},
		{"tokengate.sequence", "MANIFEST", "*.sst", "*.vlog", "KEYREGISTRY", "DISCARD"}, // MANIFEST was not in its place yet
	} {
		dir := t.TempDir()
		closeStore(t, open(t, dir))
		for _, name := range []string{"MANIFEST-REWRITE", "tokengate.sequence.new-1", "tokengate.usage.new-1", "MANIFEST.new-1", "tokengate-probe-1"} {
			write(t, filepath.Join(dir, name), nil)
		}
		for _, pattern := range gone {
			found, _ := filepath.Glob(filepath.Join(dir, pattern))
			for _, path := range found {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
		s := open(t, dir)
		create(t, s, storetest.NewToken(1, "fred"))
		closeStore(t, s)
		open(t, dir).Close()
		for _, pattern := range []string{"*new*", "*probe*"} {
			if left, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(left) > 0 {
				t.Errorf("left: %v (error %v)", left, err)
			}
		}
	}
}

// TestNoManifest checks that a directory without MANIFEST is refused if it has other files, which
// Badger creates after it.
func TestNoManifest(t *testing.T) {
	for _, left := range []string{"000001.vlog", "KEYREGISTRY", "DISCARD"} {
		t.Run(left, func(t *testing.T) {
			made := t.TempDir()
			closeStore(t, open(t, made))
			s := &site{t: t, dir: t.TempDir()}
			content := read(t, filepath.Join(made, left))
			write(t, filepath.Join(s.dir, left), content)
			wantOpenError(t, badger.Options{Dir: s.dir}, badger.ErrDamaged, "no MANIFEST", "--accept-loss")
			if got := s.files("*"); len(got) != 1 || !bytes.Equal(read(t, got[0]), content) {
				t.Errorf("the refused start left %v", got)
			}
			s.acceptLoss("no MANIFEST")
		})
	}
}

// TestFailedCommitIsNotMissed checks that a failed commit uses up its numbers, because its records
// may be on the disk, and that they do not count as missing.
func TestFailedCommitIsNotMissed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fail := func(write func() error) {
		t.Helper()
		stop := s.FailCommits()
		defer stop()
		if err := write(); err == nil {
			t.Error("a write succeeded although its commit fails")
		}
	}
	failCreate := func(n int) {
		t.Helper()
		fail(func() error {
			_, err := s.Create(t.Context(), storetest.NewToken(n, "fred"), func([]store.Token) (store.Audit, error) { return store.Audit{}, nil })
			return err
		})
	}
	create(t, s, storetest.NewToken(1, "fred"))
	failCreate(2)
	closeStore(t, s)
	s = open(t, dir)
	before := create(t, s, storetest.NewToken(3, "fred"))
	failCreate(4)
	if after := create(t, s, storetest.NewToken(5, "fred")); after.Number != before.Number+2 {
		t.Errorf("token %d follows token %d and a failed commit", after.Number, before.Number)
	}
	log, err := s.AuditLog(t.Context(), 0, 2)
	if err != nil || len(log) != 2 || log[0].Sequence != log[1].Sequence+2 || s.CompleteFrom() != log[0].Sequence {
		t.Errorf("audit records %v, complete from %d, error %v", log, s.CompleteFrom(), err)
	}
	from := s.CompleteFrom()
	fail(func() error { return s.AddTotals(t.Context(), 1, map[string]uint64{"allowed": 1}) })
	if s.CompleteFrom() != from {
		t.Error("after a failed commit without audit records more of them may be missing")
	}
	closeStore(t, s)
	open(t, dir).Close()
}
