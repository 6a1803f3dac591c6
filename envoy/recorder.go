package envoy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/store"
)

// KeepPasswords is how long the use of a password is on record after its last.
const KeepPasswords = 90 * 24 * time.Hour

// Recorder keeps two records of requests for administrators, in the store: the
// totals of each day, and who still uses passwords.
//
// The totals say how many requests were let in by a token ("allowed"), let
// through with a password ("password"), and refused, by the Reason's word;
// authz.PasswordUnknownUser is a part of "password" and "password_blocked". The day
// is that of the flush.
//
// It counts in memory and writes when it is told to. What was not flushed is
// lost with the process. What the store does not take is kept for the next
// flush; if the store wrote something and still returned an error, that is
// counted twice.
type Recorder struct {
	// IsKnown says whether the directory knows a user name that a client claims,
	// and how it spells it. It is asked on the path of a request, by many at
	// once, so it does no I/O. The name may be anything, a password too, and is
	// good until Known returns: Known neither keeps nor shows it. Nil knows
	// nobody. It is set before the first request.
	IsKnown func(name string) (canonical string, ok bool)

	store   store.Store
	metrics *Metrics
	now     func() time.Time

	unknown atomic.Uint64 // of authz.PasswordUnknownUser, since the start

	mu      sync.Mutex
	pending passwordTable // since the last flush

	// writing holds one value during a flush. It is a channel because waiting
	// for it ends with the context. Who flushes may touch the rest.
	writing chan struct{}
	kept    passwordTable     // taken from fresh, not written
	written map[string]uint64 // of the totals since the start, what the store has
	pruned  store.Day         // when old uses of passwords were last removed
}

// NewRecorder returns a recorder of what the metrics count, and of passwords.
func NewRecorder(s store.Store, m *Metrics, now func() time.Time) *Recorder {
	return &Recorder{
		store: s, metrics: m, now: now,
		pending: make(passwordTable), kept: make(passwordTable),
		writing: make(chan struct{}, 1),
	}
}

// Flush writes what has been counted since the last flush, and once a day
// removes uses of passwords that are older than KeepPasswords.
func (r *Recorder) Flush(ctx context.Context) error {
	select {
	case r.writing <- struct{}{}:
		defer func() { <-r.writing }()
	case <-ctx.Done():
		return fmt.Errorf("flush records: %w", ctx.Err())
	}
	// The totals come last: they count the passwords that found no room.
	now := r.now()
	if err := errors.Join(r.flushPasswords(ctx), r.prune(ctx, now), r.flushTotals(ctx, store.DayOf(now))); err != nil {
		return fmt.Errorf("flush records: %w", err)
	}
	return nil
}

// flushTotals writes by how much the totals have grown.
func (r *Recorder) flushTotals(ctx context.Context, day store.Day) error {
	totals := r.metrics.totals()
	totals[authz.PasswordUnknownUser] = r.unknown.Load()
	more := make(map[string]uint64)
	for word, n := range totals {
		if n -= r.written[word]; n > 0 {
			more[word] = n
		}
	}
	if len(more) == 0 {
		return nil
	}
	if err := r.store.AddTotals(ctx, day, more); err != nil {
		return err
	}
	r.written = totals
	return nil
}

func (r *Recorder) prune(ctx context.Context, now time.Time) error {
	if r.pruned == store.DayOf(now) {
		return nil
	}
	if err := r.store.PrunePasswordUses(ctx, now.Add(-KeepPasswords)); err != nil {
		return err
	}
	r.pruned = store.DayOf(now)
	return nil
}

// totals returns how many requests were decided since the start, by the words
// of the totals. What is passed on as Jira's own business is not among them.
func (m *Metrics) totals() map[string]uint64 {
	totals := make(map[string]uint64)
	for _, reason := range authz.Reasons() {
		for _, outcome := range reason.Outcomes() {
			if outcome != authz.PassThrough || reason == authz.Password {
				totals[reason.String()] = m.decided(outcome, reason)
			}
		}
	}
	return totals
}
