package envoy

import (
	"net/http"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
)

// report writes the log line of a decision and counts the use of the token or of
// the password. It comes after the answer is known and cannot change it.
func (s *Server) report(r *authz.Request, d authz.Decision, now time.Time) {
	if d.Outcome == authz.Allowed {
		s.Usage.Record(d.TokenID.String(), d.Write, now, r.Client)
	}
	if s.Records != nil && (d.Reason == authz.Password || d.Reason == authz.PasswordBlocked) {
		s.Records.password(r, d, now)
	}
	s.log(r, d, now)
}

// log writes the log line of a decision. Requests that pass without a token are
// not logged: they are Jira's. Those that proved no token have a budget.
func (s *Server) log(r *authz.Request, d authz.Decision, now time.Time) {
	if d.Outcome == authz.PassThrough && !d.WouldBlock {
		return
	}
	level := zapcore.InfoLevel
	if d.Outcome == authz.Denied && d.Reason.Status() == http.StatusServiceUnavailable {
		level = zapcore.ErrorLevel // not the client's fault
	}
	core, proved := s.RequestLogs.Unauthenticated, d.Reason.SecretVerified()
	switch {
	case d.Outcome == authz.Allowed:
		core = s.RequestLogs.Allowed
	case proved:
		core = s.RequestLogs.Denied
	}
	if core == nil {
		core = s.Log.Core()
	}
	if !core.Enabled(level) || !proved && !s.budget.take(d.Reason, level, now) {
		return
	}
	line := newLine(r, d)
	switch {
	case d.Reason == authz.SessionKept:
		line.withMessage("logout answered without Jira: a token has no session")
	case d.Outcome == authz.Allowed:
		line.withMessage(d.User).withMessage(" authenticated via API Token (").withMessage(d.TokenID.String()).withMessage(")")
	case d.Outcome == authz.PassThrough:
		line.withMessage("password let through that block would refuse")
	default:
		line.withMessage("request denied: ").withMessage(d.Reason.String())
	}
	if err := line.write(core, level, now); err != nil && !proved {
		s.budget.miss(d.Reason, level, now)
	}
}
