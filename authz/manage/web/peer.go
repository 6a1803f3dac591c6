package web

import (
	"context"
	"net"
	"net/http"
	"strconv"

	"github.com/tokengate/tokengate/authz/manage"
)

// peerKey is the key of the context value that ConnContext adds: a uint32.
type peerKey struct{}

// ConnContext is for http.Server.ConnContext. On a unix socket it notes the
// user of the process at the other end, as the kernel saw it connect.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	uid, ok := peerUID(c)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// peerName returns the name under which the audit log knows the user at the
// other end, such as "uid:0", if ConnContext has noted one.
func peerName(ctx context.Context) (name string, ok bool) {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		return "", false
	}
	return "uid:" + strconv.FormatUint(uint64(uid), 10), true
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
