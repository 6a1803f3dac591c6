package web

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/limit"
)

// budget is what a caller, or a network, may do only so often.
type budget int

const (
	requests       budget = iota // of any kind
	costly                       // see page.Page.Costly
	long                         // whose answers have no bound
	refusedChanges               // each of which leaves an audit record
	refusedReads                 // likewise; separate, so that they do not block changes
	revocations                  // made when the budgets above are used up
	lines                        // of the log, for requests that are beyond a limit
	budgetCount
)

var rates = [budgetCount]limit.Rate{
	requests:       {Every: time.Second / 10, Burst: 50},
	costly:         {Every: time.Second, Burst: 20},
	long:           {Every: time.Second, Burst: 20},
	refusedChanges: {Every: time.Second, Burst: 20},
	refusedReads:   {Every: time.Second, Burst: 20},
	revocations:    {Every: time.Second, Burst: 20},
	lines:          {Every: time.Second, Burst: 20},
}

// maxLimited is how many callers, or networks, each budget remembers.
const maxLimited = 10_000

// limits are the budgets of callers, or of networks. The nil limits are unlimited.
type limits struct {
	now     func() time.Time
	budgets [budgetCount]limit.Keyed
}

func newLimits(now func() time.Time) *limits {
	l := &limits{now: now}
	for b := range l.budgets {
		l.budgets[b].Max = maxLimited
	}
	return l
}

// take counts one, or returns how long to wait for it.
func (l *limits) take(who string, b budget) (wait time.Duration) {
	if l == nil {
		return 0
	}
	return l.budgets[b].Take(who, rates[b], l.now())
}

// wait returns how long to wait for one, and counts nothing.
func (l *limits) wait(who string, b budget) time.Duration {
	if l == nil {
		return 0
	}
	return l.budgets[b].Wait(who, rates[b], l.now())
}

// charge counts one, even beyond the budget.
func (l *limits) charge(who string, b budget) {
	if l != nil {
		l.budgets[b].Charge(who, rates[b], l.now())
	}
}

// network returns the key by which unauthenticated clients share a budget: the
// IPv4 address, the /64 of an IPv6 address, which is one subscriber's, or "" for
// all unknown addresses.
func network(client netip.Addr) string {
	if !client.IsValid() {
		return ""
	}
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(client, bits).Masked().String()
}

// errTooMany refuses a caller who has to wait.
func errTooMany(wait time.Duration) error {
	return &httpError{
		status: http.StatusTooManyRequests,
		text:   "You have made too many requests in a short time." + tryAgainIn(wait),
		retry:  wait,
	}
}

// tryAgainIn says how long to wait, as the Retry-After header does.
func tryAgainIn(wait time.Duration) string { return " Try again in " + manage.Seconds(wait) + "." }
