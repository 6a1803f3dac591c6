package envoy

import (
	"math"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
)

// What the log shows of requests that proved no token, for each reason: anybody
// can send such requests, and as many as they like. Each line spends some time,
// and time that nobody spends is saved for a while.
const (
	lineInterval      = 50 * time.Millisecond // 20 lines a second
	maxSavedLines     = 5 * time.Second       // 100 lines at once
	suppressedMessage = "requests without a proved token beyond the log's budget, not shown one by one"
)

// lineBudget is the log's budget for requests that proved no token. Each reason has
// its own, so that junk hides no password and no guessed secret. The zero budget
// is whole.
type lineBudget struct {
	mu    sync.Mutex
	spent [math.MaxUint8 + 1]time.Time // by reason: what came before is spent
	suppressed
}

// suppressed counts the requests that the log does not show one by one.
type suppressed struct {
	counts [math.MaxUint8 + 1]uint64 // by reason
	since  time.Time                 // when the first of them came
	level  zapcore.Level             // the highest that one of their lines would have had
}

// take reports whether a line may be written now. If not, the request is
// counted.
func (b *lineBudget) take(reason authz.Reason, level zapcore.Level, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if saved := now.Add(-maxSavedLines); b.spent[reason].Before(saved) {
		b.spent[reason] = saved
	}
	spent := b.spent[reason].Add(lineInterval)
	if spent.After(now) {
		b.add(reason, level, now)
		return false
	}
	b.spent[reason] = spent
	return true
}

// miss counts a request whose line was not taken after all.
func (b *lineBudget) miss(reason authz.Reason, level zapcore.Level, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(reason, level, now)
}

// reset returns what was counted, and begins anew.
func (b *lineBudget) reset() suppressed {
	b.mu.Lock()
	defer b.mu.Unlock()
	counted := b.suppressed
	b.suppressed = suppressed{}
	return counted
}

func (b *suppressed) add(reason authz.Reason, level zapcore.Level, now time.Time) {
	if b.since.IsZero() {
		b.since = now
	}
	b.counts[reason]++
	b.level = max(b.level, level)
}

// LogSuppressed logs one line about the requests that the log has not shown one by one
// since it was last called, if there are any: how many by reason, and within
// which time. It is to be called every now and then, and after the last request.
func (s *Server) LogSuppressed() {
	b, now := s.budget.reset(), s.Now()
	core := s.Log.Core()
	if b.since.IsZero() || !core.Enabled(b.level) {
		return
	}
	fields := []zap.Field{zap.Duration("span_seconds", now.Sub(b.since))}
	for reason, n := range b.counts {
		if n > 0 {
			fields = append(fields, zap.Uint64(authz.Reason(reason).String(), n))
		}
	}
	core.Write(zapcore.Entry{Level: b.level, Time: now, Message: suppressedMessage}, fields)
}
