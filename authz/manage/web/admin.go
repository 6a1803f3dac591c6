package web

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// Bases are the paths that the API lies below: two names for one thing.
var Bases = []string{"/rest/api-tokens/latest", "/rest/api-tokens/1.0"}

// Admin returns the API for the admin socket: a unix socket whose file
// permissions say who may open it, and whoever may is an administrator. The
// server needs ConnContext as its ConnContext; a request whose connection
// does not tell who is at its other end is refused. view is what a decision
// made now consults.
func Admin(m *manage.Manager, view func() authz.View, log *zap.Logger) http.Handler {
	return &handler{
		bases:     Bases,
		endpoints: endpoints(m, view),
		read:      query.Read,
		refuse:    refuseOnSocket,
		identify:  socketPrincipal,
		log:       log,
	}
}

// socketPrincipal is the user at the other end of a unix socket. Of one who is
// not known the manager refuses everything, and records it.
func socketPrincipal(r *http.Request) (principal, error) {
	name, ok := peerName(r.Context())
	if !ok {
		return principal{}, nil
	}
	return principal{caller: manage.Operator(name)}, nil
}
