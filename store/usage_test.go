package store_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/storetest"
)

var (
	home = netip.MustParseAddr("192.0.2.7")
	away = netip.MustParseAddr("2001:db8::7")
)

func second(n int) time.Time { return storetest.Epoch.Add(time.Duration(n) * time.Second) }

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

func TestUsageAdd(t *testing.T) {
	base := store.Usage{Count: 2, Writes: 1, LastUsed: second(10), LastAddress: home}
	use := func(count, writes uint64, last time.Time, from netip.Addr) store.Usage {
		return store.Usage{Count: count, Writes: writes, LastUsed: last, LastAddress: from}
	}
	tests := []struct {
		name    string
		u, v, w store.Usage
	}{
		{"nothing and nothing", store.Usage{}, store.Usage{}, store.Usage{}},
		{"nothing and something", store.Usage{}, base, base},
		{"something and nothing", base, store.Usage{}, base},
		{"later", base, use(3, 2, second(11), away), use(5, 3, second(11), away)},
		{"earlier", base, use(3, 2, second(9), away), use(5, 3, second(10), home)},
		{"the same second", base, use(3, 2, second(10).Add(9e8), away), use(5, 3, second(10), away)},
		{"later without address", base, use(1, 0, second(11), netip.Addr{}), use(3, 1, second(11), netip.Addr{})},
	}
	for _, test := range tests {
		if got := test.u.Add(test.v); got != test.w {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.w)
		}
	}
}

// TestUsageOrder compares the order, which files depend on, with that of earlier versions.
func TestUsageOrder(t *testing.T) {
	ids := []string{"test00000001", "A5cp8VH8xWsY", ""}
	for n, want := range []uint32{0x42c1f4e7, 0x9370f8fd, 0xef46db37} {
		if got := store.UsageOrder(ids[n]); got != want {
			t.Errorf("%q: %#x, want %#x", ids[n], got, want)
		}
	}
	if got := store.InUsageOrder(slices.Values([]string{ids[2], ids[1], ids[0]})); !slices.Equal(got, ids) {
		t.Errorf("order %q", got)
	}
}
