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
	"github.com/tokengate/tokengate/authz/web/page"
	"github.com/tokengate/tokengate/authz/web/query"
)

// handler serves the endpoints of the API, or the pages, to callers.
type handler struct {
	bases     []string // that the endpoints are below
	endpoints []endpoint
	read      func(raw string, known []string, credential string) (query.Values, error)
	refuse    func(*http.Request, manage.Caller, error) reply // makes the answer to an error
	identify  func(*http.Request) (principal, error)
	limits    *limits                        // of each caller; nil: none
	anonymous *limits                        // of each network; nil: none
	address   func(*http.Request) netip.Addr // of the client; nil: it has none
	log       *zap.Logger
}

// principal is the verified sender of a request.
type principal struct {
	caller    manage.Caller
	parameter string // query parameter that carried the credential; empty: none
	count     func() // counts a use of the credential; may be nil
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var caller manage.Caller
	answer, err := h.recoverPanic(func() (answer reply, err error) {
		answer, caller, err = h.serve(r)
		return answer, err
	})
	cut := false
	switch {
	case err != nil:
		if answer.status == 0 {
			answer = h.refuse(r, caller, err)
		}
		answer.write(w)
	case answer.stream != nil:
		answer, cut, err = h.stream(w, r, caller, answer)
		if isRecorded(r, err) {
			h.limits.charge(caller.Name(), refusedReads)
		}
	default:
		answer.write(w)
	}
	h.logRequest(r, caller, answer, err)
	if cut {
		// Tells the client that the answer is incomplete.
		panic(http.ErrAbortHandler)
	}
}

// serve finds the endpoint, identifies the caller, checks the limits and runs the
// endpoint.
func (h *handler) serve(r *http.Request) (reply, manage.Caller, error) {
	e, id, err := h.route(r)
	if err != nil {
		return reply{}, manage.Caller{}, err
	}
	v, err := h.identify(r)
	if err != nil {
		return reply{}, manage.Caller{}, err
	}
	who, refused := v.caller.Name(), refusedReads
	if isUnsafe(r) {
		refused = refusedChanges
	}
	wait := max(h.limits.take(who, requests), h.limits.wait(who, refused))
	if wait == 0 && e.costly {
		wait = h.limits.take(who, costly)
	}
	// Revocations have a budget of their own, so that a thief who uses up the owner's
	// other budgets cannot prevent them.
	if wait > 0 && e.revokes {
		wait = h.limits.take(who, revocations)
	}
	if wait > 0 {
		return reply{}, v.caller, errTooMany(wait)
	}
	if v.count != nil {
		v.count()
	}
	asked, err := h.read(r.URL.RawQuery, e.parameters, v.parameter)
	if err != nil {
		return reply{}, v.caller, err
	}
	answer, err := e.serve(r, incoming{v.caller, id, asked})
	switch {
	case err == nil && answer.stream != nil:
		if wait := h.limits.take(who, long); wait > 0 {
			answer, err = reply{}, errTooMany(wait)
		}
	case isRecorded(r, err):
		h.limits.charge(who, refused)
	}
	return answer, v.caller, err
}

// isRecorded reports whether the audit log has a record of a refusal: every refused
// change, unless the rights are unknown, and forbidden reads.
func isRecorded(r *http.Request, err error) bool {
	if _, ok := errors.AsType[*page.Error](err); ok {
		return isUnsafe(r) // a form: not recorded, but as much work
	}
	refusal, ok := errors.AsType[*manage.Error](err)
	return ok && refusal.Code != manage.Unavailable && refusal.Code != manage.TooMany && (isUnsafe(r) || refusal.Code == manage.Forbidden)
}

// recoverPanic turns a panic into an error: it must not end the process, which also
// answers Envoy.
func (h *handler) recoverPanic(do func() (reply, error)) (answer reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The panic's text may repeat what a client sent, so it is not logged.
			h.log.Error("a management request made the server panic",
				zap.String("kind", fmt.Sprintf("%T", p)), zap.ByteString("stack", debug.Stack()))
			answer, err = reply{}, errPanic
		}
	}()
	return do()
}

var errPanic = errors.New("panic")

// logRequest logs the request.
func (h *handler) logRequest(r *http.Request, c manage.Caller, answer reply, err error) {
	path := authz.Request{Path: r.RequestURI}
	fields := []zap.Field{
		zap.String("method", token.Excerpt(r.Method)), zap.String("path", token.Excerpt(path.PathForLog())),
		zap.String("caller", c.Name()), zap.Int("status", answer.status),
	}
	if h.address != nil {
		fields = append(fields, zap.Stringer("client", h.address(r)))
	}
	if answer.token != "" {
		fields = append(fields, zap.String("token", answer.token))
	}
	switch {
	case err == nil:
		h.log.Info("management request", fields...)
	case r.Context().Err() != nil:
		h.log.Log(h.logLevel(r, c), "management request canceled by its client", append(fields, zap.Error(redacted{err}))...)
	case refusalOf(err) == nil:
		h.log.Error("management request failed", append(fields, zap.Error(redacted{err}))...)
	default:
		level := zap.InfoLevel
		if c.Name() == "" || answer.status == http.StatusTooManyRequests {
			level = h.logLevel(r, c)
		}
		h.log.Log(level, "management request refused", append(fields, zap.String("refusal", token.Excerpt(err.Error())))...)
	}
}

// logLevel returns the log level of lines that clients can trigger at will: info
// within a budget of each caller or, for unauthenticated clients, of each network
// and of all together; debug beyond it.
func (h *handler) logLevel(r *http.Request, c manage.Caller) zapcore.Level {
	budget := lines
	if c.Name() == "" {
		if h.anonymous != nil && h.anonymous.take(network(h.address(r)), lines) > 0 {
			return zap.DebugLevel
		}
		budget = requests
	}
	if h.limits.take(c.Name(), budget) > 0 {
		return zap.DebugLevel
	}
	return zap.InfoLevel
}

// redacted is an error whose text may be logged.
type redacted struct{ error }

func (r redacted) Error() string { return token.Redact(r.error.Error()) }
