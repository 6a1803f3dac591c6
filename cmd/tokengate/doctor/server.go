package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
)

// serverChecks ask the running server.
var serverChecks = []Check{
	{ID: "server", Title: "the server answers on its admin socket", needs: aConfiguration,
		Do:  "If tokengate is not running, start it; its log says why it stopped. If it hangs, restart it. " + asServer,
		run: checkServer},
	{ID: "config-applied", Title: "the server uses the configuration file", needs: aServer,
		Do:  "Correct the file, or restart tokengate if a changed key needs it. If the file was just changed, wait four seconds.",
		run: checkApplied},
	{ID: "store", Title: "the store can be written and is fresh", needs: aServer,
		Do:  "See the server's log, the disk's space and permissions, or the health of etcd.",
		run: checkStore},
	{ID: "connections", Title: "the users' connections to the application work and do not end", needs: aServer,
		Do:  "tokengate upstream list shows whose they are. These users connect again on the page; connect programs with tokengate upstream set.",
		run: checkConnections},
	{ID: "client-addresses", Title: "clients have addresses of their own", needs: aServer,
		Do:  "If it is the address of a load balancer, set clientAddress.trustedHops to the number of proxies in front of Envoy, restart tokengate, and generate Envoy's configuration again.",
		run: checkClientAddresses},
}

func checkServer(ctx context.Context, s *site) result {
	if err := s.ask(ctx, "status", nil, &s.status); err != nil {
		return wrong("%v", err)
	}
	delete(s.missing, aServer)
	return right("it answers since %s", time.UnixMilli(s.status.Started).UTC().Format(time.RFC3339))
}

func (s *site) ask(ctx context.Context, path string, query url.Values, answer any) error {
	return s.Ask(ctx, s.config.Listen.Admin.Address, path, query, answer)
}

func checkApplied(_ context.Context, s *site) result {
	switch {
	case s.status.Refused != "":
		return wrong("the server refused the changed configuration file, and the previous one stays in force: %s", s.status.Refused)
	case s.status.File != contentOf(s.File):
		return warning("the server has another configuration file, or has not read the change yet")
	}
	return right("the server uses %s", s.File)
}

func checkStore(_ context.Context, s *site) result {
	switch {
	case s.status.Store != "":
		return wrong("the store cannot be used: %s. Tokens that are known still work; nothing can be changed", s.status.Store)
	case !s.status.TokensFresh:
		return wrong("the store has not reported its changes for too long: every token is refused")
	}
	return right("%s can be written and is fresh", s.config.Store.Kind)
}

// soon is how long before its end a credential or a certificate is reported.
const soonConnection, soonCertificate = 14 * 24 * time.Hour, 30 * 24 * time.Hour

func checkConnections(ctx context.Context, s *site) result {
	if !s.config.Upstream.Identity.HasPAT() {
		return skipped("upstream.identity.pat is not used")
	}
	var answer web.UpstreamConnections
	if err := s.ask(ctx, "upstream", nil, &answer); err != nil {
		return wrong("%v", err)
	}
	active, broken, ending := 0, 0, 0
	soon := s.Now().Add(soonConnection).UnixMilli()
	for _, c := range answer.Connections {
		switch c.State {
		case store.UpstreamBroken.String():
			broken++
		case store.UpstreamActive.String():
			active++
			if c.ExpiresAt != nil && *c.ExpiresAt <= soon {
				ending++
			}
		}
	}
	found := fmt.Sprintf("%d active, %d broken, %d ending within 14 days", active, broken, ending)
	switch {
	case broken > 0:
		return wrong("%s", found)
	case ending > 0:
		return warning("%s; tokengate renews its own before, so these were made by users", found)
	}
	return right("%s", found)
}

// How many tokens of how many owners must share an address, and how long ago they were
// used at most.
const (
	sharedTokens, sharedOwners = 3, 2
	lately                     = 7 * 24 * time.Hour
	maxTokens                  = 200
)

// recent returns the tokens that were used most recently.
func (s *site) recent(ctx context.Context) ([]web.Token, error) {
	if s.tokens != nil {
		return s.tokens, nil
	}
	var page struct {
		Values []web.Token `json:"values"`
	}
	query := url.Values{"type": {store.Ordinary.String()}, "sort": {"used"}, "order": {"desc"}, "limit": {strconv.Itoa(maxTokens)}}
	if err := s.ask(ctx, "tokens", query, &page); err != nil {
		return nil, err
	}
	s.tokens = page.Values
	return s.tokens, nil
}

func checkClientAddresses(ctx context.Context, s *site) result {
	tokens, err := s.recent(ctx)
	if err != nil {
		return wrong("the server does not list tokens: %v", err)
	}
	used, addresses, owners := 0, map[string]bool{}, map[string]bool{}
	for _, t := range tokens {
		if t.LastAddress == nil || t.LastAccessed == nil || s.Now().UnixMilli()-*t.LastAccessed > lately.Milliseconds() {
			continue
		}
		used++
		addresses[*t.LastAddress], owners[strings.ToLower(t.User)] = true, true
	}
	if len(addresses) == 1 && used >= sharedTokens && len(owners) >= sharedOwners {
		for address := range addresses {
			if a, err := netip.ParseAddr(address); err == nil && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()) {
				return warning("all %d tokens that were used in the last week, of %d owners, came from %s, which looks like a load balancer: networks of tokens and the log name it instead of the clients",
					used, len(owners), address)
			}
		}
	}
	return right("%d tokens were used in the last week, from %d addresses", used, len(addresses))
}
