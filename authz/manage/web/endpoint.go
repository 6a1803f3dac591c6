package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/tokengate/tokengate/authz/manage"
)

// endpoint is one method on one path. Its types are kept so that tests can walk
// through everything that the API can say.
type endpoint struct {
	method   string
	path     string // below a base; {id} stands for one segment
	request  reflect.Type
	response reflect.Type
	serve    func(*http.Request, manage.Caller) (reply, error)
}

// call is a request on its way to the manager.
type call[Request any] struct {
	ctx    context.Context
	caller manage.Caller
	http   *http.Request
	body   Request
}

// none is the type of a body that is not there.
type none struct{}

// on makes an endpoint of a function: it decodes the body for it and encodes
// what it returns. With none as Request the body is not read, with none as
// Response the answer is 204 without a body.
func on[Request, Response any](method, path string, do func(call[Request]) (Response, error)) endpoint {
	e := endpoint{method: method, path: path, request: reflect.TypeFor[Request](), response: reflect.TypeFor[Response]()}
	e.serve = func(r *http.Request, c manage.Caller) (reply, error) {
		asked := call[Request]{ctx: r.Context(), caller: c, http: r}
		if e.request != reflect.TypeFor[none]() {
			if err := decode(r, &asked.body); err != nil {
				return reply{}, err
			}
		}
		answer, err := do(asked)
		if err != nil {
			return reply{}, err
		}
		if e.response == reflect.TypeFor[none]() {
			return reply{status: http.StatusNoContent}, nil
		}
		body, err := json.Marshal(answer)
		if err != nil {
			return reply{}, fmt.Errorf("encode the answer: %w", err)
		}
		done := reply{status: http.StatusOK, body: append(body, '\n')}
		if about, ok := any(answer).(interface{ about() string }); ok {
			done.token = about.about()
		}
		return done, nil
	}
	return e
}
