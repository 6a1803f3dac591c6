package manage

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/tokengate/tokengate/store"
)

// maxBudgets bounds the callers whose writes are counted. Where it is reached a
// tenth is forgotten at once, those who have their whole budget first.
const maxBudgets = 20_000

// writeBudgets hold each caller to how much they may write. The zero budgets have seen
// nobody.
type writeBudgets struct {
	mu       sync.Mutex
	limiters map[string]*store.Limiter // by Caller.spender
}

// take counts a write of a caller, or returns how long it is until the caller may
// make one.
func (b *writeBudgets) take(who string, rate store.Rate, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, known := b.limiters[who]
	if !known && len(b.limiters) >= maxBudgets {
		b.forget(now)
	}
	limiter := store.NewLimiter(rate, before)
	if limiter == nil {
		delete(b.limiters, who)
		return 0
	}
	if b.limiters == nil {
		b.limiters = make(map[string]*store.Limiter)
	}
	b.limiters[who] = limiter
	return limiter.Take(now)
}

func (b *writeBudgets) forget(now time.Time) {
	for who, limiter := range b.limiters {
		if limiter.Rested(now) {
			delete(b.limiters, who)
		}
	}
	for who := range b.limiters {
		if len(b.limiters) <= maxBudgets-maxBudgets/10 {
			return
		}
		delete(b.limiters, who)
	}
}

// budgetKey is by what a caller's writes are counted: a user's key, which outlives a
// new name and another spelling.
func (c Caller) budgetKey() string {
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

// spendBudget counts a write of the caller. It refuses one that is beyond the budget.
func (op *operation) spendBudget() error {
	if op.caller.kind == system {
		return nil
	}
	rate, key := op.settings.Writes, "access.writes"
	if op.administrator {
		rate, key = op.settings.AdminWrites, "access.adminWrites"
	}
	wait := op.manager.writeBudgets.take(op.caller.budgetKey(), rate, op.now)
	if wait == 0 {
		return nil
	}
	e := refused(TooMany, "You have made too many changes in a short time; %s are allowed (%s). Nothing was done. Try again in %s. Tokens can still be revoked.", configured(rate), key, Seconds(wait))
	e.Retry = wait
	return e
}
