package manage_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// An hour of a user who uses the whole write budget, and ten tokens, takes less than
// 50 MiB of disk.
func TestGrowthOfAnHour(t *testing.T) {
	if raceDetector {
		t.Skip("make test measures it without the race detector, which takes eight times as long")
	}
	const most = 50 << 20
	f := newFixtureOf(t, "tokens: {maxPerUser: 60}\n", directory.None{}, func(s store.Store) store.Store { return s })
	fred := user("fred", "K1")
	networks := make([]string, store.MaxNetworks)
	for n := range networks {
		networks[n] = fmt.Sprintf("2001:db8:1234:5678:9abc:def0:%x:%x/128", 0x1000+n, 0x1000+n)
	}
	large := func(n int) manage.NewToken {
		name, purpose := fmt.Sprint(n, " ", strings.Repeat("🔑", 90)), strings.Repeat("🔑", 1000)
		return manage.NewToken{Name: name, Purpose: purpose, Networks: networks}
	}
	used := make(map[string]store.Usage)
	before, made, refused := onDisk(t, f.dir), 0, 0
	for second := 0; second <= 3600; second += 3 {
		for {
			issued, err := f.Create(t.Context(), fred, large(made))
			if errors.Is(err, manage.ErrTooMany) {
				refused++
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			made++
			if len(used) < 10 {
				used[issued.Token.ID] = store.Usage{Count: 1, LastUsed: f.clock(), LastAddress: client}
				continue
			}
			if err := f.Revoke(t.Context(), fred, issued.Token.ID); err != nil {
				t.Fatal(err)
			}
		}
		if second%60 == 0 { // it overwrites records that are there; the server does so more often
			if err := f.tokens.AddUsage(t.Context(), used); err != nil {
				t.Fatal(err)
			}
		}
		f.pass(3 * time.Second)
	}
	grown := onDisk(t, f.dir) - before
	t.Logf("%d tokens made, %d attempts beyond the budget: the disk holds %.1f MiB more", made, refused, float64(grown)/(1<<20))
	if made != 60+600 {
		t.Errorf("%d tokens were made within an hour, want 660", made)
	}
	if grown <= 0 || grown > most {
		t.Errorf("an hour costs %d bytes", grown)
	}
}

// onDisk returns the disk usage of a directory's files, in bytes.
func onDisk(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a compaction has removed it
		}
		if err != nil {
			return err
		}
		bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}
