package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/tokengate/tokengate/authz/config"
)

func checkAround(ctx context.Context, s *site) result {
	base, targets, given := s.config.Upstream.URL, s.Jira, len(s.Jira) > 0
	if u, local := loopback(base); !given && local {
		targets = localURLs(u.Scheme, portOf(u))
	}
	elsewhere := "to see whether others reach it, run on another machine or in another pod: tokengate doctor --jira URL"
	if len(targets) == 0 {
		return skipped("from here tokengate must reach %s; %s", base, strings.Replace(elsewhere, "URL", base, 1))
	}
	results := make([]result, len(targets))
	var all sync.WaitGroup
	for i, target := range targets { // together, so that each has the time of this check
		all.Go(func() { results[i] = s.tryAround(ctx, strings.TrimSuffix(target, "/")) })
	}
	all.Wait()
	found := worst(results)
	switch {
	case found.verdict == OK:
		return right("from here, %s does not answer", strings.Join(targets, ", "))
	case given && found.verdict == Skipped: // the asked question has no answer
		return wrong("%s", found.found)
	case given || found.verdict == Skipped:
		return found
	case s.InPod:
		return skipped("%s; inside of a pod no NetworkPolicy applies; %s", found.found, elsewhere)
	}
	return warning("%s; from here no firewall can be seen; %s", found.found, elsewhere)
}

// worst returns the worst verdict with the texts of all that are not right.
func worst(results []result) result {
	order := []Verdict{OK, Skipped, Warning, Error}
	all := result{verdict: OK}
	var texts []string
	for _, r := range results {
		if slices.Index(order, r.verdict) > slices.Index(order, all.verdict) {
			all.verdict = r.verdict
		}
		if r.verdict != OK {
			texts = append(texts, r.found)
		}
	}
	all.found = strings.Join(texts, "; ")
	return all
}

// tryAround tries to reach the application at a URL. Who can connect reaches it; what it
// answers only says more.
func (s *site) tryAround(ctx context.Context, target string) result {
	u, err := url.Parse(target)
	if err != nil {
		return wrong("%v", err)
	}
	dialer := net.Dialer{Timeout: askTime}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), portOf(u)))
	if err != nil {
		switch _, unknown := errors.AsType[*net.DNSError](err); {
		case unknown:
			return wrong("%v: give a name or an address that exists", err)
		case ctx.Err() != nil:
			return skipped("%s was not tried: %v", target, ctx.Err())
		}
		return right("%s does not answer", target)
	}
	_ = conn.Close()
	response, err := get(ctx, unverified, target+s.config.Upstream.ContextPath+config.PagePath+"/healthz")
	switch {
	case err != nil:
		return wrong("from here, the port of %s is open, although a request got no answer: %v", target, err)
	case response.StatusCode == http.StatusOK:
		return skipped("%s is Envoy's address, not the application's", target)
	case response.StatusCode == http.StatusPermanentRedirect && strings.HasPrefix(response.Header.Get("Location"), "https:"):
		return skipped("%s only redirects to %s, as Envoy's listener for plain HTTP does; give the application's https address",
			target, schemeAndHost(response.Header.Get("Location")))
	}
	return wrong("from here, the application answers without Envoy: %s%s", target, s.honours(ctx, target))
}

// schemeAndHost returns the beginning of a URL, without a path.
func schemeAndHost(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "https"
	}
	return u.Scheme + "://" + u.Host
}

// honours returns ", and …" if the application at target believes an identity header.
func (s *site) honours(ctx context.Context, target string) string {
	p := cmp.Or(s.product, config.Products[config.Default().Upstream.Product])
	header, user := cmp.Or(s.config.Upstream.Identity.Header, p.IdentityHeader), s.User
	if user == "" && len(s.tokens) > 0 {
		user = s.tokens[0].User
	}
	client, err := p.Connect(target+s.config.Upstream.ContextPath, nil)
	if err != nil || user == "" {
		return ""
	}
	if seen, err := seenAs(ctx, client, header, user); err == nil {
		return fmt.Sprintf(", and takes a request that says %s: %s for one of %s: whoever reaches it can be any user", header, user, seen)
	}
	return ""
}

// loopback parses a URL, and returns whether its host is only this machine's.
func loopback(raw string) (*url.URL, bool) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u, u.Hostname() == "localhost" || err == nil && a.IsLoopback()
}

// portOf returns the port of a URL.
func portOf(u *url.URL) string {
	return cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
}

// localURLs returns URLs of the machine's other addresses.
func localURLs(scheme, port string) (urls []string) {
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLoopback() && !prefix.Addr().IsLinkLocalUnicast() {
			urls = append(urls, scheme+"://"+net.JoinHostPort(prefix.Addr().String(), port))
		}
	}
	return urls
}
