package envoy

import (
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/token"
)

// tell writes the log line of a decision and counts the token's use. It comes
// after the answer is known and cannot change it. Requests that pass without a
// token are not logged: they are Jira's.
func (s *Server) tell(r *authz.Request, d authz.Decision, now time.Time) {
	switch d.Outcome {
	case authz.Admitted:
		id := d.TokenID.String()
		s.Usage.Record(id, d.Write, now, r.Client)
		if entry := s.Log.Check(zapcore.InfoLevel, d.User+" authenticated via API Token ("+id+")"); entry != nil {
			entry.Write(zap.String("user", d.User), zap.String("token", id),
				zap.String("method", printable(r.Method)), zap.String("path", printable(r.PathForLog())),
				zap.Stringer("client", r.Client), zap.String("request_id", printable(r.RequestID)))
		}
	case authz.Passed:
		if d.WouldBlock {
			s.Log.Info("password let through that block would refuse", requestFields(r)...)
		}
	default:
		level := zapcore.InfoLevel
		if d.Reason.Status() == http.StatusServiceUnavailable {
			level = zapcore.ErrorLevel // not the client's fault
		}
		if entry := s.Log.Check(level, "request refused: "+d.Reason.String()); entry != nil {
			fields := append(requestFields(r), zap.String("reason", d.Reason.String()))
			if id := d.TokenID.String(); id != "" {
				fields = append(fields, zap.String("token", id))
			}
			if d.User != "" {
				fields = append(fields, zap.String("user", d.User))
			}
			entry.Write(fields...)
		}
	}
}

func requestFields(r *authz.Request) []zap.Field {
	return []zap.Field{
		zap.String("method", printable(r.Method)), zap.String("path", printable(r.PathForLog())),
		zap.Stringer("client", r.Client), zap.String("request_id", printable(r.RequestID)),
	}
}

// printable returns what a client wrote in a form that a log may hold: short,
// and with the secret of any token cut out.
func printable(text string) string {
	const most = 1024
	if len(text) > most {
		text = text[:most] + "…"
	}
	return token.Redact(text)
}
