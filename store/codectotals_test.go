package store_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/storetest"
)

func TestDay(t *testing.T) {
	midnight := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{midnight, "2026-03-01"},
		{midnight.Add(-time.Nanosecond), "2026-02-28"},
		{midnight.Add(24*time.Hour - time.Nanosecond), "2026-03-01"},
		{time.Date(2026, 3, 1, 1, 0, 0, 0, time.FixedZone("east", 2*3600)), "2026-02-28"},
		{time.Unix(0, 0), "1970-01-01"},
		{time.Time{}, "1970-01-01"},
	} {
		day := store.DayOf(c.at)
		if day.String() != c.want || day.Time().Format(time.DateTime) != c.want+" 00:00:00" {
			t.Errorf("%s lies in %s, which begins at %s; want %s", c.at, day, day.Time(), c.want)
		}
	}
}

func TestTotalsRecord(t *testing.T) {
	totals := store.DayTotals{Day: store.DayOf(storetest.Epoch), Counts: map[string]uint64{"read_only": 1, "allowed": 300}}
	const want = "\x08\xa1\xa0\x01" + "\x12\x0c\x0a\x07allowed\x10\xac\x02" + "\x12\x0d\x0a\x09read_only\x10\x01"
	if data := store.EncodeTotals(totals); string(data) != want {
		t.Errorf("record %q, want %q", data, want)
	}
	got, err := store.DecodeTotals(totals.Day, []byte(want+"\x1a\x03new"))
	if diff := cmp.Diff(totals, got); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", want[:10], want[4:], "\x08\xa0\xa0\x01", want + "\x12\x02\x0a\x05", want + "\x10\x01", want + "\x08\x01", "\x08\xff\xff\xff\xff\xff\x01"} {
		if got, err := store.DecodeTotals(totals.Day, []byte(bad)); err == nil || got.Counts != nil || !strings.Contains(err.Error(), "2026-03-01") {
			t.Errorf("%q: %+v, error %v", bad, got, err)
		}
	}
}

func TestPasswordUsesRecord(t *testing.T) {
	uses := []store.PasswordUse{
		{
			User: "fred", Client: "curl/8", Address: netip.MustParseAddr("192.0.2.7"),
			First: storetest.Epoch, Last: storetest.Epoch.Add(time.Minute), Passed: 300, WouldBlock: 2, Blocked: 1,
		},
		{User: "fred", Address: netip.MustParseAddr("2001:db8::1")},
		{User: "fred", Passed: 1},
	}
	const (
		user = "\x0a\x04fred"
		full = "\x12\x21" + "\x0a\x06curl/8" + "\x12\x04\xc0\x00\x02\x07" + "\x18\xc0\xd4\x90\xcd\x06" + "\x20\xfc\xd4\x90\xcd\x06" + "\x28\xac\x02\x30\x02\x38\x01"
		v6   = "\x12\x12\x12\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
		want = user + full + v6 + "\x12\x02\x28\x01"
	)
	if data := store.EncodePasswordUses("fred", uses); string(data) != want {
		t.Errorf("record %q, want %q", data, want)
	}
	got, err := store.DecodePasswordUses("fred", []byte(want))
	if diff := cmp.Diff(uses, got, comparer); err != nil || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if got, err := store.DecodePasswordUses("fred", []byte(user+"\x12\x04\x28\x01\x40\x01\x18\x01")); err != nil || len(got) != 1 || got[0].Passed != 1 {
		t.Errorf("a record with unknown fields: %+v, error %v", got, err)
	}
	for _, bad := range []string{"", want[:20], full, "\x0a\x04FRED" + full, user + "\x12\x05\x12\x03abc", user + "\x12\x02\x12\x00", user + "\x12\x04\x28\x01\x20\x01", user + user} {
		if got, err := store.DecodePasswordUses("fred", []byte(bad)); err == nil || got != nil || strings.Contains(err.Error(), "fred") {
			t.Errorf("%q: %+v, error %v", bad, got, err)
		}
	}
}

// FuzzDecodeTotals shows that what is read is written and read again as the
// same, for totals and the uses of passwords.
func FuzzDecodeTotals(f *testing.F) {
	f.Add(store.EncodeTotals(store.DayTotals{Day: 0, Counts: map[string]uint64{"allowed": 1}}))
	f.Add(store.EncodePasswordUses("fred", []store.PasswordUse{{User: "fred", Client: "x", First: storetest.Epoch, Blocked: 1}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if totals, err := store.DecodeTotals(0, data); err == nil {
			again, err := store.DecodeTotals(0, store.EncodeTotals(totals))
			if diff := cmp.Diff(totals, again); err != nil || diff != "" {
				t.Fatalf("totals: error %v (-want +got):\n%s", err, diff)
			}
		}
		if uses, err := store.DecodePasswordUses("fred", data); err == nil {
			again, err := store.DecodePasswordUses("fred", store.EncodePasswordUses("fred", uses))
			if diff := cmp.Diff(uses, again, comparer); err != nil || diff != "" {
				t.Fatalf("uses: error %v (-want +got):\n%s", err, diff)
			}
		}
	})
}
