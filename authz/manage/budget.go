package manage

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// maxSpenders bounds the callers whose writes are counted. Where it is reached a
// tenth is forgotten at once, those who have their whole budget first.
const maxSpenders = 20_000

// budgets hold each caller to how much they may write. The zero budgets have seen
// nobody.
type budgets struct {
	mu   sync.Mutex
	left map[string]*store.Limiter // by Caller.spender
}

// take counts a write of a caller, or returns how long it is until the caller may
// make one.
func (b *budgets) take(who string, rate store.Rate, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, known := b.left[who]
	if !known && len(b.left) >= maxSpenders {
		b.forget(now)
	}
	limiter := store.NewLimiter(rate, before)
	if limiter == nil {
		delete(b.left, who)
		return 0
	}
	if b.left == nil {
		b.left = make(map[string]*store.Limiter)
	}
	b.left[who] = limiter
	return limiter.Take(now)
}

func (b *budgets) forget(now time.Time) {
	for who, limiter := range b.left {
		if limiter.Rested(now) {
			delete(b.left, who)
		}
	}
	for who := range b.left {
		if len(b.left) <= maxSpenders-maxSpenders/10 {
			return
		}
		delete(b.left, who)
	}
}

// spender is by what a caller's writes are counted: a user's key, which outlives a
// new name and another spelling.
func (c Caller) spender() string {
	switch {
	case c.kind == person && c.user.Key != "":
		return "key " + c.user.Key
	case c.kind == person:
		return "name " + store.FoldOwner(c.user.Name)
	}
	return c.actor()
}

// Seconds returns a time in whole seconds, rounded up, as a person reads it.
func Seconds(wait time.Duration) string {
	n := int64(math.Ceil(wait.Seconds()))
	if n == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", n)
}

// spend counts a write of the caller. It refuses one that is beyond the budget.
func (op *operation) spend() error {
	if op.caller.kind == itself {
		return nil
	}
	rate, key := op.rules.Writes, "access.writes"
	if op.administrator {
		rate, key = op.rules.AdminWrites, "access.adminWrites"
	}
	wait := op.manager.spent.take(op.caller.spender(), rate, op.now)
	if wait == 0 {
		return nil
	}
	e := refused(TooMany, "You have made too many changes in a short time; %s are allowed (%s). Nothing was done. Try again in %s. Tokens can still be revoked.", configured(rate), key, Seconds(wait))
	e.Retry = wait
	return e
}
