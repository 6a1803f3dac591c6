package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
)

// api serves endpoints to callers.
type api struct {
	endpoints []endpoint
	caller    func(context.Context) manage.Caller
	log       *zap.Logger
}

// reply is a whole answer. Nothing is written before it is complete, so that a
// failure on the way can still be told.
type reply struct {
	status int
	body   []byte
	allow  string // the Allow header of a 405
	token  string // the id of the token that it is about, for the log
}

func (a reply) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.allow != "" {
		h.Set("Allow", a.allow)
	}
	if len(a.body) > 0 {
		h.Set("Content-Type", authz.DenialType)
	}
	w.WriteHeader(a.status)
	w.Write(a.body)
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	caller := a.caller(r.Context())
	answer, err := a.answer(r, caller)
	if err != nil {
		answer = denial(err)
	}
	fields := []zap.Field{
		zap.String("method", short(r.Method)), zap.String("path", short(r.URL.Path)),
		zap.String("caller", caller.Name), zap.Int("status", answer.status),
	}
	if answer.token != "" {
		fields = append(fields, zap.String("token", answer.token))
	}
	switch {
	case answer.status >= http.StatusInternalServerError:
		a.log.Error("management request failed", append(fields, zap.Error(err))...)
	case err != nil:
		a.log.Info("management request refused", append(fields, zap.String("refusal", short(err.Error())))...)
	default:
		a.log.Info("management request", fields...)
	}
	answer.write(w)
}

// answer finds the endpoint and asks it. A panic becomes an error: it must not
// end the process, which answers Envoy, too.
func (a *api) answer(r *http.Request, c manage.Caller) (answer reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The panic's own text might repeat what a client sent.
			a.log.Error("a management request made the server panic",
				zap.String("kind", fmt.Sprintf("%T", p)), zap.ByteString("stack", debug.Stack()))
			answer, err = reply{}, errPanic
		}
	}()
	e, err := a.route(r)
	if err != nil {
		return reply{}, err
	}
	return e.serve(r, c)
}

var errPanic = errors.New("panic")

// route finds the endpoint of a request and notes the id in its path.
func (a *api) route(r *http.Request) (endpoint, error) {
	var methods []string
	if below, ok := belowBase(r.URL.Path); ok {
		for _, e := range a.endpoints {
			id, ok := match(e.path, below)
			if !ok {
				continue
			}
			if e.method == r.Method {
				r.SetPathValue("id", id)
				return e, nil
			}
			if !slices.Contains(methods, e.method) {
				methods = append(methods, e.method)
			}
		}
	}
	if methods == nil {
		return endpoint{}, errNoPath
	}
	return endpoint{}, methodError(methods)
}

// belowBase returns the path below the API's base.
func belowBase(path string) (below string, ok bool) {
	for _, base := range Bases {
		if below, ok := strings.CutPrefix(path, base); ok && (below == "" || below[0] == '/') {
			return strings.TrimPrefix(below, "/"), true
		}
	}
	return "", false
}

// match holds a path against an endpoint's and returns what stands for {id}.
func match(pattern, path string) (id string, ok bool) {
	wanted, found := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(wanted) != len(found) {
		return "", false
	}
	for i, segment := range wanted {
		switch {
		case segment == found[i]:
		case segment == "{id}" && found[i] != "":
			id = found[i]
		default:
			return "", false
		}
	}
	return id, true
}

// short returns what a client wrote in a form that a log may hold.
func short(text string) string {
	const most = 256
	if len(text) > most {
		text = text[:most] + "…"
	}
	return token.Redact(text)
}
