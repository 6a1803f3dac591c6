package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/store"
)

// Actor is who checks credentials in audit records.
const Actor = "tokengate"

// leastPause is the pause between two checks, so that they take little of the application's time.
const leastPause = 200 * time.Millisecond

// Run checks every credential once per interval, spread evenly, and those of Suspect at once, until
// ctx ends. With very many, a round takes longer than the interval.
func (c *Credentials) Run(ctx context.Context, interval time.Duration) {
	for ctx.Err() == nil {
		users, err := c.users(ctx)
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
		}
	}
}

// users returns the keys of the users who are connected.
func (c *Credentials) users(ctx context.Context) (users []string, err error) {
	err = c.Store.AllUpstream(ctx, func(user string, all []store.UpstreamCredential, err error) error {
		if err == nil && working(all) != nil {
			users = append(users, user)
		}
		return nil
	})
	return users, err
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
	state, err := c.Check(ctx, user, audit)
	switch {
	case errors.Is(err, ErrNotConnected), ctx.Err() != nil:
	case err != nil:
		c.Log.Warn("the application did not say whether it still accepts the connection of a user; it is asked again", zap.String("user_key", user), zap.Error(err))
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

// CheckAction is the action of audit records about a credential whose state a check has changed.
const CheckAction = "upstream.check"

// Suspect makes Run check a user's credential soon, because the application may have
// answered a request with it as one of nobody.
func (c *Credentials) Suspect(user string) { c.suspects.add(user) }

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
