package badger_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	upstream "github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/storetest"
)

const (
	flagSet  = "--accept-loss is set and nothing was lost"
	allThere = "no audit record of an acknowledged change is missing"
	noneLeft = "lost: the changes up to number 4 were acknowledged, but all their records are missing"
)

// openWarned opens the store and returns its warnings, one per line.
func (s *site) openWarned(acceptLoss bool) (*badger.Store, string) {
	s.t.Helper()
	var lines []string
	db, err := badger.Open(s.t.Context(), badger.Options{Dir: s.dir, AcceptLoss: acceptLoss, Log: func(level slog.Level, message string) {
		if level >= slog.LevelWarn {
			lines = append(lines, message)
		}
	}})
	if err != nil {
		s.t.Fatalf("open with acceptLoss %v: %v", acceptLoss, err)
	}
	return db, strings.Join(lines, "\n")
}

// warnings opens and closes the store and returns its warnings.
func (s *site) warnings(acceptLoss bool) string {
	s.t.Helper()
	db, log := s.openWarned(acceptLoss)
	closeStore(s.t, db)
	return log
}

// TestAcceptedLoss checks that the log says exactly what is lost and where the original files
// are.
func TestAcceptedLoss(t *testing.T) {
	t.Parallel()
	stopped, crashed := newSite(t, false), newSite(t, true)
	for name, c := range map[string]struct {
		crashed bool
		do      func(*site)
		says    []string
		not     []string
		kept    []string // patterns of file names
	}{
		"all tables, broken": {
			do:   func(s *site) { s.change("*.sst", flip(40)) },
			says: []string{noneLeft, "the content of missing or damaged files is lost"},
			not:  []string{allThere, "may have been pruned"},
			kept: []string{"000001.sst", "000002.sst", "MANIFEST", "tokengate.sequence"},
		},
		"all tables, deleted": {
			do:   func(s *site) { s.remove("*.sst") },
			says: []string{noneLeft, "the content of missing or damaged files is lost"},
			not:  []string{allThere, "may have been pruned"},
			kept: []string{"MANIFEST", "tokengate.sequence"},
		},
		"the database, deleted": {
			do:   func(s *site) { keepOnly(s, "tokengate.sequence") },
			says: []string{noneLeft},
			not:  []string{allThere},
			kept: []string{"tokengate.sequence"},
		},
		"the older table, deleted": {
			do:   func(s *site) { s.remove("000001.sst") },
			says: []string{"the content of missing or damaged files is lost", "records up to number 2 may be lost as well or may have been pruned"},
			not:  []string{allThere, "all their", "all records"},
			kept: []string{"MANIFEST", "tokengate.sequence"},
		},
		"the newer table, broken": {
			do:   func(s *site) { s.change("000002.sst", half) },
			says: []string{"lost: the changes up to number 4 were acknowledged, but the records of 2 of them (3 to 4) are missing"},
			not:  []string{allThere, "all their", "all records", "may have been pruned"},
			kept: []string{"000002.sst", "MANIFEST", "tokengate.sequence"},
		},
		"all but the log": {
			crashed: true,
			do:      func(s *site) { s.remove("MANIFEST"); s.remove("*.sst") },
			says:    []string{"records up to number 4 may be lost as well or may have been pruned"},
			not:     []string{allThere},
			kept:    []string{"*.mem", "tokengate.sequence"},
		},
		"once more, without a change in between": {
			do:   func(s *site) { s.remove("000002.sst"); s.warnings(true); s.remove("000001.sst") },
			says: []string{"records up to number 4 may be lost as well or may have been pruned"},
			not:  []string{allThere},
			kept: []string{"MANIFEST", "tokengate.sequence"},
		},
		"the log, garbage": {
			crashed: true,
			do:      func(s *site) { s.change("*.mem", garbage) },
			says:    []string{"the records of 2 of them (5 to 6) are missing", "the content of missing or damaged files is lost"},
			not:     []string{allThere},
			kept:    []string{"*.mem", "MANIFEST", "tokengate.sequence"},
		},
		"MANIFEST, deleted, and the newer table, broken": {
			do:   func(s *site) { s.remove("MANIFEST"); s.change("000002.sst", half) },
			says: []string{"the records of 2 of them (3 to 4) are missing"},
			not:  []string{allThere},
			kept: []string{"000002.sst", "tokengate.sequence"},
		},
		"MANIFEST, cut": {
			do:   func(s *site) { s.change("MANIFEST", cut(3)) },
			says: []string{"loss accepted: MANIFEST is older or shorter than it was", allThere},
			not:  []string{"lost: ", "damaged files is lost", "may have been pruned"},
			kept: []string{"MANIFEST", "tokengate.sequence"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stopped.clone(t)
			if c.crashed {
				s = crashed.clone(t)
			}
			c.do(s)
			log := s.warnings(true)
			for _, words := range append(c.says, "remove --accept-loss for the next start") {
				if !strings.Contains(log, words) {
					t.Errorf("the log does not say %q:\n%s", words, log)
				}
			}
			for _, words := range append(c.not, "lost: MANIFEST", flagSet) {
				if strings.Contains(log, words) {
					t.Errorf("the log says %q:\n%s", words, log)
				}
			}
			named := regexp.MustCompile(`kept in (\S*tokengate\.lost-\S+)`).FindStringSubmatch(log)
			if named == nil || filepath.Dir(named[1]) != s.dir {
				t.Fatalf("the log does not name the directory of the original files:\n%s", log)
			}
			for _, file := range c.kept {
				if found, err := filepath.Glob(filepath.Join(named[1], file)); err != nil || len(found) == 0 {
					t.Errorf("%s is not kept (error %v)", file, err)
				}
			}
		})
	}
}

// TestAcceptLossLeftSet checks that each start with an unnecessary flag logs a warning and
// preserves no files.
func TestAcceptLossLeftSet(t *testing.T) {
	s := newSite(t, false)
	for n, acceptLoss := range []bool{true, true, false} {
		if log := s.warnings(acceptLoss); strings.Contains(log, flagSet) != acceptLoss {
			t.Errorf("start %d, flag set %v: the log says %q", n, acceptLoss, log)
		}
	}
	if found, err := filepath.Glob(filepath.Join(s.dir, "tokengate.lost-*")); err != nil || len(found) > 0 {
		t.Errorf("found %v (error %v)", found, err)
	}
}

// TestRefusalNamesDoubt checks that the error mentions older records that may be lost.
func TestRefusalNamesDoubt(t *testing.T) {
	s := newSite(t, false)
	s.remove("000001.sst")
	wantOpenError(t, badger.Options{Dir: s.dir}, badger.ErrDamaged, "records up to number 2 may be lost as well or may have been pruned")
}

// TestAcceptedLossOfDirectory checks that no directory is named if there are no files to
// preserve.
func TestAcceptedLossOfDirectory(t *testing.T) {
	s := newSite(t, false)
	s.remove("")
	if log := s.warnings(true); !strings.Contains(log, "is the disk mounted?") || strings.Contains(log, "kept in") || strings.Contains(log, allThere) {
		t.Errorf("the log says %q", log)
	}
}

// TestManyProblems checks that an error describes five problems and counts the rest.
func TestManyProblems(t *testing.T) {
	for count, rest := range map[int]string{5: "", 6: "and 1 more", 8: "and 3 more"} {
		s := newSite(t, false)
		for n := range count {
			write(t, filepath.Join(s.dir, fmt.Sprintf("%06d.vlog", 100+n)), []byte("no beginning of a log"))
		}
		_, err := badger.Open(t.Context(), badger.Options{Dir: s.dir})
		if err == nil || strings.Count(err.Error(), "does not start like a log") != 5 || !strings.Contains(err.Error(), rest) ||
			rest == "" && strings.Contains(err.Error(), "more") {
			t.Errorf("%d problems: error %v", count, err)
		}
	}
}

// TestMissingRecords checks windows of audit records: see Missing.
func TestMissingRecords(t *testing.T) {
	none := "all their records are missing"
	for _, c := range []struct {
		first   uint64
		records string
		missing string
		unknown uint64
	}{
		{1, "", "", 0},
		{8, "", "", 7},
		{1, "xxx", "", 0},
		{1, "..x", "", 2},
		{1, "ddx", "", 0},
		{1, ".dx", "", 0}, // pruned in order
		{1, "d.x", "", 2},
		{5, "xx", "", 4},
		{5, "dx", "", 0},
		{5, "ox", "", 0},
		{1, "x.x.x.x.x.x.x", "the records of 6 of them (2, 4, 6, 8, 10) are missing", 0},
		{1, "x.x", "the records of 1 of them (2) are missing", 0},
		{1, ".x.x..", "the records of 3 of them (3, 5 to 6) are missing", 1},
		{1, ".", none, 0},
		{1, ".......", none, 0},
		{1, "dd..", none, 0},
		{5, "...", "all records from number 5 on are missing", 4},
		{5, "d..", "all records from number 5 on are missing", 4},
	} {
		t.Run(fmt.Sprint(c.first, c.records), func(t *testing.T) {
			missing, unknown := badger.Missing(c.first, c.records)
			if missing != c.missing || unknown != c.unknown {
				t.Errorf("got %q and %d, want %q and %d", missing, unknown, c.missing, c.unknown)
			}
		})
	}
}

// TestLossAfterLoss checks that a loss after an accepted loss is reported.
func TestLossAfterLoss(t *testing.T) {
	s := newSite(t, false)
	s.remove("*.sst")
	s.warnings(true)
	db := open(t, s.dir)
	create(t, db, storetest.NewToken(9, "fred"))
	closeStore(t, db)
	s.remove("*.sst")
	log := s.warnings(true)
	for _, words := range []string{"all records from number 5 on are missing", "records up to number 4 may be lost"} {
		if !strings.Contains(log, words) {
			t.Errorf("the log does not say %q:\n%s", words, log)
		}
	}
}

// TestNumbersAfterLoss checks that no number is reused after the loss of a table, which may have
// held the highest one.
func TestNumbersAfterLoss(t *testing.T) {
	s := newSite(t, false)
	raw(t, s.dir, func(txn *upstream.Txn) error { return txn.Delete([]byte("m/number")) })
	db := open(t, s.dir)
	if got := create(t, db, storetest.NewToken(9, "fred")); got.Number != 4 {
		t.Errorf("the token after three has the number %d", got.Number)
	}
	closeStore(t, db)
}
