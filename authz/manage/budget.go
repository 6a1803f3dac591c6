package manage

import (
	"fmt"
	"math"
	"time"

	"github.com/tokengate/tokengate/authz/manage/limit"
	"github.com/tokengate/tokengate/store"
)

// spendBudget counts a write of the caller, or refuses one beyond the budget.
func (op *operation) spendBudget() error {
	if op.caller.kind == kindSystem {
		return nil
	}
	rate, key := op.settings.Writes, "access.writes"
	if op.administrator {
		rate, key = op.settings.AdminWrites, "access.adminWrites"
	}
	wait := op.manager.countWrite(op.caller.budgetKey(), rate, op.now)
	if wait == 0 {
		return nil
	}
	e := refused(TooMany, "You have made too many changes in a short time; %s are allowed (%s). Nothing was done. Try again in %s. Tokens can still be revoked.", configRate(rate), key, Seconds(wait))
	e.Retry = wait
	return e
}

// countWrite counts a write, or returns how long to wait for it.
func (m *Manager) countWrite(key string, r store.Rate, now time.Time) (wait time.Duration) {
	var allowed limit.Rate
	if r != (store.Rate{}) {
		allowed = limit.Rate{Every: r.Per / time.Duration(r.Requests), Burst: int(r.Burst)}
	}
	return m.writes.Take(key, allowed, now)
}

// budgetKey returns the key of a caller's budget. A user's is the user key, which
// survives a rename and does not depend on the spelling.
func (c Caller) budgetKey() string {
	switch {
	case c.kind == kindUser && c.user.Key != "":
		return "key " + c.user.Key
	case c.kind == kindUser:
		return "name " + store.FoldOwner(c.user.Name)
	}
	return c.actor()
}

// Seconds returns a duration in words, in whole seconds, rounded up.
func Seconds(d time.Duration) string {
	n := int64(math.Ceil(d.Seconds()))
	if n == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", n)
}
