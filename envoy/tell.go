package envoy

import (
	"net/http"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
)

// tell writes the log line of a decision and counts the use of the token or of
// the password. It comes after the answer is known and cannot change it.
func (s *Server) tell(r *authz.Request, d authz.Decision, now time.Time) {
	if d.Outcome == authz.Admitted {
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
	if d.Outcome == authz.Passed && !d.WouldBlock {
		return
	}
	level := zapcore.InfoLevel
	if d.Outcome == authz.Refused && d.Reason.Status() == http.StatusServiceUnavailable {
		level = zapcore.ErrorLevel // not the client's fault
	}
	core, proved := s.Lines.Unproved, d.Reason.Proved()
	switch {
	case d.Outcome == authz.Admitted:
		core = s.Lines.Admitted
	case proved:
		core = s.Lines.Refused
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
		line.say("logout answered without Jira: a token has no session")
	case d.Outcome == authz.Admitted:
		line.say(d.User).say(" authenticated via API Token (").say(d.TokenID.String()).say(")")
	case d.Outcome == authz.Passed:
		line.say("password let through that block would refuse")
	default:
		line.say("request refused: ").say(d.Reason.String())
	}
	if err := line.write(core, level, now); err != nil && !proved {
		s.budget.miss(d.Reason, level, now)
	}
}
