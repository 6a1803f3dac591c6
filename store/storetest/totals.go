package storetest

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

func (f *fixture) addTotals(day store.Day, counts map[string]uint64) {
	f.t.Helper()
	if err := f.AddTotals(f.t.Context(), day, counts); err != nil {
		f.t.Fatalf("add totals: %v", err)
	}
}

func (f *fixture) totals(from store.Day) []store.DayTotals {
	f.t.Helper()
	totals, err := f.Totals(f.t.Context(), from)
	if err != nil {
		f.t.Fatalf("totals: %v", err)
	}
	return totals
}

func testTotals(t *testing.T, s Suite) {
	f := open(t, s)
	type counts = map[string]uint64
	today := store.DayOf(Epoch)
	same(t, "totals of nothing", f.totals(0), []store.DayTotals(nil))
	f.addTotals(today, counts{"allowed": 3, "read_only": 1})
	f.addTotals(today-1, counts{"allowed": 7})
	f.addTotals(today+300, counts{"password": 1}) // over a gap
	f.addTotals(today, counts{"allowed": 2, "password": 1 << 63})
	f.addTotals(today, nil)
	want := []store.DayTotals{
		{Day: today - 1, Counts: counts{"allowed": 7}},
		{Day: today, Counts: counts{"allowed": 5, "read_only": 1, "password": 1 << 63}},
		{Day: today + 300, Counts: counts{"password": 1}},
	}
	same(t, "totals", f.totals(0), want)
	same(t, "totals from a day on", f.totals(today), want[1:])
	same(t, "totals from a day without any on", f.totals(today+1), want[2:])
	same(t, "totals from behind the last", f.totals(today+301), []store.DayTotals(nil))
	f.reopen()
	same(t, "totals after reopening", f.totals(0), want)
}

// testTotalsOfManyDays checks that the latest days are kept, and that days added by a wrong clock
// displace only as many others.
func testTotalsOfManyDays(t *testing.T, s Suite) {
	f := open(t, s)
	today := store.DayOf(Epoch)
	f.addTotals(today+5000, map[string]uint64{"allowed": 1})
	for n := range 2 * store.KeepDays {
		f.addTotals(today+store.Day(n), map[string]uint64{"allowed": uint64(n)})
	}
	f.addTotals(0, map[string]uint64{"allowed": 1}) // too old to stay
	got := f.totals(0)
	if len(got) != store.KeepDays {
		t.Fatalf("%d days were kept, want %d", len(got), store.KeepDays)
	}
	first := today + store.KeepDays + 1
	for i, d := range got[:store.KeepDays-1] {
		if want := first + store.Day(i); d.Day != want || d.Counts["allowed"] != uint64(want-today) {
			t.Errorf("day %d is %s with %v, want %s", i, d.Day, d.Counts, want)
		}
	}
}

func testParallelTotals(t *testing.T, s Suite) {
	f := open(t, s)
	const adders, each = 8, 20
	today := store.DayOf(Epoch)
	var run []func()
	for a := range adders {
		run = append(run, func() {
			for range each {
				counts := map[string]uint64{"all": 1, fmt.Sprint(a): 1}
				if err := f.AddTotals(t.Context(), today, counts); err != nil {
					t.Errorf("add totals: %v", err)
				}
			}
		})
	}
	together(run...)
	want := map[string]uint64{"all": adders * each}
	for a := range adders {
		want[fmt.Sprint(a)] = each
	}
	same(t, "totals", f.totals(0), []store.DayTotals{{Day: today, Counts: want}})
}

func (f *fixture) addPasswords(uses ...store.PasswordUse) (left uint64) {
	f.t.Helper()
	left, err := f.AddPasswordUses(f.t.Context(), uses)
	if err != nil {
		f.t.Fatalf("add password uses: %v", err)
	}
	return left
}

// passwords returns the password uses by user, client and address.
func (f *fixture) passwords() map[string]store.PasswordUse {
	f.t.Helper()
	uses, err := f.PasswordUses(f.t.Context())
	if err != nil {
		f.t.Fatalf("password uses: %v", err)
	}
	return byClient(f.t, uses...)
}

func byClient(t *testing.T, uses ...store.PasswordUse) map[string]store.PasswordUse {
	t.Helper()
	by := make(map[string]store.PasswordUse)
	last, done := "", make(map[string]bool)
	for _, u := range uses {
		if u.User != last {
			if done[u.User] {
				t.Errorf("the uses of %q are not adjacent", u.User)
			}
			last, done[u.User] = u.User, true
		}
		key := fmt.Sprintf("%s, %s, %s", u.User, u.Client, u.Address)
		if _, twice := by[key]; twice {
			t.Errorf("two uses of %s", key)
		}
		by[key] = u
	}
	return by
}

// passwordUse returns the use of one allowed request.
func passwordUse(user, client string, seconds int) store.PasswordUse {
	at := Epoch.Add(time.Duration(seconds) * time.Second)
	return store.PasswordUse{User: user, Client: client, Address: netip.MustParseAddr("192.0.2.7"), First: at, Last: at, Passed: 1}
}

func testPasswordUses(t *testing.T, s Suite) {
	f := open(t, s)
	same(t, "uses of nothing", f.passwords(), map[string]store.PasswordUse{})
	a := passwordUse("fred", "curl/8", 10)
	a.WouldBlock = 1
	if left := f.addPasswords(a); left != 0 {
		t.Errorf("%d requests were dropped", left)
	}

	// Other users, clients and addresses, unknown ones, and another spelling.
	others := []store.PasswordUse{a, a, a, a, a, a}
	others[0].User, others[1].User = "wilma", "Fred"
	others[2].Client, others[3].Client = "Bérénice's/1", ""
	others[4].Address = netip.MustParseAddr("2001:db8::7")
	others[5].Client, others[5].Address = "", netip.Addr{}
	f.addPasswords(others...)
	want := byClient(t, a)
	maps.Copy(want, byClient(t, others[0], others[1]))
	maps.Copy(want, byClient(t, others[2:]...))
	same(t, "uses", f.passwords(), want)

	// More uses of the first: later, earlier, with fractions of a second, and as IPv6, in two
	// calls and in one.
	later, earlier := passwordUse("fred", "curl/8", 30), passwordUse("fred", "curl/8", 5)
	later.WouldBlock, later.Blocked = 2, 4
	earlier.Address = netip.MustParseAddr("::ffff:192.0.2.7")
	earlier.Last = Epoch.Add(6*time.Second + 5e8).In(time.FixedZone("east", 3600))
	f.addPasswords(later)
	f.addPasswords(earlier, passwordUse("fred", "curl/8", 20))
	a.First, a.Last, a.Passed, a.WouldBlock, a.Blocked = earlier.First, later.Last, 4, 3, 4
	maps.Copy(want, byClient(t, a))
	same(t, "uses with more on top", f.passwords(), want)
	f.addPasswords()
	f.reopen()
	same(t, "uses after reopening", f.passwords(), want)
}

// testPasswordClients adds more clients of one user than are kept.
func testPasswordClients(t *testing.T, s Suite) {
	f := open(t, s)
	const more = 7
	var uses []store.PasswordUse
	for n := range store.MaxPasswordClients + more {
		uses = append(uses, passwordUse("fred", fmt.Sprint("client ", n), n))
	}
	want := byClient(t, uses[:store.MaxPasswordClients]...)
	others := store.PasswordUse{
		User: "fred", Passed: more, First: uses[store.MaxPasswordClients].First, Last: uses[len(uses)-1].Last,
	}
	maps.Copy(want, byClient(t, others))
	f.addPasswords(uses[:10]...)
	f.addPasswords(uses[10:]...)
	f.addPasswords(passwordUse("wilma", "client 1", 0))
	maps.Copy(want, byClient(t, passwordUse("wilma", "client 1", 0)))
	same(t, "uses", f.passwords(), want)

	again := uses[3]
	f.addPasswords(again)
	again.Passed = 2
	maps.Copy(want, byClient(t, again))
	same(t, "uses when there is no room", f.passwords(), want)
}

// testPasswordUsers adds more users than are kept.
func testPasswordUsers(t *testing.T, s Suite) {
	f := open(t, s)
	var uses []store.PasswordUse
	for n := range store.MaxPasswordUsers {
		uses = append(uses, passwordUse(fmt.Sprint("user ", n), "curl", 0))
	}
	if left := f.addPasswords(uses...); left != 0 {
		t.Errorf("%d requests were dropped", left)
	}
	another := passwordUse("user 10000", "curl", 3600)
	another.Blocked = 2
	for range 2 {
		if left := f.addPasswords(another, passwordUse("user 7", "wget", 3600)); left != 3 {
			t.Errorf("%d requests were dropped, want 3", left)
		}
	}
	f.reopen()
	got := f.passwords()
	if n := len(got); n != store.MaxPasswordUsers+1 || got["user 7, wget, 192.0.2.7"].Passed != 2 {
		t.Errorf("%d uses, %+v", n, got["user 7, wget, 192.0.2.7"])
	}

	// A prune makes room for new users.
	f.prunePasswords(Epoch.Add(time.Minute))
	same(t, "left out after a prune", f.addPasswords(another), uint64(0))
	two := passwordUse("user 7", "wget", 3600)
	two.Passed = 2
	same(t, "uses after a prune", f.passwords(), byClient(t, two, another))
}

// testPasswordBatch adds the largest uses that fit into one transaction.
func testPasswordBatch(t *testing.T, s Suite) {
	f := open(t, s)
	var uses []store.PasswordUse
	for user := range store.MaxPasswordBatch {
		for client := range store.MaxPasswordClients + 1 {
			u := passwordUse(fmt.Sprintf("%0255d", user), fmt.Sprintf("%0120d", client), 0)
			u.Address = netip.MustParseAddr("2001:db8::7")
			u.Passed, u.WouldBlock, u.Blocked = 1<<62, 1<<62, 1<<62
			uses = append(uses, u)
		}
	}
	f.addPasswords(uses...)
	if n := len(f.passwords()); n != len(uses) {
		t.Errorf("there are %d uses, want %d", n, len(uses))
	}
}

func (f *fixture) prunePasswords(before time.Time) {
	f.t.Helper()
	if err := f.PrunePasswordUses(f.t.Context(), before); err != nil {
		f.t.Fatalf("prune password uses: %v", err)
	}
}

func testPrunePasswordUses(t *testing.T, s Suite) {
	f := open(t, s)
	cut := 100
	gone := passwordUse("fred", "old", cut-1)
	started := passwordUse("fred", "old, and used since", cut-1)
	started.Last = started.First.Add(time.Hour)
	at := passwordUse("wilma", "at the instant", cut)
	f.addPasswords(gone, started, at, passwordUse("barney", "old", cut-50))
	f.prunePasswords(Epoch.Add(time.Duration(cut) * time.Second))
	want := byClient(t, started)
	maps.Copy(want, byClient(t, at))
	same(t, "uses", f.passwords(), want)
	f.prunePasswords(Epoch.Add(time.Duration(cut) * time.Second))
	same(t, "uses after a second prune", f.passwords(), want)
}

// testParallelPasswordUses checks that neither concurrent additions nor a prune lose uses.
func testParallelPasswordUses(t *testing.T, s Suite) {
	f := open(t, s)
	const adders, each = 8, 20
	var run []func()
	for a := range adders {
		run = append(run, func() {
			for n := range each {
				uses := []store.PasswordUse{
					passwordUse("fred", "curl", a*each+n),
					passwordUse(fmt.Sprint("user ", a), "curl", n),
					passwordUse(fmt.Sprint("old ", a, n%2), "curl", -1),
				}
				if _, err := f.AddPasswordUses(t.Context(), uses); err != nil {
					t.Errorf("add password uses: %v", err)
				}
			}
		})
	}
	run = append(run, func() {
		for range each {
			f.prunePasswords(Epoch)
		}
	})
	together(run...)
	f.prunePasswords(Epoch)
	all := passwordUse("fred", "curl", 0)
	all.Passed, all.Last = adders*each, Epoch.Add((adders*each-1)*time.Second)
	want := byClient(t, all)
	for a := range adders {
		u := passwordUse(fmt.Sprint("user ", a), "curl", 0)
		u.Passed, u.Last = each, Epoch.Add((each-1)*time.Second)
		maps.Copy(want, byClient(t, u))
	}
	same(t, "uses", f.passwords(), want)
}
