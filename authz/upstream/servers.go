package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// Several servers of one store share the credentials. A user's credentials are changed in the application by the
// server that has the user's role, and the rounds of Run belong to the one that has the role roundRole. Each server
// follows what the others change.

// roundRole is the role of the server that checks, renews and deletes in turn.
const roundRole = "upstream"

// roleOf returns the role of changing a user's credentials in the application.
func roleOf(user string) string {
	sum := sha256.Sum256([]byte(user))
	return "upstream/" + hex.EncodeToString(sum[:16])
}

const (
	// waitForServer is how long lockUser waits for another server, which may have been killed and then keeps its roles
	// for a minute.
	waitForServer = 10 * time.Second

	holdAgain      = 50 * time.Millisecond // the pause between two attempts to take a user's role
	releaseTimeout = 2 * time.Second
	releaseAgain   = time.Second
)

// ErrBusy means that another server changes the user's credential now.
var ErrBusy = errors.New("another server is connecting the user or has just ended; try again in a minute")

// lockUser waits until this goroutine is the only one of all servers that changes a user's credentials in the
// application. It fails with ErrBusy if another server does so for long.
func (c *Credentials) lockUser(ctx context.Context, user string) (unlock func(), err error) {
	free, err := c.perUser.lock(ctx, user)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, waitForServer)
	defer cancel()
	for {
		held, err := c.Store.Hold(waiting, roleOf(user))
		switch {
		case held && err == nil:
			return func() { c.unlockUser(user, free) }, nil
		case err != nil && waiting.Err() == nil:
			c.unlockUser(user, free) // it may have been taken
			return nil, err
		}
		if pause(waiting, holdAgain); waiting.Err() == nil {
			continue
		}
		c.unlockUser(user, free)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, ErrBusy
	}
}

// tryLockUser is lockUser without waiting.
func (c *Credentials) tryLockUser(ctx context.Context, user string) (unlock func(), locked bool) {
	free, locked := c.perUser.tryLock(user)
	if !locked {
		return nil, false
	}
	held, err := c.Store.Hold(ctx, roleOf(user))
	if held && err == nil {
		return func() { c.unlockUser(user, free) }, true
	}
	c.unlockUser(user, free)
	return nil, false
}

// unlockUser gives up a user's role, again until the store has done it, and calls free.
func (c *Credentials) unlockUser(user string, free func()) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	err := c.Store.Release(ctx, roleOf(user))
	free()
	if err == nil || errors.Is(err, store.ErrClosed) {
		return
	}
	time.AfterFunc(releaseAgain, func() {
		if free, locked := c.perUser.tryLock(user); locked { // otherwise the holder does it
			c.unlockUser(user, free)
		}
	})
}

// hasRounds reports whether the rounds are this server's.
func (c *Credentials) hasRounds(ctx context.Context) bool {
	held, err := c.Store.Hold(ctx, roundRole)
	if err != nil && ctx.Err() == nil {
		c.Log.Warn("it is not known which server checks the connections of users", zap.Error(err))
	}
	held = held && err == nil
	if held && !c.hadRounds.Swap(true) {
		c.wake() // what the server before has left
	} else if !held {
		c.hadRounds.Store(false)
	}
	return held
}

const (
	rereadTimeout = 5 * time.Second
	rereadAgain   = time.Second // the pause after the store did not answer

	// maxUnknown is how long a server uses what it has shown while the store does not say what has changed meanwhile.
	maxUnknown = 30 * time.Second
)

// follow shows what other servers change, until ctx ends.
func (c *Credentials) follow(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { _ = c.Store.WatchUpstream(ctx, func(user string) { c.changed.add(user, math.MaxInt) }) })
	var failing time.Time // since when
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-c.changed.wake():
		}
		now := c.Now()
		err := c.showChanged(ctx, c.changed.take(), !failing.IsZero() && now.Sub(failing) >= maxUnknown)
		switch {
		case err == nil:
			failing = time.Time{}
		case failing.IsZero() && ctx.Err() == nil:
			failing = now
			c.Log.Error("what other servers have changed about the connections of users cannot be read; the tokens of these users are refused until it can", zap.Error(err))
		}
	}
}

// showChanged reads the credentials of users again; "" stands for all users. If the store does not answer, it is tried again, and
// the users are denied until then; if that are all users, only with denyAll.
func (c *Credentials) showChanged(ctx context.Context, users []string, denyAll bool) (err error) {
	for _, user := range users {
		if err == nil && user == "" {
			_, err = c.survey(ctx)
		} else if err == nil {
			err = c.reread(ctx, user)
		}
		if err == nil {
			continue
		}
		denied := []string{user}
		if user == "" && denyAll {
			denied = c.Index.UpstreamUsers()
		}
		for _, user := range denied {
			if c.Index.Upstream(user) != nil {
				c.show(user, index.BrokenUpstream, nil)
			}
		}
		time.AfterFunc(rereadAgain, func() { c.changed.add(user, math.MaxInt) })
	}
	return err
}

// reread shows a user's credential as the store has it.
func (c *Credentials) reread(ctx context.Context, user string) error {
	ctx, cancel := context.WithTimeout(ctx, rereadTimeout)
	defer cancel()
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	all, err := c.Store.Upstream(ctx, user)
	if err != nil && !errors.Is(err, store.ErrInvalid) {
		return err
	}
	c.showStored(user, all, err, nil)
	return nil
}

// showStored shows a user's credential as it was read from the store, or the error of that, and ends a doubt, or nil. The
// caller holds the lock.
func (c *Credentials) showStored(user string, all []store.UpstreamCredential, err error, settled any) {
	u, err := c.stored(user, all, err)
	before := c.Index.Upstream(user)
	if err != nil && before != index.BrokenUpstream {
		c.Log.Error("the connection of a user cannot be opened; the user has to connect again", zap.String("user_key", user), zap.Error(err))
	}
	c.show(user, u, settled)
	if len(all) != 1 || !all[0].State.InUse() || !isEqual(before, c.Index.Upstream(user)) {
		c.wake() // not if only the time of the last check has changed
	}
}

// stored returns what the index holds for a user whose credentials were read, or could not be, with why it cannot be opened.
func (c *Credentials) stored(user string, all []store.UpstreamCredential, err error) (*index.Upstream, error) {
	if err != nil {
		return index.BrokenUpstream, err
	}
	if inUse := working(all); inUse != nil {
		return c.opened(user, *inUse)
	}
	return nil, nil
}

func isEqual(a, b *index.Upstream) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Answer() == b.Answer()
}

// survey reads the credentials of all users, counts them, and returns the users for whom something may have to be deleted in the
// application. Users of whom the index has something else are read again.
func (c *Credentials) survey(ctx context.Context) (left []string, err error) {
	var counted Figures
	shown := make(map[string]bool)
	for _, user := range c.Index.UpstreamUsers() {
		shown[user] = true
	}
	err = c.Store.AllUpstream(ctx, func(user string, all []store.UpstreamCredential, err error) error {
		now := c.Index.Upstream(user)
		if u, _ := c.stored(user, all, err); !isEqual(now, u) {
			c.changed.add(user, math.MaxInt)
		}
		delete(shown, user)
		if err != nil {
			counted.States[store.UpstreamBroken]++
			return nil
		}
		counted.count(all, now == index.BrokenUpstream, c.Now())
		for _, o := range all {
			if isLeft(o) {
				left = append(left, user)
				break
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for user := range shown {
		c.changed.add(user, math.MaxInt)
	}
	c.figures.Store(&counted)
	return left, nil
}
