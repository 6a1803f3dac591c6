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
	begin := func(want error) uint64 {
		t.Helper()
		id, err := l.begin(t.Context(), "fred")
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
		return id
	}
	began := begin(nil)
	now = now.Add(30 * time.Second) // longer than any attempt takes
	other.loggedIn(t.Context(), "fred", now.Add(2*time.Minute))
	crashed := begin(nil)
	begin(ErrTooManyFailures)
	l.end(t.Context(), "fred", began, product.VerdictAccepted) // its own, not the other's
	begin(nil)
	begin(ErrTooManyFailures)
	now = now.Add(attemptTTL)
	begin(ErrTooManyFailures)
	l.loggedIn(t.Context(), "fred", now)
	l.end(t.Context(), "fred", crashed, product.VerdictRejected)
	begin(nil)
	begin(nil)
	begin(ErrTooManyFailures)
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
		isNew, err := c.at.acceptSession(t.Context(), "JSESSIONID=s3cr3t")
		if err != nil || isNew != c.isNew || records.writes-before != c.writes && i > 0 {
			t.Errorf("%d: new %v, %d writes, error %v; want %v, %d", i, isNew, records.writes-before, err, c.isNew, c.writes)
		}
	}
	sum, err := a.sum(t.Context(), "session", "s3cr3t")
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
		if isNew, err := a.acceptSession(t.Context(), "s3cr3t"); err != nil || isNew != want {
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
