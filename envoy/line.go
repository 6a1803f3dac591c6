package envoy

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/token"
)

// line is the log line of one request. It is its own one field, inline: zap
// asks it for the others while it encodes, so that no list of them is built,
// and it serves one request after another.
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

// newLine returns a line without a message. It is good for one write.
func newLine(r *authz.Request, d authz.Decision) *line {
	l := linePool.Get().(*line)
	l.request, l.decision = r, d
	return l
}

// withMessage adds to the message.
func (l *line) withMessage(text string) *line {
	l.message = append(l.message, text...)
	return l
}

// write hands the line to core, which has encoded it on return: nothing of the
// request is kept.
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

// addressHint tells an administrator where to look after a NoClientAddress.
const addressHint = "Envoy sent no readable client address. Compare clientAddress.trustedHops with the number of proxies in front of Envoy, " +
	"look at what they write into X-Forwarded-For (addresses, with or without a port), and generate Envoy's configuration again " +
	"if clientAddress has changed since"

// printable returns what a client wrote in a form that a log may hold: short,
// and with the secret of any token cut out.
func printable(text string) string {
	const most = 1024
	if len(text) > most {
		text = text[:most] + "…"
	}
	return token.Redact(text)
}
