package envoy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// KeepPasswords is how long a password record is kept after its last use.
const KeepPasswords = 90 * 24 * time.Hour

// Recorder keeps two records for administrators in the store: daily totals of
// requests, and who still uses passwords.
//
// The totals count requests by reason: allowed by a token ("allowed"), passed
// through with a password ("password"), and denied. authz.PasswordUnknownUser counts a
// part of "password" and "password_blocked". The day is that of the flush.
//
// It counts in memory; Flush writes. Unflushed counts are lost when the process
// ends. If the store fails, counts are kept for the next flush; if it failed after
// a partial write, those are counted twice.
type Recorder struct {
	// IsKnown reports whether the directory has a user, and returns the canonical
	// name. It is called concurrently while requests wait, so it must not do I/O.
	// The name is any text of a client, possibly a secret, and valid during the
	// call only: IsKnown must not keep or log it. If IsKnown is nil, no user is
	// known. Set it before the first request.
	IsKnown func(name string) (canonical string, ok bool)

	store   store.Store
	metrics *Metrics
	now     func() time.Time

	unknown atomic.Uint64 // the authz.PasswordUnknownUser total since the start

	mu      sync.Mutex
	pending passwordTable // since the last flush

	// writing is the lock of the fields below, held during a flush. It is a channel
	// so that waiting for it ends with the context.
	writing chan struct{}
	kept    passwordTable     // taken from pending, not yet written
	written map[string]uint64 // the totals since the start that the store has
	pruned  store.Day         // when old password records were last removed
}

// NewRecorder returns a recorder of the decisions in m and of passwords.
func NewRecorder(s store.Store, m *Metrics, now func() time.Time) *Recorder {
	return &Recorder{
		store: s, metrics: m, now: now,
		pending: make(passwordTable), kept: make(passwordTable),
		writing: make(chan struct{}, 1),
	}
}

// Flush writes the counts since the last flush, and once a day removes password
// records older than KeepPasswords.
func (r *Recorder) Flush(ctx context.Context) error {
	select {
	case r.writing <- struct{}{}:
		defer func() { <-r.writing }()
	case <-ctx.Done():
		return fmt.Errorf("flush records: %w", ctx.Err())
	}
	// Totals last: flushPasswords may add to them.
	now := r.now()
	if err := errors.Join(r.flushPasswords(ctx), r.prune(ctx, now), r.flushTotals(ctx, store.DayOf(now))); err != nil {
		return fmt.Errorf("flush records: %w", err)
	}
	return nil
}

// flushTotals writes the increase of the totals.
func (r *Recorder) flushTotals(ctx context.Context, day store.Day) error {
	totals := r.metrics.totals()
	totals[authz.PasswordUnknownUser] = r.unknown.Load()
	increase := make(map[string]uint64)
	for reason, n := range totals {
		if n -= r.written[reason]; n > 0 {
			increase[reason] = n
		}
	}
	if len(increase) == 0 {
		return nil
	}
	if err := r.store.AddTotals(ctx, day, increase); err != nil {
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

// totals returns the number of decisions since the start, by reason. Requests that
// pass through without a password are left out.
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

// password counts a request with a password. It does no I/O, and keeps only the
// name of a known user, the User-Agent and the address.
func (r *Recorder) password(q *authz.Request, d authz.Decision, now time.Time) {
	user, known := "", false
	if r.IsKnown != nil && d.ClaimedUser != "" {
		user, known = r.IsKnown(d.ClaimedUser)
	}
	if !known {
		r.unknown.Add(1)
		return
	}
	use := store.PasswordUse{User: user, Client: clientName(q.UserAgent), Address: q.Client, First: now, Last: now}
	switch {
	case d.Outcome != authz.PassThrough:
		use.Blocked = 1
	case d.WouldBlock:
		use.WouldBlock = 1
		fallthrough
	default:
		use.Passed = 1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(r.pending, use)
}

// keep adds a use to a table, or counts it as unknown if the table is full.
func (r *Recorder) keep(t passwordTable, use store.PasswordUse) {
	if !t.add(use) {
		r.unknown.Add(use.Requests())
	}
}

// flushPasswords writes the password records.
func (r *Recorder) flushPasswords(ctx context.Context) error {
	r.mu.Lock()
	pending := r.pending
	r.pending = make(passwordTable)
	r.mu.Unlock()
	for _, uses := range pending {
		for _, use := range uses {
			r.keep(r.kept, use)
		}
	}
	for len(r.kept) > 0 {
		users, batch := r.kept.batch()
		left, err := r.store.AddPasswordUses(ctx, batch)
		if err != nil {
			return err
		}
		r.unknown.Add(left)
		for _, user := range users {
			delete(r.kept, user)
		}
	}
	r.kept = make(passwordTable) // frees the map's memory
	return nil
}

// passwordTable holds password records by user, up to the store's limits.
type passwordTable map[string][]store.PasswordUse

// add adds a use and reports whether there was space. It copies the use's strings.
func (t passwordTable) add(use store.PasswordUse) bool {
	uses, found := t[use.User]
	if !found && len(t) == store.MaxPasswordUsers {
		return false
	}
	if more := store.AddPasswordUse(uses, use); len(more) > len(uses) {
		t[more[0].User] = more
	}
	return true
}

// batch returns as many users and their uses as the store takes at once.
func (t passwordTable) batch() (users []string, uses []store.PasswordUse) {
	for user, more := range t {
		if len(users) == store.MaxPasswordBatch {
			break
		}
		users, uses = append(users, user), append(uses, more...)
	}
	return users, uses
}

// clientName returns a User-Agent for the records: shortened, printable, and
// without the secrets of tokens.
func clientName(agent string) string {
	const most = 100
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, token.Redact(agent[:min(len(agent), most)]))
}
