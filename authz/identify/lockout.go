package identify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/store"
)

// ErrTooManyFailures means that no more passwords for this user name are passed
// on for now.
var ErrTooManyFailures = errors.New("too many wrong passwords for this user name: " +
	"log in with the browser and use the API tokens page there, after which passwords are accepted again")

const (
	// maxFailures is how many wrong passwords per name are passed on: Jira
	// by default asks for a CAPTCHA after three.
	maxFailures = 2

	// failureTTL is how long failures count. Jira's count ends only with a
	// successful login.
	failureTTL = 7 * 24 * time.Hour

	// attemptTTL is more than an attempt takes from its count to that of its outcome, by clocks that
	// are two minutes apart: afterwards the server that began it has crashed, and it has failed.
	attemptTTL = 4 * time.Minute

	// maxAhead is how far the clocks of two servers may differ.
	maxAhead = 2 * time.Minute

	// The names are in nameRecords records of at most maxNames, 500,000 names in all. Beyond that, the
	// one that failed longest ago is removed, so that invented names can't keep others out. As
	// nobody knows which names share a record, an attacker must have passwords refused for
	// about half as many other names first to remove one.
	nameRecords = 1 << 15
	maxNames    = 16
)

// lockout counts failed passwords by user name, so that nobody can lock a user
// out through tokengate; see Callers. An attempt counts as a failure
// until proven otherwise. The counts are in shared records.
type lockout struct{ *sharedMemory }

// nameFailures are the failures of a name, as they are stored.
type nameFailures struct {
	Name     uint64              // its hash; colliding names share a count
	Last     int64               // start of the last attempt, in nanoseconds of Unix time; later than that of each before
	Failures uint8               // attempts that have ended
	InFlight [maxFailures]uint64 // ids of attempts in flight; 0: none
}

// count returns the number of failures, including attempts in flight.
func (f *nameFailures) count() int {
	count := int(f.Failures)
	for _, id := range f.InFlight {
		if id != 0 {
			count++
		}
	}
	return count
}

// fail adds a failure.
func (f *nameFailures) fail() {
	if f.Failures < maxFailures {
		f.Failures++
	}
}

// forgive clears the failures because of a success that began at an instant, unless an attempt began after that, which may
// have failed after the success.
func (f *nameFailures) forgive(at int64) {
	if f.Last <= at {
		f.Failures = 0
	}
}

// began notes that an attempt begins, and returns its start.
func (f *nameFailures) began(now time.Time) int64 {
	f.Last = max(f.Last+1, now.UnixNano()) // the clock of another server may be ahead
	return f.Last
}

// expire ends what does not count any more.
func (f *nameFailures) expire(now time.Time) {
	if time.Unix(0, f.Last).After(now.Add(maxAhead)) { // by a wrong clock; it would count until then
		f.Last = now.Add(-attemptTTL).UnixNano()
	}
	age := now.Sub(time.Unix(0, f.Last))
	if age < attemptTTL {
		return
	}
	for i, id := range f.InFlight {
		if id != 0 {
			f.InFlight[i] = 0
			f.fail()
		}
	}
	if age >= failureTTL {
		f.Failures = 0
	}
}

// update changes the failures of a name. If change returns an error, update returns it unchanged.
func (l lockout) update(ctx context.Context, name string, change func(*nameFailures) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	sum, err := l.sum(ctx, "name", store.FoldOwner(name))
	if err != nil {
		return err
	}
	record := fmt.Sprintf("passwords/%04x", binary.BigEndian.Uint16(sum[:])%nameRecords)
	id, now := binary.BigEndian.Uint64(sum[2:]), l.now()
	return store.UpdateSharedList(ctx, l.records, record, func(all []nameFailures) ([]nameFailures, error) {
		given := nameFailures{Name: id}
		others := make([]nameFailures, 0, len(all)+1)
		for _, f := range all {
			if f.Name == id {
				given = f
			} else if f.expire(now); f.count() > 0 {
				others = append(others, f)
			}
		}
		changed := given
		changed.expire(now)
		if err := change(&changed); err != nil || changed == given {
			return all, err // no reason to write
		}
		if changed.count() > 0 {
			others = append(others, changed)
		}
		return others[max(0, len(others)-maxNames):], nil
	})
}

// passed is an attempt that is passed on.
type passed struct {
	id    uint64 // 0: with a recently accepted password, which begin has not counted
	began int64  // in nanoseconds of Unix time
}

// begin counts an attempt with a password that is not known, or returns ErrTooManyFailures if none is
// allowed, or ErrUnavailable if the store does not answer. After a nil error, call end once.
func (l lockout) begin(ctx context.Context, name string) (passed, error) {
	a := passed{id: rand.Uint64N(1<<64-1) + 1}
	err := l.update(ctx, name, func(f *nameFailures) error {
		if f.count() >= maxFailures {
			return ErrTooManyFailures
		}
		f.InFlight[slices.Index(f.InFlight[:], 0)] = a.id
		a.began = f.began(l.now())
		return nil
	})
	if err == nil || errors.Is(err, ErrTooManyFailures) {
		return a, err
	}
	// It may be counted.
	l.later(func(ctx context.Context) error { return l.settle(ctx, name, a, product.VerdictUnchecked) })
	return passed{}, fmt.Errorf("%w: cannot count the attempt: %w", directory.ErrUnavailable, err)
}

// end counts the outcome of an attempt. If the store does not answer, end tries again in the background. If that is in vain, the attempt of
// begin stays counted, and the failure of the other is not counted.
func (l lockout) end(ctx context.Context, name string, a passed, v product.Verdict) {
	if a.id == 0 && v == product.VerdictUnchecked {
		return
	}
	settle := func(ctx context.Context) error { return l.settle(ctx, name, a, v) }
	if settle(ctx) != nil {
		l.later(settle)
	}
}

func (l lockout) settle(ctx context.Context, name string, a passed, v product.Verdict) error {
	return l.update(ctx, name, func(f *nameFailures) error {
		if a.id != 0 {
			i := slices.Index(f.InFlight[:], a.id)
			if i < 0 {
				return nil // its outcome is counted
			}
			f.InFlight[i] = 0
		}
		switch v {
		case product.VerdictAccepted: // clears the failures, as in the application; attempts in flight may still fail
			f.forgive(a.began)
		case product.VerdictUnchecked:
		default:
			f.fail()
			if a.id == 0 {
				f.began(l.now())
			}
		}
		return nil
	})
}

// loggedIn clears the failures of a name whose user had a new session at the
// given time. Later attempts and attempts in flight keep counting.
func (l lockout) loggedIn(ctx context.Context, name string, at time.Time) {
	forgive := func(ctx context.Context) error {
		return l.update(ctx, name, func(f *nameFailures) error {
			f.forgive(at.UnixNano())
			return nil
		})
	}
	if forgive(ctx) != nil {
		l.later(forgive)
	}
}
