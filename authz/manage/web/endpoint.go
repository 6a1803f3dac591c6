package web

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// endpoint is one method on one path. Its types are kept so that tests can walk
// through everything that the API can say.
type endpoint struct {
	method     string
	path       string   // below a base; {id} stands for one segment
	parameters []string // that the query may have
	costly     bool     // it makes the store write a secret
	request    reflect.Type
	response   reflect.Type
	serve      func(*http.Request, incoming) (reply, error)
}

// incoming is a request when it is known whose it is.
type incoming struct {
	caller manage.Caller
	id     string // what stands for {id}
	query  query.Values
}

// call is a request on its way to the manager.
type call[Request any] struct {
	incoming
	ctx  context.Context
	body Request
}

// empty is the type of a body that is not there.
type empty struct{}

// newEndpoint makes an endpoint of a function: it decodes the body for it and encodes
// what it returns. With none as Request the body is not read, with none as
// Response the answer is 204 without a body.
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

// newReplyEndpoint makes an endpoint of a function that makes the answer itself, of what
// a Response holds.
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

// withParameters names the parameters of the query.
func (e endpoint) withParameters(parameters ...[]string) endpoint {
	e.parameters = slices.Concat(parameters...)
	return e
}

// revokes reports whether the endpoint ends tokens. It has a budget of its own, so
// that requests under the owner's name, such as a thief's, do not keep the owner
// from it.
func (e endpoint) revokes() bool {
	return e.method == http.MethodDelete || e.method == http.MethodPost && (e.path == "revoke-all" || strings.HasSuffix(e.path, "/revoke"))
}

// asCostly bounds how often a caller may ask.
func (e endpoint) asCostly() endpoint {
	e.costly = true
	return e
}
