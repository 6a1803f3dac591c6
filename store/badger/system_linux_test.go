package badger_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/store"
)

// TestReleaseTables checks that a store keeps little of its tables in memory after reading
// everything, and can still read them.
func TestReleaseTables(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a directory")
	s := open(t, dir)
	const records = 600
	for range records {
		if err := s.AppendAudit(t.Context(), largeAudit()); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, dir)
	defer s.Close()
	if _, err := s.AuditLog(t.Context(), 0, 1000); err != nil {
		t.Fatal(err)
	}
	written := records * len(store.EncodeAudit(largeAudit(), 0))
	if got := residentTables(t, dir); got < written/2 {
		t.Fatalf("%d bytes of the tables are in memory after they were read: the test is wrong", got)
	}
	if err := s.All(t.Context(), func(store.Token) error { return nil }); err != nil {
		t.Fatal(err)
	}
	measured(t, s) // which reads the tables, too
	if got := residentTables(t, dir); got > written/4 {
		t.Errorf("%d bytes of the tables are still in memory", got)
	}
	if log, err := s.AuditLog(t.Context(), 0, 1000); err != nil || len(log) != records || log[records-1].Changes["3"] != largeAudit().Changes["3"] {
		t.Errorf("%d audit records (error %v)", len(log), err)
	}
}

// residentTables returns the resident bytes of the tables' mappings.
func residentTables(t *testing.T, dir string) (bytes int) {
	t.Helper()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer maps.Close()
	table := false
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case strings.Contains(fields[0], "-"):
			table = strings.Contains(lines.Text(), dir) && strings.HasSuffix(lines.Text(), ".sst")
		case table && fields[0] == "Rss:":
			kib, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			bytes += kib << 10
		}
	}
	return bytes
}
