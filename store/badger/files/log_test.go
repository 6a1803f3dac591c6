package files

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4/y"
)

// logEntry returns a log entry as Badger writes it.
func logEntry(meta byte, key, value string, version uint64) []byte {
	k := y.KeyWithTs([]byte(key), version)
	data := []byte{meta, 0}
	for _, n := range []int{len(k), len(value), 0} {
		data = binary.AppendUvarint(data, uint64(n))
	}
	data = append(append(data, k...), value...)
	return binary.BigEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
}

func TestReadLog(t *testing.T) {
	record := func(key string, version uint64) []byte { return logEntry(bitTransaction, key, "value", version) }
	end := func(version uint64) []byte { return logEntry(bitEnd, "!badger!txn", fmt.Sprint(version), version) }
	broken := record("broken", 1)
	broken[len(broken)-1] ^= 1
	for name, c := range map[string]struct {
		entries [][]byte
		want    []string
	}{
		"nothing":                        {nil, nil},
		"a transaction":                  {[][]byte{record("a", 1), record("b", 1), end(1)}, []string{"a@1", "b@1"}},
		"two":                            {[][]byte{record("a", 1), end(1), record("b", 2), end(2)}, []string{"a@1", "b@2"}},
		"one without an end":             {[][]byte{record("a", 1), end(1), record("b", 2)}, []string{"a@1"}},
		"one without an end, and one":    {[][]byte{record("a", 1), record("b", 2), end(2)}, nil},
		"a record of another within one": {[][]byte{record("a", 1), record("b", 2), end(1)}, nil},
		"the end of another":             {[][]byte{record("a", 1), end(2), record("b", 3), end(3)}, nil},
		"an end that is not a number":    {[][]byte{record("a", 1), logEntry(bitEnd, "!badger!txn", "x", 1)}, nil},
		"a record without a transaction": {[][]byte{logEntry(0, "a", "", 1), logEntry(bitDelete, "b", "", 2)}, []string{"a@1", "b@2 deleted"}},
		"such a record within one":       {[][]byte{record("a", 1), logEntry(0, "b", "", 1), end(1)}, nil},
		"a deletion":                     {[][]byte{logEntry(bitTransaction|bitDelete, "a", "", 1), end(1)}, []string{"a@1 deleted"}},
		"a broken record":                {[][]byte{record("a", 1), end(1), broken, end(1), record("b", 2), end(2)}, []string{"a@1"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "00001.mem")
			whole := slices.Concat(make([]byte, logHeader), slices.Concat(c.entries...))
			for _, content := range [][]byte{whole, append(slices.Clip(whole), make([]byte, 100)...)} { // Badger makes the file larger in advance
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
				var got []string
				err := ReadLog(path, func(r Record) {
					seen := fmt.Sprintf("%s@%d", r.Key, r.Version)
					if r.Deleted {
						seen += " deleted"
					}
					got = append(got, seen)
				})
				if err != nil || !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q, error %v", got, c.want, err)
				}
			}
		})
	}
}

// TestReadCutLog checks that a truncated log gives exactly the complete transactions.
func TestReadCutLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "00001.mem")
	content := make([]byte, logHeader)
	var ends []int
	for version := uint64(1); version <= 3; version++ {
		content = append(content, logEntry(bitTransaction, "key", "value", version)...)
		content = append(content, logEntry(bitEnd, "!badger!txn", fmt.Sprint(version), version)...)
		ends = append(ends, len(content))
	}
	for cut := range len(content) + 1 {
		if err := os.WriteFile(path, content[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want, got := 0, 0
		for _, end := range ends {
			if end <= cut {
				want++
			}
		}
		if err := ReadLog(path, func(Record) { got++ }); err != nil || got != want {
			t.Errorf("of %d bytes: %d records, want %d, error %v", cut, got, want, err)
		}
	}
}
