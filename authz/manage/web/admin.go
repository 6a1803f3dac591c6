package web

import (
	"context"
	"net/http"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
)

// Bases are the paths that the API lies below: two names for one thing.
var Bases = []string{"/rest/api-tokens/latest", "/rest/api-tokens/1.0"}

// from is how the audit log says that somebody came in over the admin socket.
const from = "admin socket"

// Admin returns the API for the admin socket: a unix socket whose file
// permissions say who may open it, and whoever may is an administrator. The
// server needs ConnContext as its ConnContext; a request whose connection
// does not tell who is at its other end is refused. view is what a decision
// made now consults.
func Admin(m *manage.Manager, view func() authz.View, log *zap.Logger) http.Handler {
	return &api{
		endpoints: endpoints(m, view),
		caller:    socketCaller,
		log:       log,
	}
}

// socketCaller is the user at the other end of a unix socket.
func socketCaller(ctx context.Context) manage.Caller {
	name, ok := peerName(ctx)
	return manage.Caller{Name: name, From: from, Administrator: ok}
}

// Unavailable returns a handler that refuses every request with 503.
func Unavailable() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply{
			status: http.StatusServiceUnavailable,
			body:   authz.Denial("API tokens cannot be managed over this address. Ask an administrator, who manages them with the tokengate command."),
		}.write(w)
	})
}
