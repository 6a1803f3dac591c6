package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
)

// openUpstream opens the users' upstream credentials if requests carry one.
func (s *Server) openUpstream(ctx context.Context, acceptLoss bool) error {
	id := s.config.Upstream.Identity
	if !id.HasPAT() {
		return nil
	}
	keys, err := seal.ReadKeys(id.PAT.SealKeys)
	if err != nil {
		return fmt.Errorf("upstream.identity.pat.sealKeys: %w", err)
	}
	if err := seal.PreventDumps(); err != nil {
		return err
	}
	s.upstream = &upstream.Credentials{
		Store: s.tokens, Index: s.tokens.Index(), Keys: keys, Site: s.config.PublicURL, Product: config.Products[s.config.Upstream.Product], Client: s.users.client,
		RenewAt: id.PAT.RenewAt, Unused: s.unused,
		Answer: envoy.UpstreamAnswer, Log: s.log, Now: time.Now, Random: token.Random,
	}
	s.registry.MustRegister(upstreamMetrics{s.upstream})
	return s.upstream.Load(ctx, acceptLoss)
}

// followUpstream keeps the upstream credentials checked, renewed and tidy until the server stops.
func (s *Server) followUpstream() {
	if s.upstream == nil {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.upstream.Run(s.jobs, s.config.Upstream.Identity.PAT.Probe)
	}()
	// What was begun with the application is finished while the store is open, if it answers in time; else the next
	// start finds it.
	s.atStop("end asking the application about connections", func(ctx context.Context) error {
		select {
		case <-ended:
		case <-ctx.Done():
			s.log.Warn("the application does not answer about a connection; the next start deletes what it may have created")
		}
		return nil
	})
}

// unused reports whether a user has no token that may be used now or later.
func (s *Server) unused(ctx context.Context, user store.Owner) (bool, error) {
	names := []string{user.Name}
	now, err := s.Owner(user.Name, user.Key)
	if errors.Is(err, directory.ErrUnavailable) {
		return false, err // the user may have been renamed
	}
	if now.Name != "" && store.FoldOwner(now.Name) != store.FoldOwner(user.Name) {
		names = append(names, now.Name) // the user was renamed
	}
	for _, name := range names {
		for after := uint64(0); ; {
			page, err := s.tokens.List(ctx, name, after, manage.MaxPage)
			if err != nil {
				return false, err
			}
			for _, t := range page.Tokens {
				if t.Kind == store.Ordinary && (t.Owner.Key == user.Key || t.Owner.Key == "") && t.State != store.Revoked && !t.Expired(time.Now()) {
					return false, nil
				}
			}
			if after = page.Next; after == 0 {
				break
			}
		}
	}
	return true, nil
}

// upstreamMetrics are the metrics of users' upstream credentials.
type upstreamMetrics struct{ *upstream.Credentials }

var (
	upstreamConnections = prometheus.NewDesc("tokengate_upstream_credentials",
		"Personal access tokens with which requests of users' tokens are forwarded, by state; counted within seconds of a change, and every ten minutes.", []string{"state"}, nil)
	upstreamEnding = prometheus.NewDesc("tokengate_upstream_ending",
		"Those in use that end within so many days; counted as those.", []string{"days"}, nil)
)

// Describe implements prometheus.Collector.
func (upstreamMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- upstreamConnections
	to <- upstreamEnding
}

// Collect implements prometheus.Collector.
func (m upstreamMetrics) Collect(to chan<- prometheus.Metric) {
	figures := m.Figures()
	for state := store.UpstreamMinting; int(state) < len(figures.States); state++ {
		to <- prometheus.MustNewConstMetric(upstreamConnections, prometheus.GaugeValue, float64(figures.States[state]), state.String())
	}
	for i, mark := range upstream.Marks {
		days := strconv.Itoa(int(mark / (24 * time.Hour)))
		to <- prometheus.MustNewConstMetric(upstreamEnding, prometheus.GaugeValue, float64(figures.Ending[i]), days)
	}
}

// suspect lets the credential of a token's owner be checked soon, because the application may not have
// accepted it. If it answered so, the owner's tokens are denied until then.
func (s *Server) suspect(tokenID string, answered bool) {
	ctx, cancel := context.WithTimeout(s.jobs, suspectTimeout)
	defer cancel()
	t, err := s.tokens.Get(ctx, tokenID)
	switch {
	case err != nil || t.Owner.Key == "":
	case answered:
		s.upstream.Refused(t.Owner.Key)
	default:
		s.upstream.Suspect(t.Owner.Key)
	}
}

// suspectTimeout bounds the search for a token's owner.
const suspectTimeout = 2 * time.Second
