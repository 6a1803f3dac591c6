package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/store"
)

// How often a file of users is read, and how long tokens work after it becomes
// unreadable.
const (
	fileRefresh    = time.Minute
	fileStaleAfter = 15 * time.Minute
)

// userDirectory is the user directory and the caller identifier.
type userDirectory struct {
	none       bool              // there is no directory: every user name is accepted
	saved      bool              // snapshots are saved and restored
	shared     *directory.Shared // the source, if several servers may use the store; nil: another one
	now        chan struct{}     // requests an immediate refresh; capacity 1
	published  chan struct{}     // signals a new snapshot; capacity 1
	unknown    chan store.Owner  // to look up
	client     product.Client
	directory  *directory.Directory
	callers    *identify.Callers
	restored   time.Time // when the restored snapshot was taken; zero without one
	failing    bool      // the last refresh failed, which is logged
	missing    []string  // missing groups already logged
	unanswered int       // unanswered owners already logged
}

// openDirectory creates the configured directory. It is empty until it is restored or
// refreshed.
func (s *Server) openDirectory() error {
	upstream, c := s.config.Upstream, s.config.Directory
	p := config.Products[upstream.Product]
	client, err := p.Connect(upstream.URL+upstream.ContextPath, nil)
	if err != nil {
		return fmt.Errorf("upstream.url: %w", err)
	}
	options := directory.Options{
		Source: directory.None{}, Every: fileRefresh, StaleAfter: fileStaleAfter,
		Owners: s.owners, Publish: s.publish, Now: time.Now, Random: rand.Float64,
	}
	switch {
	case c.File != "":
		options.Source = directory.NewFile(c.File)
	case c.Upstream != config.UpstreamDirectory{}:
		options.Every, options.StaleAfter = c.Upstream.Refresh, c.Upstream.StaleAfter
		options.Source = client.Source(product.SourceOptions{
			Credential: c.Upstream.Credential, Now: time.Now,
			Groups: func() []string { return s.settings.Load().Groups },
		})
	}
	var shared *directory.Shared
	saved := options.Source.Origin() != ""
	if saved && s.dataDir == "" {
		shared = directory.NewShared(options.Source, s.roles, time.Now, func(err error) {
			s.log.Error("other servers do not get the users; it is tried again", zap.Error(err))
		})
		options.Source = shared
	} else {
		s.roles.set(directory.Role, true)
	}
	s.users = &userDirectory{
		none: c == config.Directory{}, saved: saved, shared: shared, now: make(chan struct{}, 1), published: make(chan struct{}, 1),
		unknown: make(chan store.Owner, maxUnknownOwners), client: client, directory: directory.New(options), callers: identify.NewCallers(p, client, s.tokens, time.Now),
	}
	s.registry.MustRegister(&directoryMetrics{s})
	return nil
}

// followDirectory keeps the directory fresh until the server stops. Requests without a
// token do not wait for the first refresh.
func (s *Server) followDirectory(ctx context.Context) {
	if s.users.none {
		_ = s.users.directory.Refresh(ctx) // no source to ask
		return
	}
	if s.users.saved {
		s.keepDirectory(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.users.directory.Run(ctx) })
	running.Go(func() { s.reconcile(ctx) })
	running.Go(func() { s.findOwners(ctx) })
	if s.users.shared != nil {
		running.Go(func() { s.users.shared.Follow(ctx, s.refreshDirectory) })
	}
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.users.now:
				_ = s.users.directory.Refresh(ctx) // publish logs the result
			}
		}
	})
	s.atStop("stop asking for users", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// refreshDirectory requests an immediate refresh.
func (s *Server) refreshDirectory() {
	select {
	case s.users.now <- struct{}{}:
	default: // one is already requested
	}
}

// owners returns the owners of all tokens, which the directory must cover.
func (s *Server) owners() []directory.Owner {
	owned, err := s.tokens.Owners(context.Background())
	if err != nil {
		return nil // fails only with its context
	}
	owners := make([]directory.Owner, 0, len(owned))
	for _, o := range owned {
		if o.Owner != (store.Owner{}) {
			owners = append(owners, directory.Owner{Name: o.Owner.Name, Key: o.Owner.Key, LastUsed: o.LastUsed})
		}
	}
	return owners
}

// publish applies a new snapshot and logs changes.
func (s *Server) publish(known *directory.Snapshot) {
	stats := s.users.directory.Stats()
	switch {
	case stats.LastError != "" && known == nil:
		s.users.failing = true
		s.log.Error("the directory has not answered yet; every token is refused until it does", zap.String("error", stats.LastError))
	case stats.LastError != "":
		s.users.failing = true
		s.log.Error("the directory could not be refreshed; the last snapshot stays in force until it is too old",
			zap.String("error", stats.LastError), zap.Time("good_until", known.GoodUntil()))
	case s.users.failing:
		s.users.failing = false
		s.log.Info("the directory answers again")
	}
	if missing := known.MissingGroups(); !slices.Equal(missing, s.users.missing) {
		s.users.missing = missing
		if len(missing) > 0 {
			s.log.Warn("the configuration names groups that the directory does not have: they have no members", zap.Strings("groups", missing))
		} else {
			s.log.Info("the directory has all groups that the configuration names")
		}
	}
	if n := stats.Unanswered; n != s.users.unanswered {
		s.users.unanswered = n
		if n > 0 {
			s.log.Warn("the directory does not answer for some owners: their tokens are refused", zap.Int("owners", n), zap.String("error", stats.OwnerError))
		} else {
			s.log.Info("the directory answers for all owners")
		}
	}
	s.manager.UpdateOwnerStatus(s.users.directory.Snapshot)
	select {
	case s.users.published <- struct{}{}:
	default: // already signalled
	}
}

// reconcile writes the consequences of each new snapshot to the store, until ctx ends.
// No refresh waits for it.
func (s *Server) reconcile(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.users.published:
		}
		if s.mayReconcile(s.users.directory.Snapshot()) {
			if err := s.manager.DisableExposedTokens(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("exposed tokens of administrators could not be disabled; it is tried again", zap.Error(err))
			}
			if err := s.manager.SyncOwners(ctx, s.users.directory.Snapshot()); err != nil && ctx.Err() == nil {
				s.log.Error("tokens of renamed users could not be updated; it is tried again", zap.Error(err))
			}
		}
		if !s.users.saved {
			continue
		}
		if err := s.saveUsers(saveEvery); err != nil && ctx.Err() == nil {
			s.log.Error("cannot save the directory's snapshot; it is tried again", zap.Error(err))
		}
	}
}

// mayReconcile reports whether a snapshot may change tokens: a restored one, or one that another server has taken, may be
// older than the owners' names in the tokens.
func (s *Server) mayReconcile(known *directory.Snapshot) bool {
	if s.users.shared != nil {
		return s.users.shared.Asked(known)
	}
	return !known.Taken().Equal(s.users.restored)
}

// identify returns the user of a credential and the part of it that was accepted, with the groups that the directory has:
// the answer about one user may omit nested groups.
func (s *Server) identify(ctx context.Context, c identify.Credential) (u directory.User, login http.Header, err error) {
	u, login, err = s.users.callers.Identify(ctx, c)
	if err != nil || s.users.none {
		return u, login, err
	}
	known, err := s.Lookup(ctx, u.Name)
	switch {
	case errors.Is(err, directory.ErrUnknownUser), err == nil && known.Key != "" && u.Key != "" && known.Key != u.Key:
		return directory.User{}, nil, fmt.Errorf("%w, or not in the directory", directory.ErrInactive)
	case err != nil:
		return directory.User{}, nil, err
	}
	u.Groups = known.Groups
	return u, login, nil
}

// Lookup returns the user with this name: see directory.Directory.
func (s *Server) Lookup(ctx context.Context, name string) (directory.User, error) {
	known := s.users.directory.Snapshot()
	u, err := s.users.directory.Lookup(ctx, name)
	return s.withGroups(u, known), err
}

// Owner returns the user who owns a token, from the current snapshot: see
// directory.Directory.
func (s *Server) Owner(name, key string) (directory.User, error) {
	known := s.users.directory.Snapshot()
	u, err := known.Owner(name, key, time.Now())
	return s.withGroups(u, known), err
}

// withGroups removes the user's groups while the directory does not cover every
// configured group: after a reload, an administrator could otherwise be taken for an
// ordinary user.
func (s *Server) withGroups(u directory.User, known *directory.Snapshot) directory.User {
	if !known.Follows(s.settings.Load().Groups) {
		u.Groups = directory.Groups{}
	}
	return u
}

// knows reports whether a user name exists, and returns the directory's spelling.
func (s *Server) knows(name string) (spelled string, ok bool) {
	if s.users.none {
		return "", false
	}
	u, ok := s.users.directory.Snapshot().ByName(name)
	return u.Name, ok
}

// directoryMetrics are read at each scrape.
type directoryMetrics struct{ server *Server }

var (
	directoryAge = prometheus.NewDesc("tokengate_directory_age_seconds",
		"Age of the user directory; absent until the first refresh, and 0 without a directory.", nil, nil)
	directoryFresh = prometheus.NewDesc("tokengate_directory_fresh",
		"1 if the user directory is fresh enough for tokens, 0 if every token is refused because of its age.", nil, nil)
	missingGroups = prometheus.NewDesc("tokengate_directory_missing_groups",
		"Groups that the configuration names and the directory does not have.", nil, nil)
	unansweredOwners = prometheus.NewDesc("tokengate_directory_unanswered_owners",
		"Owners of tokens for whom the directory has no answer, so that their tokens are refused.", nil, nil)
	directoryRefreshes = prometheus.NewDesc("tokengate_directory_refreshes_total", "Refreshes of the directory by result.", []string{"result"}, nil)
	directoryRequests  = prometheus.NewDesc("tokengate_directory_requests_total", "Requests to the application with the service credential.", nil, nil)
	callerRequests     = prometheus.NewDesc("tokengate_caller_checks_total",
		"Checks of callers: asked of the application, answered from memory, refused after too many wrong passwords, or dropped because too many waited.", []string{"answer"}, nil)
)

// Describe implements prometheus.Collector.
func (m *directoryMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{directoryAge, directoryFresh, missingGroups, unansweredOwners, directoryRefreshes, directoryRequests, callerRequests} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *directoryMetrics) Collect(to chan<- prometheus.Metric) {
	p := m.server.users
	if age, known := p.directory.Age(); known {
		if p.none {
			age = 0 // the absence of a directory never ages
		}
		to <- prometheus.MustNewConstMetric(directoryAge, prometheus.GaugeValue, age.Seconds())
	}
	fresh := 0.0
	if m.server.tokens.Index().OwnersFresh(time.Now()) {
		fresh = 1
	}
	to <- prometheus.MustNewConstMetric(directoryFresh, prometheus.GaugeValue, fresh)
	to <- prometheus.MustNewConstMetric(missingGroups, prometheus.GaugeValue, float64(len(p.directory.Snapshot().MissingGroups())))
	to <- prometheus.MustNewConstMetric(unansweredOwners, prometheus.GaugeValue, float64(p.directory.Stats().Unanswered))
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	stats, callers := p.directory.Stats(), p.callers.Stats()
	counter(directoryRefreshes, stats.Refreshed, "good")
	counter(directoryRefreshes, stats.Failed, "failed")
	counter(directoryRequests, stats.Requests)
	counter(callerRequests, callers.Asked, "asked")
	counter(callerRequests, callers.Kept, "kept")
	counter(callerRequests, callers.Blocked, "blocked")
	counter(callerRequests, callers.Dropped, "dropped")
}
