package upstream

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/store"
)

// Actor is who checks credentials in audit records.
const Actor = "tokengate"

// leastPause is the pause between two checks, so that they take little of the application's time.
const leastPause = 200 * time.Millisecond

const (
	// tidyEvery is how often Run tries again to delete credentials in the application.
	tidyEvery = 10 * time.Minute

	// tidyPause is the pause between two times, however much changes.
	tidyPause = 5 * time.Second
)

// Run checks every credential once per interval, spread evenly, and those of Suspect at once, until
// ctx ends. With very many, a round takes longer than the interval. It also deletes in the application
// what is no longer used or was left by a process that ended, and renews what is due. Of several servers, one
// does all that, except for Suspect, Refused and Visit. Each shows what the others have changed.
func (c *Credentials) Run(ctx context.Context, interval time.Duration) {
	var running sync.WaitGroup
	running.Go(func() { c.follow(ctx) })
	running.Go(func() { c.keepTidy(ctx) })
	running.Go(func() { c.renewVisitors(ctx) })
	running.Go(func() { c.checkSuspects(ctx) })
	c.keepChecked(ctx, interval)
	running.Wait()
}

func (c *Credentials) keepChecked(ctx context.Context, interval time.Duration) {
	for ctx.Err() == nil {
		if !c.hasRounds(ctx) {
			pause(ctx, roundsAgain)
			continue
		}
		users, err := c.find(ctx, func(o store.UpstreamCredential) bool { return o.State.InUse() })
		if err != nil {
			if ctx.Err() == nil {
				c.Log.Error("the connections of users cannot be read", zap.Error(err))
			}
			pause(ctx, roundsAgain)
			continue
		}
		each := max(interval/time.Duration(max(len(users), 1)), leastPause)
		if len(users) == 0 {
			pause(ctx, each)
		}
		for _, user := range users {
			if pause(ctx, each); ctx.Err() != nil || !c.hasRounds(ctx) {
				break
			}
			c.check(ctx, user)
			c.release(ctx, user)
			c.renewWithItself(ctx, user)
		}
	}
}

// roundsAgain is how often a server asks whether the rounds are its own, and the pause after the store did not answer.
const roundsAgain = 5 * time.Second

// keepTidy counts the credentials and deletes what is left of users' previous ones in the application, until ctx ends.
func (c *Credentials) keepTidy(ctx context.Context) {
	c.makeChannels()
	for ctx.Err() == nil {
		left, err := c.survey(ctx)
		if err != nil && ctx.Err() == nil {
			c.Log.Error("the connections of users cannot be read", zap.Error(err))
		}
		c.tidyAll(ctx, left)
		pause(ctx, tidyPause)
		select {
		case <-ctx.Done():
		case <-c.tidying:
		case <-time.After(tidyEvery):
		}
	}
}

// tidyAll deletes what is left of these users' credentials, if the rounds are this server's.
func (c *Credentials) tidyAll(ctx context.Context, left []string) {
	for i, user := range left {
		if i > 0 {
			pause(ctx, leastPause)
		}
		if ctx.Err() != nil || !c.hasRounds(ctx) {
			return
		}
		if unlock, free := c.tryLockUser(ctx, user); free { // otherwise the holder does it, or the next round
			c.tidyAfter(ctx, user, nil)
			unlock()
		}
	}
}

// checkSuspects checks those of Suspect until ctx ends.
func (c *Credentials) checkSuspects(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-c.suspects.wake():
			for _, user := range c.suspects.take() {
				c.check(ctx, user)
			}
			pause(ctx, leastPause) // a client that raises suspicion again and again does not make the application busy
		}
	}
}

// pause returns after a time, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (c *Credentials) check(ctx context.Context, user string) {
	if ctx.Err() != nil {
		return
	}
	_, unsure := c.unsure.Load(user)
	state, err := c.Check(ctx, user, c.audit(CheckAction, ""))
	switch {
	case errors.Is(err, ErrNotConnected) && unsure: // disconnected after Refused
		_ = c.settle(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
			return before, nil, nil
		})
	case errors.Is(err, ErrNotConnected), ctx.Err() != nil:
	case err != nil:
		c.Log.Warn("the connection of a user could not be checked; it is tried again", zap.String("user_key", user), zap.Error(err))
		if _, unsure := c.unsure.Load(user); unsure { // the user's tokens are denied until then
			c.suspectLater(user)
		}
	case state == store.UpstreamActive:
		c.retried.Delete(user)
	default:
		// The answer may have been one of an application that is starting.
		if _, already := c.retried.LoadOrStore(user, true); !already {
			time.AfterFunc(recheckBroken, func() { c.Suspect(user) })
		}
	}
}

// recheckBroken is how soon a credential that was refused is checked once more before its turn.
const recheckBroken = 10 * time.Minute

// recheckUnsure is how soon a check is repeated that failed, while the user's tokens are denied.
const recheckUnsure = 5 * time.Second

// CheckAction is the action of audit records about a credential whose state a check has changed.
const CheckAction = "upstream.check"

// Suspect makes Run check a user's credential soon, because the application may have
// answered a request with it as one of nobody.
func (c *Credentials) Suspect(user string) { c.suspects.add(user, maxSuspects) }

// suspectLater is Suspect in a few seconds, so that an application or a disk that fails is not asked all the time.
func (c *Credentials) suspectLater(user string) {
	if _, already := c.waiting.LoadOrStore(user, true); already {
		return
	}
	time.AfterFunc(recheckUnsure, func() {
		c.waiting.Delete(user)
		c.Suspect(user)
	})
}

// Refused is Suspect after the application has answered so. The user's tokens are denied until the
// check, so that no further request reaches the application as nobody's. It denies them once a minute
// at most, because some answers of the application never name the user, and not while many users are denied
// until a check, because then the application is to blame.
func (c *Credentials) Refused(user string) {
	last, _ := c.denied.Load(user)
	if at, found := last.(time.Time); (!found || c.Now().Sub(at) >= denyAgain) && c.fewerDenied(maxDenied) {
		c.denied.Store(user, c.Now())
		c.block(user)
	}
	c.Suspect(user)
}

const (
	denyAgain = time.Minute
	maxDenied = 10 // users
)

// fewerDenied reports whether fewer than most users are denied until a check.
func (c *Credentials) fewerDenied(most int) bool {
	n := 0
	c.unsure.Range(func(any, any) bool { n++; return n < most })
	return n < most
}

// audit returns a record of what tokengate does by itself.
func (c *Credentials) audit(action, owner string) store.Audit {
	return store.Audit{Time: c.Now(), Actor: Actor, From: "tokengate", Action: action, Owner: owner, Outcome: "done"}
}

// maxSuspects bounds the memory; further users wait for their turn in the round.
const maxSuspects = 10_000

// users are the keys of users with whom something is to be done. The zero value is empty.
type users struct {
	mu     sync.Mutex
	keys   map[string]bool
	signal chan struct{} // holds one value while there are users
}

// add adds a user, unless there are most.
func (s *users) add(user string, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) >= most {
		return
	}
	if s.keys == nil {
		s.keys = make(map[string]bool)
	}
	s.keys[user] = true
	select {
	case s.channel() <- struct{}{}:
	default:
	}
}

// channel returns the signal. The caller holds the lock.
func (s *users) channel() chan struct{} {
	if s.signal == nil {
		s.signal = make(chan struct{}, 1)
	}
	return s.signal
}

func (s *users) wake() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channel()
}

func (s *users) take() (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys = slices.Collect(maps.Keys(s.keys))
	s.keys = nil
	return keys
}
