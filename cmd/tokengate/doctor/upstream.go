package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
)

// aroundCheck is the ID of the check that runs without a configuration too.
const aroundCheck = "upstream-around"

// upstreamChecks ask the application.
var upstreamChecks = []Check{
	{ID: "upstream", Title: "the application answers", needs: aConfiguration,
		Do:  "Start the application, or correct upstream.url and upstream.contextPath. In Kubernetes a NetworkPolicy must let tokengate reach it.",
		run: checkUpstream},
	{ID: "clock", Title: "the clocks agree", needs: anApplication,
		Do:  "Synchronize the clocks of this machine and of the application's with NTP. Tokens and certificates end by this machine's.",
		run: checkClock},
	{ID: "users", Title: "the application answers for users and groups", needs: aServer,
		Do:  "Give the user of directory.upstream.credential the permission to administer the application, write its new credential into the file, or correct the names of groups. The server's log says more.",
		run: checkUsers},
	{ID: "identity", Title: "the application believes the identity header", needs: anApplication,
		Do:  "Install and configure the authenticator that reads upstream.identity.header, and let it trust tokengate's Envoy; or use upstream.identity.pat. Try another user with --user.",
		run: checkIdentity},
	{ID: "identity-names", Title: "the application takes user names as they are", needs: anApplication,
		Do:  "Configure the authenticator so that it does not cut or change user names, such as format=username of remoteuserauth.",
		run: checkNames},
	{ID: aroundCheck, Title: "nobody reaches the application around Envoy", needs: aConfiguration,
		Do:  "Let the application listen on the loopback address only, or let a NetworkPolicy or a firewall admit only Envoy, tokengate and the application's own peers.",
		run: checkAround},
}

// askTime limits a request to the application.
const askTime = 5 * time.Second

// direct sends requests without a proxy, and follows no redirect. unverified accepts any
// certificate, too: it is for requests that say nothing secret.
var direct, unverified = newClient(nil), newClient(&tls.Config{InsecureSkipVerify: true})

func newClient(c *tls.Config) *http.Client {
	return &http.Client{
		Timeout:       askTime,
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: c},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// get returns the answer to GET, without its body.
func get(ctx context.Context, client *http.Client, target string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err
		}
		return nil, err
	}
	return response, response.Body.Close()
}

func checkUpstream(ctx context.Context, s *site) result {
	u := s.config.Upstream
	base := u.URL + u.ContextPath
	response, err := get(ctx, direct, base+s.product.Example)
	if err != nil {
		return wrong("%s at %s: %v", s.product.Title, base, err)
	}
	if response.StatusCode >= http.StatusInternalServerError {
		return wrong("%s at %s answers %s", s.product.Title, base, response.Status)
	}
	if s.client, err = s.product.Connect(base, nil); err != nil {
		return wrong("upstream.url: %v", err)
	}
	s.asked = s.Now()
	s.date, _ = http.ParseTime(response.Header.Get("Date"))
	delete(s.missing, anApplication)
	return right("%s answers at %s", s.product.Title, base)
}

// maxSkew is the largest difference of two clocks that are synchronized.
const maxSkew = 30 * time.Second

func checkClock(_ context.Context, s *site) result {
	if s.date.IsZero() {
		return skipped("%s does not tell its time", s.product.Title)
	}
	skew := s.asked.Sub(s.date).Round(time.Second)
	switch {
	case skew > maxSkew:
		return wrong("this machine's clock is %v ahead of %s's", skew, s.product.Title)
	case skew < -maxSkew:
		return wrong("this machine's clock is %v behind %s's", -skew, s.product.Title)
	}
	return right("%s's differs by less than %v", s.product.Title, maxSkew)
}

func checkUsers(_ context.Context, s *site) result {
	switch c := s.config.Directory; {
	case c == config.Directory{}:
		return skipped("there is no directory: every user name may have tokens")
	case c.File == "" && s.missing[anApplication] != "":
		return skipped("%s", s.missing[anApplication])
	}
	switch {
	case s.status.Users != "":
		return wrong("users could not be refreshed: %s", s.status.Users)
	case !s.status.UsersFresh:
		return wrong("users are too old: every token is refused")
	case len(s.status.MissingGroups) > 0:
		return warning("these groups of the configuration do not exist, and have no members: %s", strings.Join(s.status.MissingGroups, ", "))
	}
	return right("users and groups are fresh")
}

// seenAs asks the application at a URL as whom it sees a request with an identity header.
func seenAs(ctx context.Context, client product.Client, header, user string) (string, error) {
	seen, _, err := client.Myself(ctx, http.Header{http.CanonicalHeaderKey(header): {user}}, askTime, time.Now())
	return seen.Name, err
}

func checkIdentity(ctx context.Context, s *site) result {
	header := s.config.Upstream.Identity.Header
	if header == "" {
		return skipped("%s", noHeader)
	}
	user := s.User
	if user == "" {
		tokens, err := s.recent(ctx)
		if s.missing[aServer] != "" || err != nil || len(tokens) == 0 {
			return skipped("no token names a user; give one with --user")
		}
		i := slices.IndexFunc(tokens, func(t web.Token) bool { return t.State == "active" && !unusual(t.User) })
		user = tokens[max(i, 0)].User
	}
	seen, err := seenAs(ctx, s.client, header, user)
	switch {
	case errors.Is(err, directory.ErrInactive):
		return skipped("the user %s is not active in %s; give another with --user", user, s.product.Title)
	case errors.Is(err, directory.ErrNotLoggedIn):
		return wrong("%s does not believe %s: it takes a request for %s for nobody's, so tokens do not work", s.product.Title, header, user)
	case err != nil:
		return wrong("%s did not say as whom it sees a request with %s: %v", s.product.Title, header, err)
	case store.FoldOwner(seen) != store.FoldOwner(user):
		return wrong("%s takes a request with %s for %s for one of %s", s.product.Title, header, user, seen)
	}
	s.believed = true
	return right("%s sees a request for %s as %s", s.product.Title, user, seen)
}

// unusual reports whether an authenticator may cut or change a name.
func unusual(name string) bool {
	return strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
	})
}

const noHeader = "upstream.identity.pat is used; see connections"

const maxNames = 5 // that are tried

func checkNames(ctx context.Context, s *site) result {
	switch {
	case s.config.Upstream.Identity.Header == "":
		return skipped("%s", noHeader)
	case !s.believed:
		return skipped("it is unknown whether %s believes the identity header", s.product.Title)
	}
	var names []string
	tokens, _ := s.recent(ctx)
	for _, t := range tokens {
		if unusual(t.User) && t.State == "active" && !slices.Contains(names, t.User) {
			names = append(names, t.User)
		}
	}
	answers := 0
	for _, name := range names[:min(len(names), maxNames)] {
		seen, err := seenAs(ctx, s.client, s.config.Upstream.Identity.Header, name)
		switch {
		case errors.Is(err, directory.ErrInactive):
		case errors.Is(err, directory.ErrNotLoggedIn):
			return wrong("%s takes a request for %s for nobody's", s.product.Title, name)
		case err == nil && store.FoldOwner(seen) != store.FoldOwner(name):
			return wrong("%s takes a request for %s for one of %s: tokens of one user act as another", s.product.Title, name, seen)
		case err == nil:
			answers++
		}
	}
	return right("%d owners of tokens have unusual names; seen as they are: %d", len(names), answers)
}
