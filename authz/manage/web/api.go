package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
)

// api serves endpoints to callers.
type api struct {
	bases     []string
	endpoints []endpoint
	identify  func(*http.Request) (visitor, error)
	limits    *limits                        // of each caller; nil: none
	strangers *strangers                     // nil: there are none
	address   func(*http.Request) netip.Addr // of the client; nil: it has none
	log       *zap.Logger
}

// visitor is who has made a request.
type visitor struct {
	caller    manage.Caller
	parameter string // of the query, which carried the credential; empty: none did
	count     func() // counts a use of the credential; nil: nothing does
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var caller manage.Caller
	answer, err := a.guarded(func() (answer reply, err error) {
		answer, caller, err = a.answer(r)
		return answer, err
	})
	cut := false
	switch {
	case err != nil:
		answer = denial(err)
		answer.write(w)
	case answer.stream != nil:
		answer, cut, err = a.stream(w, answer)
	default:
		answer.write(w)
	}
	a.note(r, caller, answer, err)
	if cut {
		// The one way to tell the client that what it got is not all.
		panic(http.ErrAbortHandler)
	}
}

// answer finds the endpoint and who is calling, and asks the one for the other.
// Nothing is done before the caller is known.
func (a *api) answer(r *http.Request) (reply, manage.Caller, error) {
	e, id, err := a.route(r)
	if err != nil {
		return reply{}, manage.Caller{}, err
	}
	v, err := a.identify(r)
	if err != nil {
		return reply{}, manage.Caller{}, err
	}
	who, refused := v.caller.Name(), refusedReads
	if isUnsafe(r) {
		refused = refusedChanges
	}
	wait := max(a.limits.take(who, requests), a.limits.left(who, refused))
	if wait == 0 && e.costly {
		wait = a.limits.take(who, costly)
	}
	if wait > 0 {
		return reply{}, v.caller, tooMany(wait, tooManyRequests)
	}
	if v.count != nil {
		v.count()
	}
	asked, err := readQuery(r.URL.RawQuery, e.parameters, v.parameter)
	if err != nil {
		return reply{}, v.caller, err
	}
	answer, err := e.serve(r, incoming{v.caller, id, asked})
	switch {
	case err == nil && answer.stream != nil:
		if wait := a.limits.take(who, costly); wait > 0 {
			err = tooMany(wait, tooManyRequests)
		}
	case isRecorded(r, err):
		a.limits.charge(who, refused)
	}
	return answer, v.caller, err
}

// isRecorded reports whether the audit log has a record of a refusal: of a change,
// whatever the reason, but for what could not be found out; of reading, that the
// caller may not.
func isRecorded(r *http.Request, err error) bool {
	refusal, ok := errors.AsType[*manage.Error](err)
	return ok && refusal.Code != manage.Unavailable && (isUnsafe(r) || refusal.Code == manage.Forbidden)
}

// guarded makes an error of a panic: it must not end the process, which answers
// Envoy, too.
func (a *api) guarded(do func() (reply, error)) (answer reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The panic's own text might repeat what a client sent.
			a.log.Error("a management request made the server panic",
				zap.String("kind", fmt.Sprintf("%T", p)), zap.ByteString("stack", debug.Stack()))
			answer, err = reply{}, errPanic
		}
	}()
	return do()
}

var errPanic = errors.New("panic")

// note writes the request's line into the log.
func (a *api) note(r *http.Request, c manage.Caller, answer reply, err error) {
	path := authz.Request{Path: r.RequestURI}
	fields := []zap.Field{
		zap.String("method", short(r.Method)), zap.String("path", short(path.PathForLog())),
		zap.String("caller", c.Name()), zap.Int("status", answer.status),
	}
	if a.address != nil {
		fields = append(fields, zap.Stringer("client", a.address(r)))
	}
	if answer.token != "" {
		fields = append(fields, zap.String("token", answer.token))
	}
	_, early := errors.AsType[*httpError](err)
	_, late := errors.AsType[*manage.Error](err)
	switch {
	case err == nil:
		a.log.Info("management request", fields...)
	case r.Context().Err() != nil:
		a.log.Log(a.level(r, c), "management request whose client has gone", append(fields, zap.Error(redacted{err}))...)
	case !early && !late:
		a.log.Error("management request failed", append(fields, zap.Error(redacted{err}))...)
	default:
		level := zap.InfoLevel
		if c.Name() == "" || answer.status == http.StatusTooManyRequests {
			level = a.level(r, c)
		}
		a.log.Log(level, "management request refused", append(fields, zap.String("refusal", short(err.Error())))...)
	}
}

// level is that of a line of which anybody can have as many as they like: some are
// shown of each caller, and of those without a name some of each network and of
// all together.
func (a *api) level(r *http.Request, c manage.Caller) zapcore.Level {
	budget := lines
	if c.Name() == "" {
		if a.strangers != nil && a.strangers.limits.take(network(a.address(r)), lines) > 0 {
			return zap.DebugLevel
		}
		budget = requests
	}
	if a.limits.take(c.Name(), budget) > 0 {
		return zap.DebugLevel
	}
	return zap.InfoLevel
}

// redacted is an error whose text may stand in a log.
type redacted struct{ error }

func (e redacted) Error() string { return token.Redact(e.error.Error()) }

// short returns what a client wrote in a form that a log may hold.
func short(text string) string {
	const most = 256
	if len(text) > most {
		text = text[:most] + "…"
	}
	return token.Redact(text)
}
