package app

import (
	"context"
	"fmt"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/envoy"
)

// openUpstream opens the users' upstream credentials if requests carry one.
func (s *Server) openUpstream(ctx context.Context) error {
	id := s.config.Upstream.Identity
	if !id.HasPAT() {
		return nil
	}
	p := config.Products[s.config.Upstream.Product]
	if p.Credentials == nil {
		return fmt.Errorf("%w: upstream.identity.pat: %s has no personal access tokens that tokengate could send; use header", config.ErrInvalid, p.Title)
	}
	if s.config.Directory.Upstream == (config.UpstreamDirectory{}) {
		return fmt.Errorf("%w: upstream.identity.pat: needs directory.upstream, which knows the users' keys", config.ErrInvalid)
	}
	keys, err := seal.ReadKeys(id.PAT.SealKeys)
	if err != nil {
		return fmt.Errorf("upstream.identity.pat.sealKeys: %w", err)
	}
	if err := seal.PreventDumps(); err != nil {
		return err
	}
	s.upstream = &upstream.Credentials{
		Store: s.tokens, Index: s.tokens.Index(), Keys: keys, Site: s.config.PublicURL, Client: s.users.client,
		Answer: envoy.UpstreamAnswer, Log: s.log, Now: time.Now, Random: token.Random,
	}
	return s.upstream.Load(ctx)
}

// suspect lets the credential of a token's owner be checked soon, because the application did not accept it.
func (s *Server) suspect(tokenID string) {
	ctx, cancel := context.WithTimeout(s.jobs, suspectTimeout)
	defer cancel()
	if t, err := s.tokens.Get(ctx, tokenID); err == nil && t.Owner.Key != "" {
		s.upstream.Suspect(t.Owner.Key)
	}
}

// suspectTimeout bounds the search for a token's owner.
const suspectTimeout = 2 * time.Second
