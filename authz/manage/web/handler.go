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
	"github.com/tokengate/tokengate/authz/manage/web/page"
	"github.com/tokengate/tokengate/authz/manage/web/query"
	"github.com/tokengate/tokengate/authz/token"
)

// handler serves endpoints to callers: those of the API, or the pages.
type handler struct {
	bases     []string // that the endpoints lie below
	endpoints []endpoint
	read      func(raw string, known []string, credential string) (query.Values, error)
	refuse    func(*http.Request, manage.Caller, error) reply // what is answered to an error
	identify  func(*http.Request) (principal, error)
	limits    *limits                        // of each caller; nil: none
	anonymous *limits                        // of each network; nil: none
	address   func(*http.Request) netip.Addr // of the client; nil: it has none
	log       *zap.Logger
}

// principal is who has made a request.
type principal struct {
	caller    manage.Caller
	parameter string // of the query, which carried the credential; empty: none did
	count     func() // counts a use of the credential; nil: nothing does
}

// ServeHTTP implements http.Handler.
func (d *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var caller manage.Caller
	answer, err := d.recoverPanic(func() (answer reply, err error) {
		answer, caller, err = d.serve(r)
		return answer, err
	})
	cut := false
	switch {
	case err != nil:
		if answer.status == 0 {
			answer = d.refuse(r, caller, err)
		}
		answer.write(w)
	case answer.stream != nil:
		answer, cut, err = d.stream(w, r, caller, answer)
		if isRecorded(r, err) {
			d.limits.charge(caller.Name(), refusedReads)
		}
	default:
		answer.write(w)
	}
	d.logRequest(r, caller, answer, err)
	if cut {
		// The one way to tell the client that what it got is not all.
		panic(http.ErrAbortHandler)
	}
}

// serve finds the endpoint and who is calling, and asks the one for the other.
// Nothing is done before the caller is known.
func (d *handler) serve(r *http.Request) (reply, manage.Caller, error) {
	e, id, err := d.route(r)
	if err != nil {
		return reply{}, manage.Caller{}, err
	}
	v, err := d.identify(r)
	if err != nil {
		return reply{}, manage.Caller{}, err
	}
	who, refused := v.caller.Name(), refusedReads
	if isUnsafe(r) {
		refused = refusedChanges
	}
	wait := max(d.limits.take(who, requests), d.limits.wait(who, refused))
	if wait == 0 && e.costly {
		wait = d.limits.take(who, costly)
	}
	if wait > 0 && e.revokes() {
		wait = d.limits.take(who, revocations)
	}
	if wait > 0 {
		return reply{}, v.caller, errTooMany(wait)
	}
	if v.count != nil {
		v.count()
	}
	asked, err := d.read(r.URL.RawQuery, e.parameters, v.parameter)
	if err != nil {
		return reply{}, v.caller, err
	}
	answer, err := e.serve(r, incoming{v.caller, id, asked})
	switch {
	case err == nil && answer.stream != nil:
		if wait := d.limits.take(who, long); wait > 0 {
			answer, err = reply{}, errTooMany(wait)
		}
	case isRecorded(r, err):
		d.limits.charge(who, refused)
	}
	return answer, v.caller, err
}

// isRecorded reports whether a refusal counts as one that the audit log has a record
// of: of a change, whatever the reason, but for what could not be found out; of
// reading, that the caller may not.
func isRecorded(r *http.Request, err error) bool {
	if _, ok := errors.AsType[*page.Error](err); ok {
		return isUnsafe(r) // a form: it has no record, but is as much work
	}
	refusal, ok := errors.AsType[*manage.Error](err)
	return ok && refusal.Code != manage.Unavailable && refusal.Code != manage.TooMany && (isUnsafe(r) || refusal.Code == manage.Forbidden)
}

// recoverPanic makes an error of a panic: it must not end the process, which answers
// Envoy, too.
func (d *handler) recoverPanic(do func() (reply, error)) (answer reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The panic's own text might repeat what a client sent.
			d.log.Error("a management request made the server panic",
				zap.String("kind", fmt.Sprintf("%T", p)), zap.ByteString("stack", debug.Stack()))
			answer, err = reply{}, errPanic
		}
	}()
	return do()
}

var errPanic = errors.New("panic")

// logRequest writes the request's line into the log.
func (d *handler) logRequest(r *http.Request, c manage.Caller, answer reply, err error) {
	path := authz.Request{Path: r.RequestURI}
	fields := []zap.Field{
		zap.String("method", token.Excerpt(r.Method)), zap.String("path", token.Excerpt(path.PathForLog())),
		zap.String("caller", c.Name()), zap.Int("status", answer.status),
	}
	if d.address != nil {
		fields = append(fields, zap.Stringer("client", d.address(r)))
	}
	if answer.token != "" {
		fields = append(fields, zap.String("token", answer.token))
	}
	switch {
	case err == nil:
		d.log.Info("management request", fields...)
	case r.Context().Err() != nil:
		d.log.Log(d.logLevel(r, c), "management request whose client has gone", append(fields, zap.Error(redacted{err}))...)
	case refusalOf(err) == nil:
		d.log.Error("management request failed", append(fields, zap.Error(redacted{err}))...)
	default:
		level := zap.InfoLevel
		if c.Name() == "" || answer.status == http.StatusTooManyRequests {
			level = d.logLevel(r, c)
		}
		d.log.Log(level, "management request refused", append(fields, zap.String("refusal", token.Excerpt(err.Error())))...)
	}
}

// logLevel is that of a line of which anybody can have as many as they like: some are
// shown of each caller, and of those without a name some of each network and of
// all together.
func (d *handler) logLevel(r *http.Request, c manage.Caller) zapcore.Level {
	budget := lines
	if c.Name() == "" {
		if d.anonymous != nil && d.anonymous.take(network(d.address(r)), lines) > 0 {
			return zap.DebugLevel
		}
		budget = requests
	}
	if d.limits.take(c.Name(), budget) > 0 {
		return zap.DebugLevel
	}
	return zap.InfoLevel
}

// redacted is an error whose text may stand in a log.
type redacted struct{ error }

func (e redacted) Error() string { return token.Redact(e.error.Error()) }
