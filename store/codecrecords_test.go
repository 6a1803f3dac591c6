package store_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/storetest"
)

func TestUsageRecord(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::1")
	tests := []struct {
		usage store.Usage
		want  string
	}{
		{store.Usage{}, ""},
		{store.Usage{Count: 1}, "\x08\x01"},
		{store.Usage{Count: 300, Writes: 1, LastUsed: storetest.Epoch, LastAddress: v4}, "\x08\xac\x02\x10\x01\x18\xc0\xd4\x90\xcd\x06\x22\x04\xc0\x00\x02\x07"},
		{store.Usage{LastAddress: v6}, "\x22\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
		{store.Usage{Count: 1, LastAddress: netip.MustParseAddr("::ffff:1.2.3.4")}, "\x08\x01\x22\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x01\x02\x03\x04"},
	}
	for _, test := range tests {
		if data := store.EncodeUsage(test.usage); string(data) != test.want {
			t.Errorf("record %q, want %q", data, test.want)
		}
		if got, err := store.DecodeUsage("x", []byte(test.want)); err != nil || got != test.usage {
			t.Errorf("usage %+v (error %v), want %+v", got, err, test.usage)
		}
	}
	if got, err := store.DecodeUsage("x", []byte("\x08\x01\x28\x01\x32\x01x")); err != nil || got.Count != 1 {
		t.Errorf("a record with unknown fields: usage %+v, error %v", got, err)
	}
	for _, bad := range []string{"{}", "\x08", "\x0a\x01x", "\x22\x03abc", "\x22\x00", "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x08\x01\x08\x01"} {
		if got, err := store.DecodeUsage("test00000001", []byte(bad)); err == nil || got != (store.Usage{}) || !strings.Contains(err.Error(), "test00000001") {
			t.Errorf("%q: usage %+v, error %v", bad, got, err)
		}
	}
}

func TestAuditRecord(t *testing.T) {
	audit := store.Audit{
		Sequence: 7, Time: storetest.Epoch.Add(5e8), Actor: "uid:0", From: "admin socket", Action: "token.update",
		TokenID: "test00000001", Owner: "fred", Outcome: "done",
		Changes: map[string]store.Change{"name": {Before: "a", After: "b"}, "expires": {After: "c"}},
	}
	const want = "\x08\x07\x10\xc0\xd4\x90\xcd\x06\x18\x80\xca\xb5\xee\x01" + "\x22\x05uid:0" + "\x2a\x0cadmin socket" + "\x32\x0ctoken.update" +
		"\x3a\x0ctest00000001" + "\x42\x04fred" + "\x4a\x04done" + "\x5a\x0c\x0a\x07expires\x1a\x01c" + "\x5a\x0c\x0a\x04name\x12\x01a\x1a\x01b"
	if data := store.EncodeAudit(audit, 0); string(data) != want {
		t.Errorf("record %q, want %q", data, want)
	}
	got, err := store.DecodeAudit(7, []byte(want))
	if diff := cmp.Diff(audit, got); err != nil || diff != "" {
		t.Errorf("audit record: error %v (-want +got):\n%s", err, diff)
	}
	refused := store.Audit{Sequence: 1, Outcome: "refused", Reason: "no\xff UTF-8"}
	if got, err := store.DecodeAudit(1, store.EncodeAudit(refused, 0)); err != nil || cmp.Diff(refused, got) != "" {
		t.Errorf("a record without a time: %+v, error %v", got, err)
	}
	ancient := store.Audit{Sequence: 1, Time: time.Date(-1, 1, 1, 0, 0, 0, 1, time.UTC)}
	if got, err := store.DecodeAudit(1, store.EncodeAudit(ancient, 0)); err != nil || !got.Time.Equal(ancient.Time) {
		t.Errorf("an old record: %v, error %v", got.Time, err)
	}
	for _, bad := range []string{"", want[:50], strings.Replace(want, "\x08\x07", "\x08\x08", 1), want + "\x5a\x02\x0a\x05"} {
		if got, err := store.DecodeAudit(7, []byte(bad)); err == nil || got.Action != "" || !strings.Contains(err.Error(), "audit record 7") {
			t.Errorf("%q: record %+v, error %v", bad, got, err)
		}
	}
}

// FuzzUsageAndAudit checks that usage and audit records that are read can be written and read
// again.
func FuzzUsageAndAudit(f *testing.F) {
	f.Add(store.EncodeAudit(store.Audit{Time: storetest.Epoch, Changes: map[string]store.Change{"name": {Before: "a", After: "b"}}}, 0))
	f.Add(store.EncodeUsage(store.Usage{Count: 3, Writes: 1, LastUsed: storetest.Epoch, LastAddress: netip.MustParseAddr("::1")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := store.DecodeAudit(0, data); err == nil {
			again, err := store.DecodeAudit(0, store.EncodeAudit(a, 0))
			if diff := cmp.Diff(a, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Fatalf("audit record: error %v (-want +got):\n%s", err, diff)
			}
		}
		if u, err := store.DecodeUsage("", data); err == nil {
			if again, err := store.DecodeUsage("", store.EncodeUsage(u)); err != nil || again != u {
				t.Fatalf("usage %+v became %+v, error %v", u, again, err)
			}
		}
	})
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
	for _, bad := range []string{"", want[:10], want[4:], "\x08\xa0\xa0\x01", want + "\x12\x02\x0a\x05", want + "\x08\x01", "\x08\xff\xff\xff\xff\xff\x01"} {
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
	for _, bad := range []string{"", want[:20], full, "\x0a\x04FRED" + full, user + "\x12\x05\x12\x03abc"} {
		if got, err := store.DecodePasswordUses("fred", []byte(bad)); err == nil || got != nil || strings.Contains(err.Error(), "fred") {
			t.Errorf("%q: %+v, error %v", bad, got, err)
		}
	}
}

// FuzzTotalsAndPasswords checks that totals and password uses that are read can be written and
// read again.
func FuzzTotalsAndPasswords(f *testing.F) {
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
