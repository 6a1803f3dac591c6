package running

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	stripv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tokengate/tokengate/envoy"
)

// gate is one virtual host through which requests reach the application, with what
// Envoy does to them on the way.
type gate struct {
	where   string // for messages
	hcm     *hcmv3.HttpConnectionManager
	config  *routev3.RouteConfiguration
	host    *routev3.VirtualHost
	filters []*hcmv3.HttpFilter

	authz   *authzv3.ExtAuthz // nil: there is no such filter, or it is off
	authzAt int               // its index in filters

	removed  []string // headers that clients may not send, in lower case
	prefixes []string // beginnings of such headers

	application []string // names of the application's clusters
	clusters    *Configuration
}

// filter names, as Envoy's factories have them. A filter is found by the type of its
// configuration, because its name may be any text.
const (
	authzType          = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
	customResponseType = "envoy.extensions.filters.http.custom_response.v3.CustomResponse"
	routerType         = "envoy.extensions.filters.http.router.v3.Router"
	tcpProxyType       = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
)

// gates returns the virtual hosts that forward to the application, and the listeners
// that forward connections to it unread.
func (c *Configuration) gates(application []string) (gates []*gate, unread []string) {
	for _, l := range c.listeners {
		chains := l.GetFilterChains()
		if l.GetDefaultFilterChain() != nil {
			chains = append(slices.Clone(chains), l.GetDefaultFilterChain())
		}
		where := cmp.Or(l.GetName(), "without a name")
		for _, chain := range chains {
			for _, f := range chain.GetFilters() {
				if typeOf(f.GetTypedConfig()) == tcpProxyType && slices.Contains(application, textIn(f.GetTypedConfig(), "cluster")) {
					unread = append(unread, where)
				}
				hcm := new(hcmv3.HttpConnectionManager)
				if f.GetTypedConfig().UnmarshalTo(hcm) != nil {
					continue
				}
				routes := c.routesOf(hcm)
				for _, host := range routes.GetVirtualHosts() {
					g := &gate{hcm: hcm, config: routes, host: host, filters: hcm.GetHttpFilters(), application: application, clusters: c,
						where: fmt.Sprintf("listener %s, virtual host %s", where, host.GetName())}
					if slices.ContainsFunc(host.GetRoutes(), g.forwards) {
						g.read()
						gates = append(gates, g)
					}
				}
			}
		}
	}
	return gates, unread
}

// routesOf returns the routes of a connection manager, its own or those that it names.
func (c *Configuration) routesOf(hcm *hcmv3.HttpConnectionManager) *routev3.RouteConfiguration {
	if hcm.GetRouteConfig() != nil {
		return hcm.GetRouteConfig()
	}
	for _, r := range c.routes {
		if r.GetName() == hcm.GetRds().GetRouteConfigName() {
			return r
		}
	}
	return nil
}

// read finds the ext_authz filter, and the headers that are removed from all requests.
func (g *gate) read() {
	for i, f := range g.filters {
		a := new(authzv3.ExtAuthz)
		if g.authz == nil && !f.GetDisabled() && f.GetTypedConfig().UnmarshalTo(a) == nil {
			g.authz, g.authzAt = a, i
		}
	}
	for _, extension := range g.hcm.GetEarlyHeaderMutationExtensions() {
		strip := new(stripv3.HeaderMutation)
		if extension.GetTypedConfig().UnmarshalTo(strip) != nil {
			continue
		}
		for _, m := range strip.GetMutations() {
			if name := m.GetRemove(); name != "" {
				g.removed = append(g.removed, strings.ToLower(name))
			}
			switch key := m.GetRemoveOnMatch().GetKeyMatcher(); {
			case key.GetExact() != "":
				g.removed = append(g.removed, strings.ToLower(key.GetExact()))
			case key.GetPrefix() != "":
				g.prefixes = append(g.prefixes, strings.ToLower(key.GetPrefix()))
			}
		}
	}
}

// forwards reports whether a route forwards to the application, or could.
func (g *gate) forwards(r *routev3.Route) bool {
	action := r.GetRoute()
	if action == nil {
		return false
	}
	for _, w := range action.GetWeightedClusters().GetClusters() {
		if slices.Contains(g.application, w.GetName()) {
			return true
		}
	}
	return action.GetClusterHeader() != "" || slices.Contains(g.application, action.GetCluster())
}

// isMarker reports whether a route is the one of allowed requests with a token.
func (g *gate) isMarker(r *routev3.Route) bool {
	return g.forwards(r) && needsMarker(r) && len(r.GetMatch().GetHeaders()) == 1 && covers(r, "/") && covers(r, "/rest/x")
}

func needsMarker(r *routev3.Route) bool {
	return slices.ContainsFunc(r.GetMatch().GetHeaders(), func(h *routev3.HeaderMatcher) bool {
		return strings.EqualFold(h.GetName(), envoy.MarkerHeader) && h.GetPresentMatch() && !h.GetInvertMatch()
	})
}

// covers reports whether a route may take requests to a path. Its other conditions
// do not count.
func covers(r *routev3.Route, path string) bool {
	m := r.GetMatch()
	switch {
	case m.GetPrefix() != "":
		return strings.HasPrefix(path, m.GetPrefix())
	case m.GetPathSeparatedPrefix() != "":
		rest, ok := strings.CutPrefix(path, m.GetPathSeparatedPrefix())
		return ok && (rest == "" || rest[0] == '/')
	case m.GetPath() != "":
		return path == m.GetPath()
	case m.GetSafeRegex() != nil:
		expression, err := regexp.Compile(`^(?:` + m.GetSafeRegex().GetRegex() + `)$`)
		return err != nil || expression.MatchString(path)
	}
	return true // what is not known here might
}

// removesSetCookie reports whether answers on a route lose Set-Cookie.
func (g *gate) removesSetCookie(r *routev3.Route) bool {
	for _, list := range [][]string{r.GetResponseHeadersToRemove(), g.host.GetResponseHeadersToRemove(), g.config.GetResponseHeadersToRemove()} {
		if slices.ContainsFunc(list, func(name string) bool { return strings.EqualFold(name, "set-cookie") }) {
			return true
		}
	}
	return false
}

// name returns how messages name a route.
func name(r *routev3.Route) string {
	m := r.GetMatch()
	text := cmp.Or(m.GetPrefix(), m.GetPathSeparatedPrefix(), m.GetPath(), m.GetSafeRegex().GetRegex(), "of another kind")
	if len(m.GetHeaders()) > 0 {
		text += " with conditions on headers"
	}
	return "the route " + text
}

// typeOf returns the full name of a message's type, also of one that is not compiled in.
func typeOf(a *anypb.Any) string {
	if kind := textIn(a, "@type"); kind != "" {
		return kind[strings.LastIndexByte(kind, '/')+1:]
	}
	return string(a.MessageName())
}

// textIn returns a field of a message that is not compiled in, or "".
func textIn(a *anypb.Any, field string) string {
	s := new(structpb.Struct)
	if a == nil || a.UnmarshalTo(s) != nil {
		return ""
	}
	return s.GetFields()[field].GetStringValue()
}
