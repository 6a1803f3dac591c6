package running

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const headerMutationType = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"

// asks finds routes on which tokengate is not asked. Those of envoy.bypass are meant.
func asks(want, got *gate) string {
	if got.authz.GetGrpcService() == nil {
		return "ext_authz has no grpc_service, so it does not ask tokengate"
	}
	routers := slices.IndexFunc(got.filters, func(f *hcmv3.HttpFilter) bool { return typeOf(f.GetTypedConfig()) == routerType })
	if routers >= 0 && routers < got.authzAt {
		return "ext_authz comes after the router, so it is never used"
	}
	asked := func(g *gate) string { return g.authz.GetGrpcService().GetEnvoyGrpc().GetClusterName() }
	if problem := otherServers(want, got, asked(want), asked(got)); problem != "" {
		return "ext_authz asks " + problem
	}
	filter := got.filters[got.authzAt].GetName()
	if overridden(got.config.GetTypedPerFilterConfig()[filter]) || overridden(got.host.GetTypedPerFilterConfig()[filter]) {
		return "ext_authz is disabled or changed for all routes of " + got.where
	}
	for _, r := range got.host.GetRoutes() {
		meant := slices.ContainsFunc(want.host.GetRoutes(), func(w *routev3.Route) bool {
			return proto.Equal(w.GetMatch(), r.GetMatch()) && overridden(w.GetTypedPerFilterConfig()[want.filters[want.authzAt].GetName()])
		})
		if r.GetRoute() != nil && !meant && overridden(r.GetTypedPerFilterConfig()[filter]) {
			return name(r) + " disables ext_authz or changes whom it asks: its requests are not checked"
		}
	}
	return ""
}

// overridden reports whether a configuration for a route switches ext_authz off or
// lets it ask another server.
func overridden(a *anypb.Any) bool {
	if a == nil {
		return false
	}
	off, own := new(routev3.FilterConfig), new(authzv3.ExtAuthzPerRoute)
	switch {
	case a.UnmarshalTo(off) == nil:
		return off.GetDisabled() || overridden(off.GetConfig())
	case a.UnmarshalTo(own) == nil:
		check := own.GetCheckSettings()
		return own.GetDisabled() || check.GetServiceOverride() != nil
	}
	return true
}

// management returns the generated routes to tokengate's API and page.
func (g *gate) management() []*routev3.Route {
	return g.routesWith(func(r *routev3.Route) bool { return r.GetRoute() != nil && !g.forwards(r) })
}

// sameMatch returns the index of the route with the same condition, or -1.
func (g *gate) sameMatch(w *routev3.Route) int {
	return slices.IndexFunc(g.host.GetRoutes(), func(r *routev3.Route) bool { return proto.Equal(r.GetMatch(), w.GetMatch()) })
}

func managementRoutes(want, got *gate) string {
	for _, w := range want.management() {
		at := got.sameMatch(w)
		if at < 0 {
			return name(w) + " is missing: requests to it reach the application instead of tokengate"
		}
		r := got.host.GetRoutes()[at]
		if r.GetRoute() == nil || got.forwards(r) {
			return name(w) + " does not lead to tokengate"
		}
		if problem := otherServers(want, got, w.GetRoute().GetCluster(), r.GetRoute().GetCluster()); problem != "" {
			return name(w) + " leads to " + problem
		}
		for _, h := range w.GetRequestHeadersToAdd() {
			if !slices.ContainsFunc(r.GetRequestHeadersToAdd(), func(o *corev3.HeaderValueOption) bool { return proto.Equal(o, h) }) {
				return name(w) + " does not overwrite " + h.GetHeader().GetKey() + ": a client could choose its address"
			}
		}
	}
	return ""
}

func markerRoute(_, got *gate) string {
	if len(got.routesWith(got.isMarker)) == 0 {
		return "there is none: answers to requests with a token keep Set-Cookie, and a session outlives the token and its limits"
	}
	return ""
}

func routeOrder(want, got *gate) string {
	routes := got.host.GetRoutes()
	for _, w := range want.management() {
		at := got.sameMatch(w)
		for _, before := range routes[:max(at, 0)] {
			if got.forwards(before) && !needsMarker(before) && covers(before, pathOf(w)) {
				return name(before) + " comes before " + name(w) + " and takes its requests"
			}
		}
	}
	marker := slices.IndexFunc(routes, got.isMarker)
	for _, before := range routes[:max(marker, 0)] {
		if got.forwards(before) && !got.removesSetCookie(before) {
			return name(before) + " comes before the route for requests with a token and takes some of them, with Set-Cookie"
		}
	}
	return ""
}

func pathOf(r *routev3.Route) string {
	m := r.GetMatch()
	return strings.TrimSuffix(m.GetPrefix()+m.GetPathSeparatedPrefix()+m.GetPath(), "/")
}

func setCookie(_, got *gate) string {
	for _, r := range got.routesWith(got.isMarker) {
		if !got.removesSetCookie(r) {
			return "the route for requests with a token does not remove set-cookie: a session outlives the token and its limits"
		}
	}
	return ""
}

func logins(want, got *gate) string {
	body := func(g *gate, r *routev3.Route) bool {
		own := new(authzv3.ExtAuthzPerRoute)
		a := r.GetTypedPerFilterConfig()[g.filters[g.authzAt].GetName()]
		return a != nil && a.UnmarshalTo(own) == nil && own.GetCheckSettings().GetWithRequestBody() != nil
	}
	for _, w := range want.host.GetRoutes() {
		if !body(want, w) {
			continue
		}
		if at := got.sameMatch(w); at < 0 || !body(got, got.host.GetRoutes()[at]) {
			return "the route of logins with with_request_body is missing: a token in the body of a login reaches the application, which counts a failed login"
		}
	}
	return ""
}

// customResponse compares what upstream.identity.pat needs.
func customResponse(want, got *gate) string {
	find := func(g *gate) int {
		return slices.IndexFunc(g.filters, func(f *hcmv3.HttpFilter) bool {
			return typeOf(f.GetTypedConfig()) == customResponseType && !f.GetDisabled()
		})
	}
	wanted := find(want)
	if wanted < 0 {
		return ""
	}
	at := find(got)
	if at < 0 {
		return "the filter custom_response is missing: a user whose personal access token the application refuses gets answers that were made for nobody"
	}
	for _, w := range want.routesWith(want.isMarker) {
		policy := w.GetTypedPerFilterConfig()[want.filters[wanted].GetName()]
		for _, r := range got.routesWith(got.isMarker) {
			if !proto.Equal(policy, r.GetTypedPerFilterConfig()[got.filters[at].GetName()]) {
				return "the route for requests with a token has another custom_response: answers that were made for nobody reach clients"
			}
		}
	}
	return ""
}
