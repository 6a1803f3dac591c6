package web

import (
	"context"
	"net"
	"net/http"
	"strconv"

	"github.com/tokengate/tokengate/authz/manage"
)

// peerKey is the context key of the peer's uid, a uint32.
type peerKey struct{}

// ConnContext is for http.Server.ConnContext. It stores the user of the process at
// the other end of a unix socket, as the kernel reports it.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	uid, ok := peerUID(c)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// socketPrincipal identifies the peer of a unix socket, such as "uid:0". For an unknown
// peer it returns the zero principal, which the manager refuses and records.
func socketPrincipal(r *http.Request) (principal, error) {
	uid, ok := r.Context().Value(peerKey{}).(uint32)
	if !ok {
		return principal{}, nil
	}
	return principal{caller: manage.Operator("uid:" + strconv.FormatUint(uint64(uid), 10))}, nil
}
