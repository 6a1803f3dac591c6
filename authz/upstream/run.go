package upstream

import (
	"context"
	"errors"
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

// tidyEvery is how often Run tries again to delete credentials in the application.
const tidyEvery = 10 * time.Minute

// Run checks every credential once per interval, spread evenly, and those of Suspect at once, until
// ctx ends. With very many, a round takes longer than the interval. It also deletes in the application
// what is no longer used or was left by a process that ended, and renews what is due.
func (c *Credentials) Run(ctx context.Context, interval time.Duration) {
	var running sync.WaitGroup
	running.Go(func() { c.keepTidy(ctx) })
	running.Go(func() { c.renewVisitors(ctx) })
	c.keepChecked(ctx, interval)
	running.Wait()
}

func (c *Credentials) keepChecked(ctx context.Context, interval time.Duration) {
	for ctx.Err() == nil {
		users, err := c.find(ctx, isInUse)
		if err != nil && ctx.Err() == nil {
			c.Log.Error("the connections of users cannot be read", zap.Error(err))
		}
		pause := max(interval/time.Duration(max(len(users), 1)), leastPause)
		if len(users) == 0 {
			c.rest(ctx, pause)
		}
		for _, user := range users {
			c.rest(ctx, pause)
			c.check(ctx, user)
			c.release(ctx, user)
			c.renewWithItself(ctx, user)
		}
	}
}

// keepTidy deletes what is left of users' previous credentials in the application, until ctx ends.
func (c *Credentials) keepTidy(ctx context.Context) {
	c.makeChannels()
	for ctx.Err() == nil {
		c.tidyAll(ctx)
		select {
		case <-ctx.Done():
		case <-c.tidying:
		case <-time.After(tidyEvery):
		}
	}
}

// tidyAll does so for all users once, and counts the credentials.
func (c *Credentials) tidyAll(ctx context.Context) {
	var counted Figures
	var left []string
	err := c.Store.AllUpstream(ctx, func(user string, all []store.UpstreamCredential, err error) error {
		if err != nil {
			counted.States[store.UpstreamBroken]++
			return nil
		}
		counted.count(all, c.Now())
		if slices.ContainsFunc(all, isLeft) {
			left = append(left, user)
		}
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			c.Log.Error("the connections of users cannot be read", zap.Error(err))
		}
		return
	}
	c.figures.Store(&counted)
	for i, user := range left {
		if i > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(leastPause):
			}
		}
		unlock, err := c.perUser.lock(ctx, user)
		if err != nil {
			return
		}
		err = c.tidyAlone(ctx, user)
		unlock()
		if err != nil && ctx.Err() == nil {
			c.Log.Info("the application has not deleted an old personal access token of a user yet; it is tried again", zap.String("user_key", user), zap.Error(err))
		}
	}
}

// rest checks suspects until the pause is over or ctx ends.
func (c *Credentials) rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-c.suspects.wake():
			for _, user := range c.suspects.take() {
				c.check(ctx, user)
			}
			select { // a client that raises suspicion again and again does not make the application busy
			case <-ctx.Done():
			case <-time.After(leastPause):
			}
		}
	}
}

func (c *Credentials) check(ctx context.Context, user string) {
	if ctx.Err() != nil {
		return
	}
	audit := store.Audit{Time: c.Now(), Actor: Actor, From: "tokengate", Action: CheckAction, Outcome: "done"}
	_, unsure := c.unsure.Load(user)
	state, err := c.Check(ctx, user, audit)
	switch {
	case errors.Is(err, ErrNotConnected) && unsure: // disconnected after Refused
		_ = c.update(ctx, user, func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
			return before, nil, nil
		})
	case errors.Is(err, ErrNotConnected), ctx.Err() != nil:
	case err != nil:
		c.Log.Warn("the application did not say whether it still accepts the connection of a user; it is asked again", zap.String("user_key", user), zap.Error(err))
		if unsure { // the user's tokens are denied until then
			time.AfterFunc(recheckUnsure, func() { c.Suspect(user) })
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
func (c *Credentials) Suspect(user string) { c.suspects.add(user) }

// Refused is Suspect after the application has answered so. The user's tokens are denied until the
// check, so that no further request reaches the application as nobody's. It denies them once a minute
// at most, because some answers of the application never name the user, and not while many users wait for a
// check, because then the application is to blame.
func (c *Credentials) Refused(user string) {
	last, _ := c.denied.Load(user)
	if at, found := last.(time.Time); (!found || c.Now().Sub(at) >= denyAgain) && c.suspects.fewerThan(maxDenied) {
		c.denied.Store(user, c.Now())
		c.block(user)
	}
	c.Suspect(user)
}

const (
	denyAgain = time.Minute
	maxDenied = 10 // users that wait for a check
)

// maxSuspects bounds the memory; further users wait for their turn in the round.
const maxSuspects = 10_000

// suspects are users to check. The zero value is empty.
type suspects struct {
	mu     sync.Mutex
	users  map[string]bool
	signal chan struct{} // holds one value while there are users
}

func (s *suspects) add(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.users) == maxSuspects {
		return
	}
	if s.users == nil {
		s.users = make(map[string]bool)
	}
	s.users[user] = true
	select {
	case s.channel() <- struct{}{}:
	default:
	}
}

func (s *suspects) fewerThan(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.users) < n
}

// channel returns the signal. The caller holds the lock.
func (s *suspects) channel() chan struct{} {
	if s.signal == nil {
		s.signal = make(chan struct{}, 1)
	}
	return s.signal
}

func (s *suspects) wake() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channel()
}

func (s *suspects) take() (users []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for user := range s.users {
		users = append(users, user)
	}
	s.users = nil
	return users
}
