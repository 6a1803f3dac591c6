package store

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Usage is the usage of a token. It is stored apart from the token, so that counting a request
// never rewrites a token.
type Usage struct {
	Count       uint64     // allowed requests
	Writes      uint64     // those that were not reads
	LastUsed    time.Time  // UTC, whole seconds; zero: never
	LastAddress netip.Addr // the client's address at LastUsed; invalid: none
}

// MaxUsageBatch is the number of tokens whose usage a Store adds at once: if AddUsage with up to this
// many returns an error, it has usually added nothing.
const MaxUsageBatch = 500

// UsageOrder orders tokens by their ids. The usage of tokens that are near each other in this order
// is written together, which costs least. It never changes.
func UsageOrder(id string) uint32 { return uint32(xxhash.Sum64String(id) >> 32) }

// InUsageOrder returns ids in UsageOrder.
func InUsageOrder(ids iter.Seq[string]) []string {
	type ordered struct {
		order uint32
		id    string
	}
	var all []ordered
	for id := range ids {
		all = append(all, ordered{UsageOrder(id), id})
	}
	slices.SortFunc(all, func(a, b ordered) int { return cmp.Compare(a.order, b.order) })
	sorted := make([]string, len(all))
	for i, o := range all {
		sorted[i] = o.id
	}
	return sorted
}

// Add returns the sum of u and the later usage v. Time and address are those of the more
// recent one, and v's if both fall into the same second.
func (u Usage) Add(v Usage) Usage {
	u.Count += v.Count
	u.Writes += v.Writes
	if at := wholeSeconds(v.LastUsed); !at.Before(u.LastUsed) {
		u.LastUsed, u.LastAddress = at, v.LastAddress
	}
	return u
}

// Day is a UTC day, as the number of days since 1970-01-01.
type Day uint32

// DayOf returns the day that contains t; earlier times give 1970-01-01.
func DayOf(t time.Time) Day { return Day(max(t.Unix(), 0) / (24 * 60 * 60)) }

// Time returns the instant at which the day begins.
func (d Day) Time() time.Time { return time.Unix(int64(d)*24*60*60, 0).UTC() }

// String returns the day as 2006-01-02.
func (d Day) String() string { return d.Time().Format(time.DateOnly) }

// DayTotals counts the requests of a day by reason. The store does not interpret the
// reasons.
type DayTotals struct {
	Day    Day
	Counts map[string]uint64
}

// KeepDays is the number of days whose totals a Store keeps. It counts stored days and not
// calendar days, so that a clock that was wrong once costs at most one of them.
const KeepDays = 40

// PasswordUse counts the requests with a password of one user, from one client at one address.
type PasswordUse struct {
	User    string     // as the directory spells it
	Client  string     // the User-Agent; empty: none
	Address netip.Addr // the client's address; invalid: unknown

	First, Last time.Time // of the first and the last request; UTC, whole seconds

	Passed     uint64 // allowed requests
	WouldBlock uint64 // those that would have been refused if passwords had been blocked, not observed
	Blocked    uint64 // requests refused because passwords are blocked
}

// Limits on the password uses that a Store keeps.
const (
	// MaxPasswordUsers is the number of users.
	MaxPasswordUsers = 10_000

	// MaxPasswordClients is the number of clients of one user, each at one address. All further
	// ones share one entry without Client and Address.
	MaxPasswordClients = 20

	// MaxPasswordBatch is the number of users whose uses a Store adds in one transaction:
	// AddPasswordUses with up to this many is atomic.
	MaxPasswordBatch = 100
)

// Requests returns the number of requests.
func (u PasswordUse) Requests() uint64 { return u.Passed + u.Blocked }

// AddPasswordUse adds another use of the same user to uses: to the one with the same client and
// address, or to the shared one if there are MaxPasswordClients already. It changes uses in
// place; the result shares no memory with more.
func AddPasswordUse(uses []PasswordUse, more PasswordUse) []PasswordUse {
	more.First, more.Last = wholeSeconds(more.First), wholeSeconds(more.Last)
	more.Address = more.Address.Unmap().WithZone("")
	clients := 0
	for i := range uses {
		u := &uses[i]
		if u.Address == more.Address && u.Client == more.Client {
			u.add(more)
			return uses
		}
		if !u.isOther() {
			clients++
		}
	}
	if clients == MaxPasswordClients && !more.isOther() {
		more.Client, more.Address = "", netip.Addr{}
		return AddPasswordUse(uses, more)
	}
	more.User, more.Client = strings.Clone(more.User), strings.Clone(more.Client)
	return append(uses, more)
}

// isOther reports whether u is the shared entry of all further clients, or that of an unknown
// client.
func (u *PasswordUse) isOther() bool { return u.Client == "" && !u.Address.IsValid() }

func (u *PasswordUse) add(more PasswordUse) {
	u.Passed += more.Passed
	u.WouldBlock += more.WouldBlock
	u.Blocked += more.Blocked
	if more.First.Before(u.First) {
		u.First = more.First
	}
	if more.Last.After(u.Last) {
		u.Last = more.Last
	}
}
