package envoy

import (
	"math"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/token"
)

// report logs a decision and records the use of the token or password. It runs
// after the answer is decided and cannot change it.
func (s *Server) report(r *authz.Request, d authz.Decision, now time.Time) {
	if d.Outcome == authz.Allowed {
		s.Usage.Record(d.TokenID.String(), d.Write, now, r.Client)
	}
	if s.Records != nil && (d.Reason == authz.Password || d.Reason == authz.PasswordBlocked) {
		s.Records.password(r, d, now)
	}
	s.log(r, d, now)
}

// log writes the line of a decision. Requests without a token concern only the
// upstream, and are not logged. Lines about unauthenticated requests are limited by the budget.
func (s *Server) log(r *authz.Request, d authz.Decision, now time.Time) {
	if d.Outcome == authz.PassThrough && !d.WouldBlock {
		return
	}
	level := zapcore.InfoLevel
	if d.Outcome == authz.Denied && d.Reason.Status() == http.StatusServiceUnavailable {
		level = zapcore.ErrorLevel // not the client's fault
	}
	core, verified := s.RequestLogs.Unauthenticated, d.Reason.SecretVerified()
	switch {
	case d.Outcome == authz.Allowed:
		core = s.RequestLogs.Allowed
	case verified:
		core = s.RequestLogs.Denied
	}
	if core == nil {
		core = s.Log.Core()
	}
	if !core.Enabled(level) || !verified && !s.budget.take(d.Reason, level, now) {
		return
	}
	l := newLine(r, d)
	switch {
	case d.Reason == authz.SessionKept:
		l.withMessage("logout answered by tokengate: a token has no session")
	case d.Outcome == authz.Allowed:
		l.withMessage(d.User).withMessage(" authenticated via API Token (").withMessage(d.TokenID.String()).withMessage(")")
	case d.Outcome == authz.PassThrough:
		l.withMessage("password passed through; mode block would deny it")
	default:
		l.withMessage("request denied: ").withMessage(d.Reason.String())
	}
	if err := l.write(core, level, now); err != nil && !verified {
		s.budget.suppress(d.Reason, level, now)
	}
}

// plainInterval is the least time between two lines of reportPlain.
const plainInterval = time.Minute

// plainMessage is for the owner of the token, and for an administrator of the proxy.
const plainMessage = "a token came over plain HTTP, where others could read it: replace it, and let its client use https (publicURL). " +
	"If clients do use https, let the proxy in front of Envoy send X-Forwarded-Proto. Further ones are counted in " +
	"tokengate_plain_http_tokens_total, and not logged for a minute"

// reportPlain counts a request with a verified token that came over plain HTTP, and logs it.
func (s *Server) reportPlain(r *authz.Request, d authz.Decision, now time.Time) {
	s.Metrics.plain.Inc()
	last := s.plain.Load()
	if last != 0 && now.UnixNano()-last < int64(plainInterval) || !s.plain.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	if core := s.Log.Core(); core.Enabled(zapcore.WarnLevel) {
		_ = newLine(r, d).withMessage(plainMessage).write(core, zapcore.WarnLevel, now) // counted if it does not fit
	}
}

// line is the log line of a request. To avoid allocations it is pooled, and is its
// own only zap field, inline: zap calls it for the other fields while it encodes.
type line struct {
	self     [1]zap.Field
	message  []byte
	client   []byte
	request  *authz.Request
	decision authz.Decision
}

var linePool = sync.Pool{New: func() any {
	l := &line{}
	l.self[0] = zap.Inline(l)
	return l
}}

// newLine returns a line without a message, for one write.
func newLine(r *authz.Request, d authz.Decision) *line {
	l := linePool.Get().(*line)
	l.request, l.decision = r, d
	return l
}

// withMessage appends to the message.
func (l *line) withMessage(text string) *line {
	l.message = append(l.message, text...)
	return l
}

// write writes the line to core, which does not keep it, and releases it.
func (l *line) write(core zapcore.Core, level zapcore.Level, now time.Time) error {
	err := core.Write(zapcore.Entry{
		Level: level, Time: now,
		Message: string(l.message),
	}, l.self[:])
	l.message, l.request, l.decision = l.message[:0], nil, authz.Decision{}
	linePool.Put(l)
	return err
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l *line) MarshalLogObject(to zapcore.ObjectEncoder) error {
	d := &l.decision
	if d.Outcome == authz.Allowed {
		to.AddString("user", d.User)
		to.AddByteString("token", d.TokenID[:])
		l.addRequest(to)
		return nil
	}
	l.addRequest(to)
	if d.Outcome == authz.PassThrough {
		return nil
	}
	to.AddString("reason", d.Reason.String())
	if d.Detail != 0 {
		to.AddString("detail", d.Detail.String())
	}
	if d.Reason == authz.NoClientAddress {
		to.AddString("hint", addressHint)
	}
	if d.TokenID != (token.ID{}) {
		to.AddByteString("token", d.TokenID[:])
	}
	if d.User != "" {
		to.AddString("user", d.User)
	}
	return nil
}

func (l *line) addRequest(to zapcore.ObjectEncoder) {
	to.AddString("method", printable(l.request.Method))
	to.AddString("path", printable(l.request.PathForLog()))
	if l.request.Client.IsValid() {
		l.client = l.request.Client.AppendTo(l.client[:0])
		to.AddByteString("client", l.client)
	} else {
		to.AddString("client", l.request.Client.String())
	}
	to.AddString("request_id", printable(l.request.RequestID))
}

// addressHint is the hint for NoClientAddress.
const addressHint = "Envoy sent no readable client address. Check that clientAddress.trustedHops is the number of proxies in front of Envoy " +
	"and that they write addresses, with or without a port, into X-Forwarded-For. Generate Envoy's configuration again " +
	"if clientAddress has changed"

// printable returns a client's text for the log: shortened, and without the
// secrets of tokens.
func printable(text string) string {
	const most = 1024
	if len(text) > most {
		text = text[:most] + "…"
	}
	return token.Redact(text)
}

// The budget for lines about unauthenticated requests, per reason: clients can
// trigger these lines at will. Unused budget accumulates up to a limit.
const (
	lineInterval      = 50 * time.Millisecond // 20 lines per second
	maxSavedTime      = 5 * time.Second       // up to 100 lines at once
	suppressedMessage = "requests without a verified token that were not logged individually"
)

// lineBudget limits the lines about unauthenticated requests. Each reason has its
// own budget, so that malformed requests cannot hide passwords or guessed secrets.
// The zero value is a full budget.
type lineBudget struct {
	mu    sync.Mutex
	spent [math.MaxUint8 + 1]time.Time // by reason: the budget up to here is spent
	suppressed
}

// suppressed counts the requests without a line of their own.
type suppressed struct {
	counts [math.MaxUint8 + 1]uint64 // by reason
	since  time.Time                 // when the first was counted
	level  zapcore.Level             // the highest level of their lines
}

// take reports whether a line may be written now, and counts the request if not.
func (b *lineBudget) take(reason authz.Reason, level zapcore.Level, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if saved := now.Add(-maxSavedTime); b.spent[reason].Before(saved) {
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

// suppress counts a request whose line could not be written.
func (b *lineBudget) suppress(reason authz.Reason, level zapcore.Level, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(reason, level, now)
}

// reset returns the counts and starts again from zero.
func (b *lineBudget) reset() suppressed {
	b.mu.Lock()
	defer b.mu.Unlock()
	counted := b.suppressed
	b.suppressed = suppressed{}
	return counted
}

func (s *suppressed) add(reason authz.Reason, level zapcore.Level, now time.Time) {
	if s.since.IsZero() {
		s.since = now
	}
	s.counts[reason]++
	s.level = max(s.level, level)
}

// LogSuppressed logs one line with the number of requests, by reason, that had no
// line of their own since the last call, if any. Call it periodically and after
// the last request.
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
