package identify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/store"
)

// Invented names don't block other names, the latest failures stay counted, and the records are bounded.
func TestCountsAreBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var records store.MemoryRecords
	l := lockout{newSharedMemory(&records, func() time.Time { return now })}
	sum, err := l.sum(t.Context(), "name", "fred")
	if err != nil {
		t.Fatal(err)
	}
	record := fmt.Sprintf("passwords/%04x", (int(sum[0])<<8|int(sum[1]))%nameRecords)
	// stored returns the record, and replaces it by next.
	stored := func(next ...nameFailures) (all []nameFailures) {
		t.Helper()
		err := store.UpdateSharedList(t.Context(), &records, record, func(list []nameFailures) ([]nameFailures, error) {
			all = list
			if len(next) > 0 {
				return next, nil
			}
			return list, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	full := make([]nameFailures, maxNames)
	for i := range full {
		full[i] = nameFailures{Name: uint64(i), Last: now.Add(time.Duration(i)).UnixNano(), Failures: 1}
	}
	stored(full...)
	for i, c := range []struct {
		after   time.Duration
		verdict product.Verdict
		want    error
		names   int
	}{
		{0, product.VerdictUnchecked, nil, maxNames - 1}, {0, product.VerdictRejected, nil, maxNames},
		{0, product.VerdictAccepted, nil, maxNames - 1}, {0, product.VerdictUnknown, nil, maxNames}, {time.Hour, product.VerdictRejected, nil, maxNames},
		{failureTTL - time.Second, product.VerdictAccepted, ErrTooManyFailures, maxNames},
		{time.Second, product.VerdictRejected, nil, 1},
	} {
		now = now.Add(c.after)
		id, err := l.begin(t.Context(), "FRED")
		if !errors.Is(err, c.want) {
			t.Errorf("attempt %d: %v, want %v", i, err, c.want)
		}
		if err == nil {
			l.end(t.Context(), "Fred", id, c.verdict)
			l.end(t.Context(), "Fred", id, product.VerdictRejected) // has no effect
		}
		if all := stored(); len(all) != c.names || all[0].Name == 0 {
			t.Errorf("attempt %d: %d names are stored, the first is %d; want %d without 0", i, len(all), all[0].Name, c.names)
		}
	}
}

// The attempts of a server that has crashed count as failures, and those of a slow one once.
func TestAttemptsWithoutOutcome(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var records store.MemoryRecords
	l := lockout{newSharedMemory(&records, func() time.Time { return now })}
	other := lockout{newSharedMemory(&records, func() time.Time { return now.Add(2 * time.Minute) })}
	begin := func(want error) passed {
		t.Helper()
		a, err := l.begin(t.Context(), "fred")
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		return a
	}
	began := begin(nil)
	now = now.Add(30 * time.Second) // longer than any attempt takes
	other.loggedIn(t.Context(), "fred", now.Add(2*time.Minute))
	crashed := begin(nil)
	begin(ErrTooManyFailures)
	l.end(t.Context(), "fred", began, product.VerdictAccepted) // its own, not the other's
	begin(nil)
	begin(ErrTooManyFailures)
	now = now.Add(attemptTTL + time.Second)
	begin(ErrTooManyFailures)
	l.loggedIn(t.Context(), "fred", now)
	l.end(t.Context(), "fred", crashed, product.VerdictRejected)
	begin(nil)
	begin(nil)
	begin(ErrTooManyFailures)
}

// A success clears no failure of an attempt that began after it, however late it is counted.
func TestLateSuccess(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, known := range map[string]bool{"counted": false, "recently accepted": true} {
		var records store.MemoryRecords
		l := lockout{newSharedMemory(&records, func() time.Time { return now })}
		behind := lockout{newSharedMemory(&records, func() time.Time { return now.Add(-time.Minute) })}
		begin := func(at lockout, want error) passed {
			t.Helper()
			a, err := at.begin(t.Context(), "fred")
			if !errors.Is(err, want) {
				t.Fatalf("%s: %v, want %v", name, err, want)
			}
			return a
		}
		success, other := passed{began: now.UnixNano()}, l
		if !known {
			success, other = begin(l, nil), behind
		}
		now = now.Add(time.Second)
		other.end(t.Context(), "fred", begin(other, nil), product.VerdictRejected)
		l.end(t.Context(), "fred", success, product.VerdictAccepted)
		l.end(t.Context(), "fred", begin(l, nil), product.VerdictRejected)
		begin(l, ErrTooManyFailures)
		now = now.Add(time.Second)
		l.end(t.Context(), "fred", passed{began: now.UnixNano()}, product.VerdictAccepted)
		begin(l, nil)
	}
}

// A server whose clock was far ahead does not lock a name until then.
func TestFailuresOfAWrongClock(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var records store.MemoryRecords
	l := lockout{newSharedMemory(&records, func() time.Time { return now })}
	ahead := lockout{newSharedMemory(&records, func() time.Time { return now.AddDate(10, 0, 0) })}
	for _, v := range []product.Verdict{product.VerdictRejected, product.VerdictUnknown} {
		a, err := ahead.begin(t.Context(), "fred")
		if err != nil {
			t.Fatal(err)
		}
		if v == product.VerdictRejected { // otherwise it has crashed
			ahead.end(t.Context(), "fred", a, v)
		}
	}
	if _, err := l.begin(t.Context(), "fred"); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("an attempt after the failures: %v", err)
	}
	l.loggedIn(t.Context(), "fred", now)
	if _, err := l.begin(t.Context(), "fred"); err != nil {
		t.Errorf("an attempt after a login: %v", err)
	}
}

// A user who makes many sessions does not remove another one's.
func TestManySessionsOfAUser(t *testing.T) {
	var records store.MemoryRecords
	m := newSharedMemory(&records, time.Now)
	accept := func(user, session string) bool {
		t.Helper()
		isNew, err := m.acceptSession(t.Context(), user, session)
		if err != nil {
			t.Fatal(err)
		}
		return isNew
	}
	// Two users share a record once in 4,096 times.
	for _, user := range []string{"fred", "wilma"} {
		accept(user, "theirs")
	}
	for i := range maxSessions + 1 {
		accept("mallory", fmt.Sprint(i))
	}
	if !accept("Mallory", "0") {
		t.Error("a user's sessions are in more than one record")
	}
	if accept("fred", "theirs") && accept("wilma", "theirs") {
		t.Error("the sessions of all other users count as new")
	}
}

// Sessions are recorded in bounded records, seldom, and without the session itself.
func TestSessionsAreRecorded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	records := &counting{}
	a, b := newSharedMemory(records, func() time.Time { return now }), newSharedMemory(records, func() time.Time { return now.Add(time.Minute) })
	for i, c := range []struct {
		after  time.Duration
		at     *sharedMemory
		isNew  bool
		writes int
	}{
		{0, a, true, 1}, {0, a, false, 0}, {0, b, false, 0}, {4 * time.Hour, a, false, 0},
		{time.Minute, a, false, 1}, {0, b, false, 0}, {11 * time.Hour, b, false, 1}, {12 * time.Hour, b, true, 1}, {12 * time.Hour, a, false, 1},
	} {
		now = now.Add(c.after)
		before := records.writes
		isNew, err := c.at.acceptSession(t.Context(), "fred", "JSESSIONID=s3cr3t")
		if err != nil || isNew != c.isNew || records.writes-before != c.writes && i > 0 {
			t.Errorf("%d: new %v, %d writes, error %v; want %v, %d", i, isNew, records.writes-before, err, c.isNew, c.writes)
		}
	}
	sum, err := a.sum(t.Context(), "sessions", "fred")
	if err != nil {
		t.Fatal(err)
	}
	record := fmt.Sprintf("sessions/%03x", (int(sum[0])<<8|int(sum[1]))%sessionRecords)
	full := make([]acceptedSession, maxSessions)
	for i := range full {
		full[i].Until = now.Add(time.Hour).UnixNano()
	}
	if err := store.UpdateSharedList(t.Context(), records, record, func([]acceptedSession) ([]acceptedSession, error) { return full, nil }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if isNew, err := a.acceptSession(t.Context(), "Fred", "s3cr3t"); err != nil || isNew != want {
			t.Errorf("in a full record: new %v, error %v; want %v", isNew, err, want)
		}
	}
	if records.longest != 24*maxSessions {
		t.Errorf("a record has %d bytes", records.longest)
	}
	if records.secret {
		t.Error("a session is in a record")
	}
}

// counting counts the writes.
type counting struct {
	store.MemoryRecords
	writes, longest int
	secret          bool
}

func (c *counting) UpdateShared(ctx context.Context, name string, change store.SharedFunc) error {
	return c.MemoryRecords.UpdateShared(ctx, name, func(before []byte) ([]byte, error) {
		given := string(before)
		after, err := change(before)
		if string(after) != given {
			c.writes++
		}
		c.longest = max(c.longest, len(after))
		c.secret = c.secret || strings.Contains(name+string(after), "s3cr3t")
		return after, err
	})
}
