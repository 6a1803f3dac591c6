package web

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/query"
)

// endpoint is one method on one path. It keeps the types of its body and answer for
// tests of the whole API.
type endpoint struct {
	method     string
	path       string   // below a base; {id} matches one segment
	parameters []string // allowed in the query
	costly     bool     // see page.Page.Costly
	revokes    bool     // revokes tokens
	request    reflect.Type
	response   reflect.Type
	serve      func(*http.Request, incoming) (reply, error)
}

// incoming is a request of an identified caller.
type incoming struct {
	caller manage.Caller
	id     string // the segment that {id} matched
	query  query.Values
}

// call is a request with its decoded body.
type call[Request any] struct {
	incoming
	ctx  context.Context
	body Request
}

// empty is the type of a missing body.
type empty struct{}

// newEndpoint makes an endpoint from a function. It decodes the function's request and
// encodes its response. With empty as Request the body is not read; with empty as
// Response the answer is 204.
func newEndpoint[Request, Response any](method, path string, do func(call[Request]) (Response, error)) endpoint {
	return newReplyEndpoint[Request, Response](method, path, func(c call[Request]) (reply, error) {
		answer, err := do(c)
		if err != nil {
			return reply{}, err
		}
		if reflect.TypeFor[Response]() == reflect.TypeFor[empty]() {
			return reply{status: http.StatusNoContent}, nil
		}
		return encode(answer)
	})
}

// newAction makes an endpoint from an operation on a token.
func newAction(method, path string, do func(context.Context, manage.Caller, string) error) endpoint {
	return newEndpoint(method, path, func(c call[empty]) (empty, error) { return empty{}, do(c.ctx, c.caller, c.id) })
}

// newReplyEndpoint makes an endpoint from a function that encodes a Response itself.
func newReplyEndpoint[Request, Response any](method, path string, do func(call[Request]) (reply, error)) endpoint {
	e := endpoint{method: method, path: path, request: reflect.TypeFor[Request](), response: reflect.TypeFor[Response]()}
	e.serve = func(r *http.Request, in incoming) (reply, error) {
		asked := call[Request]{incoming: in, ctx: r.Context()}
		if e.request != reflect.TypeFor[empty]() {
			if err := decode(r, &asked.body); err != nil {
				return reply{}, err
			}
		}
		return do(asked)
	}
	return e
}

// withParameters sets the parameters allowed in the query.
func (e endpoint) withParameters(parameters ...[]string) endpoint {
	e.parameters = slices.Concat(parameters...)
	return e
}

// asCostly marks an endpoint as costly: see page.Page.Costly.
func (e endpoint) asCostly() endpoint {
	e.costly = true
	return e
}

// asRevocation marks an endpoint that revokes tokens.
func (e endpoint) asRevocation() endpoint {
	e.revokes = true
	return e
}

// maxQuery is the maximum length of a query, in bytes.
const maxQuery = 4 << 10

// route returns the endpoint of a request and the id in its path. It matches the
// path as sent: escapes and semicolons, which servers interpret differently, match
// nothing. http.ServeMux is not used, because it redirects paths that are not clean,
// takes PATCH /all for PATCH /{id}, and writes the 405 itself.
func (h *handler) route(r *http.Request) (e endpoint, id string, err error) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.ContainsFunc(path, isUnusual) {
		return endpoint{}, "", errNoPath
	}
	below, ok := h.belowBase(path)
	if !ok {
		return endpoint{}, "", errNoPath
	}
	if len(r.URL.RawQuery) > maxQuery {
		return endpoint{}, "", &httpError{status: http.StatusRequestURITooLong, text: "The query is longer than 4 KiB. Ask for less at once."}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var methods []string
	for _, e := range h.endpoints {
		// A fixed path is never an id.
		found, ok := match(e.path, below)
		if !ok || found != "" && slices.ContainsFunc(h.endpoints, func(o endpoint) bool { return o.path == below }) {
			continue
		}
		if e.method == method {
			return e, found, nil
		}
		methods = append(methods, e.method)
		if e.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	if methods == nil {
		return endpoint{}, "", errNoPath
	}
	return endpoint{}, "", methodError(methods)
}

// isUnusual reports whether a character occurs in no path of the API and no context
// path.
func isUnusual(c rune) bool {
	usual := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("/-._~", c)
	return !usual
}

// belowBase returns the path below a base.
func (h *handler) belowBase(path string) (below string, ok bool) {
	for _, base := range h.bases {
		if below, ok := strings.CutPrefix(path, base); ok && (below == "" || below[0] == '/') {
			return strings.TrimPrefix(below, "/"), true
		}
	}
	return "", false
}

// match matches a path with an endpoint's and returns the segment of {id}.
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

// The description of the API is written by hand. Tests compare it with the
// endpoints, their types and every answer that they see.
//
//go:embed openapi.yaml
var openAPIPaths []byte

//go:embed openapi-components.yaml
var openAPIComponents []byte

// openAPIJSON returns the description as JSON.
var openAPIJSON = sync.OnceValues(func() ([]byte, error) {
	body, err := yaml.YAMLToJSON(slices.Concat(openAPIPaths, openAPIComponents))
	if err != nil {
		return nil, fmt.Errorf("read the description of the API: %w", err)
	}
	return body, nil
})

// describe answers with the description.
func describe(call[empty]) (reply, error) {
	body, err := openAPIJSON()
	return reply{status: http.StatusOK, body: body}, err
}
