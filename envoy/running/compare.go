package running

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
)

// Check is one thing that Envoy must do for tokengate's decisions to hold.
type Check struct {
	ID      string // does not change between versions
	Title   string
	Warning bool // a difference needs a look, and may be right

	// differs returns what is wrong and what comes of it, or "".
	differs func(want, got *gate) string
}

// Checks are all checks of Compare.
var Checks = []Check{
	{ID: "envoy-ext-authz", Title: "Envoy asks tokengate about every request", differs: asks},
	{ID: "envoy-failure-mode", Title: "without tokengate's answer Envoy refuses", differs: failureMode},
	{ID: "envoy-disable", Title: "the check cannot be switched off at run time", differs: disable},
	{ID: "envoy-status-on-error", Title: "without tokengate's answer the status is 503", differs: statusOnError},
	{ID: "envoy-timeout", Title: "Envoy waits a limited time for tokengate", differs: timeout},
	{ID: "envoy-strip", Title: "Envoy removes reserved headers of clients", differs: strip},
	{ID: "envoy-underscores", Title: "Envoy drops headers with underscores", differs: underscores},
	{ID: "envoy-paths", Title: "Envoy normalizes paths", differs: paths},
	{ID: "envoy-hops", Title: "Envoy counts the proxies in front of it", differs: hops},
	{ID: "envoy-client-address", Title: "Envoy tells tokengate the client's address", differs: clientAddress},
	{ID: "envoy-checked-headers", Title: "Envoy sends tokengate the headers that it reads", differs: checkedHeaders},
	{ID: "envoy-mutations", Title: "Envoy makes exactly tokengate's changes", differs: mutations},
	{ID: "envoy-route-cache", Title: "Envoy chooses the route after tokengate's answer", differs: routeCache},
	{ID: "envoy-management-routes", Title: "Envoy sends the API and the page to tokengate", differs: managementRoutes},
	{ID: "envoy-marker-route", Title: "Envoy has the route for requests with a token", differs: markerRoute},
	{ID: "envoy-route-order", Title: "the routes are in order", differs: routeOrder},
	{ID: "envoy-set-cookie", Title: "requests with a token get no session", differs: setCookie},
	{ID: "envoy-logins", Title: "Envoy sends tokengate the body of logins", differs: logins},
	{ID: "envoy-custom-response", Title: "Envoy replaces answers that were made for nobody", differs: customResponse},
	{ID: "envoy-upgrades", Title: "Envoy upgrades no connection and follows no redirect", differs: upgrades},
	{ID: "envoy-filters", Title: "no other filter follows the check", Warning: true, differs: filters},
}

// Comparison is what Compare found.
type Comparison struct {
	Fingerprint bool // the running configuration has one
	Outdated    bool // it is another than that of the generated configuration

	Upstream string            // why requests do not go to the application; empty: they do
	Problems map[string]string // what is wrong, by the ID of a check
}

// Compare compares the running configuration with the generated one.
func Compare(generated, running *Configuration) (Comparison, error) {
	found := Comparison{Problems: make(map[string]string)}
	want, application, err := generated.wanted()
	if err != nil {
		return found, err
	}
	sent := running.healthMetadata()
	for name, fingerprint := range generated.healthMetadata() {
		found.Fingerprint = sent[name] != ""
		found.Outdated = found.Fingerprint && sent[name] != fingerprint
	}

	addresses := addressesOf(generated.cluster(application))
	clusters := running.clustersAt(addresses)
	if named := running.cluster(application); named != nil && !slices.Contains(clusters, application) {
		found.Upstream = fmt.Sprintf("Envoy forwards to %s, but upstream.url is %s", strings.Join(addressesOf(named), ", "), strings.Join(addresses, ", "))
		clusters = append(clusters, application)
	}
	gates, unread := running.gates(clusters)
	if len(gates) == 0 && found.Upstream == "" {
		found.Upstream = "no listener of Envoy forwards requests to " + strings.Join(addresses, ", ") + ", which is upstream.url"
	}
	if len(unread) > 0 {
		found.Problems["envoy-ext-authz"] = "listener " + strings.Join(unread, ", ") + " forwards connections without reading requests, so nothing is checked"
		return found, nil
	}
	for _, got := range gates {
		if got.authz == nil {
			found.Problems["envoy-ext-authz"] = got.where + ": there is no ext_authz filter, so nothing is checked"
			continue // the other checks would all repeat it
		}
		for _, c := range Checks {
			if problem := c.differs(want, got); problem != "" && found.Problems[c.ID] == "" {
				if len(gates) > 1 {
					problem = got.where + ": " + problem
				}
				found.Problems[c.ID] = problem
			}
		}
	}
	return found, nil
}

// wanted returns the gate of a generated configuration, and the name of the
// application's cluster.
func (c *Configuration) wanted() (*gate, string, error) {
	for _, cl := range c.clusters {
		if strings.HasPrefix(cl.GetName(), "tokengate") {
			continue
		}
		if gates, _ := c.gates([]string{cl.GetName()}); len(gates) > 0 && gates[0].authz != nil {
			return gates[0], cl.GetName(), nil
		}
	}
	return nil, "", fmt.Errorf("the generated configuration forwards nothing")
}

// healthMetadata returns the metadata of the health checks, which has the fingerprint: see
// envoy.Fingerprint.
func (c *Configuration) healthMetadata() map[string]string {
	sent := make(map[string]string)
	for _, cl := range c.clusters {
		for _, check := range cl.GetHealthChecks() {
			for _, h := range check.GetGrpcHealthCheck().GetInitialMetadata() {
				sent[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
			}
		}
	}
	return sent
}

func failureMode(_, got *gate) string {
	if got.authz.GetFailureModeAllow() {
		return "failure_mode_allow is true: while tokengate does not answer, every request passes, with or without a token"
	}
	return ""
}

func disable(_, got *gate) string {
	switch a := got.authz; {
	case !a.GetDenyAtDisable().GetDefaultValue().GetValue():
		return "deny_at_disable is not true: if the filter is disabled at run time, every request passes"
	case a.GetFilterEnabled() != nil || a.GetFilterEnabledMetadata() != nil:
		return "filter_enabled or filter_enabled_metadata is set: a part of the requests is not checked"
	}
	return ""
}

func statusOnError(want, got *gate) string {
	if w, g := want.authz.GetStatusOnError().GetCode(), got.authz.GetStatusOnError().GetCode(); w != g {
		return fmt.Sprintf("status_on_error is %d, not %d: clients take an outage of tokengate for a refusal", g, w)
	}
	return ""
}

// The range of useful timeouts of a check.
const minTimeout, maxTimeout = 500 * time.Millisecond, 10 * time.Second

func timeout(_, got *gate) string {
	d := got.authz.GetGrpcService().GetTimeout()
	switch t := d.AsDuration(); {
	case d == nil:
		return "grpc_service.timeout is missing, and Envoy's default of 0.2s is too short for a restart of tokengate"
	case t == 0:
		return "grpc_service.timeout is 0: if tokengate hangs, requests wait for ever"
	case t < minTimeout || t > maxTimeout:
		return fmt.Sprintf("grpc_service.timeout is %v; it should be between %v and %v", t, minTimeout, maxTimeout)
	}
	return ""
}

func strip(want, got *gate) string {
	prefixed := func(name string) bool {
		return slices.ContainsFunc(got.prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	var missing []string
	for _, name := range want.removed {
		if !slices.Contains(got.removed, name) && !prefixed(name) {
			missing = append(missing, name)
		}
	}
	for _, prefix := range want.prefixes {
		if !prefixed(prefix) {
			missing = append(missing, prefix+"*")
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return "early_header_mutation_extensions do not remove " + strings.Join(missing, ", ") +
		": a client that sends such a header can claim to be another user, or be taken for an allowed request"
}

func underscores(want, got *gate) string {
	if got.hcm.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() == 0 &&
		want.hcm.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() != 0 {
		return "headers_with_underscores_action allows them: some servers read X_Forwarded_User as X-Forwarded-User"
	}
	return ""
}

func paths(want, got *gate) string {
	var off []string
	if !got.hcm.GetNormalizePath().GetValue() {
		off = append(off, "normalize_path")
	}
	if !got.hcm.GetMergeSlashes() {
		off = append(off, "merge_slashes")
	}
	if got.hcm.GetPathWithEscapedSlashesAction() != want.hcm.GetPathWithEscapedSlashesAction() {
		off = append(off, "path_with_escaped_slashes_action: REJECT_REQUEST")
	}
	if len(off) == 0 {
		return ""
	}
	return "these are off: " + strings.Join(off, ", ") + ". tokengate and the application can then read one path in two ways"
}

func hops(want, got *gate) string {
	switch {
	case !got.hcm.GetUseRemoteAddress().GetValue():
		return "use_remote_address is not true: Envoy believes any X-Forwarded-For"
	case got.hcm.GetXffNumTrustedHops() != want.hcm.GetXffNumTrustedHops():
		return fmt.Sprintf("xff_num_trusted_hops is %d, and clientAddress.trustedHops is %d: Envoy takes another address for the client's",
			got.hcm.GetXffNumTrustedHops(), want.hcm.GetXffNumTrustedHops())
	case got.hcm.GetSkipXffAppend():
		return "skip_xff_append is true: Envoy does not add its client to X-Forwarded-For, so the application takes an address that the client chose"
	case got.hcm.GetInternalAddressConfig() != nil:
		return "internal_address_config is set: the clients that it names keep their x-envoy headers"
	case len(got.hcm.GetOriginalIpDetectionExtensions()) > 0:
		return "original_ip_detection_extensions are set: they decide the client's address, not clientAddress"
	}
	return ""
}

func clientAddress(want, got *gate) string {
	told := func(g *gate) (told []string) {
		for _, h := range g.authz.GetGrpcService().GetInitialMetadata() {
			told = append(told, strings.ToLower(h.GetKey())+": "+h.GetValue())
		}
		return told
	}
	for _, w := range told(want) {
		if !slices.Contains(told(got), w) {
			return "grpc_service.initial_metadata does not have " + w + ", so tokengate does not learn the client's address and refuses tokens"
		}
	}
	for _, f := range want.filters[:want.authzAt] { // the one that sets clientAddress.header
		same := func(g *hcmv3.HttpFilter) bool { return proto.Equal(f.GetTypedConfig(), g.GetTypedConfig()) }
		if typeOf(f.GetTypedConfig()) == headerMutationType && !slices.ContainsFunc(got.filters[:got.authzAt], same) {
			return "no header_mutation filter before ext_authz sets clientAddress.header, so a client could choose its address"
		}
	}
	return ""
}

func checkedHeaders(want, got *gate) string {
	if got.authz.GetAllowedHeaders() == nil && got.authz.GetDisallowedHeaders() == nil {
		return "" // all
	}
	var sent, missing []string
	for _, p := range got.authz.GetAllowedHeaders().GetPatterns() {
		sent = append(sent, strings.ToLower(p.GetExact()))
	}
	for _, p := range want.authz.GetAllowedHeaders().GetPatterns() {
		if !slices.Contains(sent, p.GetExact()) {
			missing = append(missing, p.GetExact())
		}
	}
	switch {
	case got.authz.GetDisallowedHeaders() != nil:
		return "disallowed_headers is set: tokengate may miss a credential in a header"
	case len(missing) > 0:
		return "allowed_headers do not have " + strings.Join(missing, ", ") + ": tokengate misses what they say"
	}
	return ""
}

func mutations(want, got *gate) string {
	w, g := want.authz.GetDecoderHeaderMutationRules(), got.authz.GetDecoderHeaderMutationRules()
	switch {
	case !got.authz.GetValidateMutations():
		return "validate_mutations is not true: Envoy does not check what it is told to set"
	case !g.GetDisallowIsError().GetValue():
		return "decoder_header_mutation_rules.disallow_is_error is not true: Envoy ignores a change that it may not make, so an identity header of the client could remain"
	case !proto.Equal(w, g):
		return "decoder_header_mutation_rules allow other headers than those that tokengate sets and removes: " + w.GetAllowExpression().GetRegex()
	}
	meant := want.added()
	for _, h := range got.added() {
		if !slices.ContainsFunc(meant, func(w *corev3.HeaderValueOption) bool { return proto.Equal(w, h) }) {
			return "request_headers_to_add sets " + h.GetHeader().GetKey() + " on the way to the application, after tokengate's decision: it could name another user"
		}
	}
	return ""
}

// added returns the headers that Envoy adds to requests for the application.
func (g *gate) added() []*corev3.HeaderValueOption {
	added := slices.Concat(g.config.GetRequestHeadersToAdd(), g.host.GetRequestHeadersToAdd())
	for _, r := range g.routesWith(g.forwards) {
		added = append(added, r.GetRequestHeadersToAdd()...)
		for _, w := range r.GetRoute().GetWeightedClusters().GetClusters() {
			added = append(added, w.GetRequestHeadersToAdd()...)
		}
	}
	return added
}

func routeCache(_, got *gate) string {
	if !got.authz.GetClearRouteCache() {
		return "clear_route_cache is not true: requests with a token do not get the route that removes Set-Cookie"
	}
	return ""
}

func upgrades(_, got *gate) string {
	if len(got.hcm.GetUpgradeConfigs()) > 0 {
		return "upgrade_configs is set: tokengate sees only the start of an upgraded connection"
	}
	for _, r := range got.host.GetRoutes() {
		switch a := r.GetRoute(); {
		case len(a.GetUpgradeConfigs()) > 0:
			return name(r) + " has upgrade_configs: tokengate sees only the start of an upgraded connection"
		case a.GetInternalRedirectPolicy() != nil && got.forwards(r):
			return name(r) + " has internal_redirect_policy: a redirected request keeps the identity header"
		}
	}
	return ""
}

func filters(_, got *gate) string {
	for _, f := range got.filters[got.authzAt+1:] {
		if kind := typeOf(f.GetTypedConfig()); kind != customResponseType && kind != routerType {
			return "the filter " + f.GetName() + " follows ext_authz: if it changes the path, the headers or the route, tokengate decided about another request"
		}
	}
	return ""
}

// routesWith returns the routes of the gate for which keep is true.
func (g *gate) routesWith(keep func(*routev3.Route) bool) (kept []*routev3.Route) {
	for _, r := range g.host.GetRoutes() {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}
