package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/store"
)

// How often a file of users is looked at, and for how long one that cannot be
// read leaves the tokens good.
const (
	fileRefresh    = time.Minute
	fileStaleAfter = 15 * time.Minute
)

// userDirectory is what the server knows of people, and by whom.
type userDirectory struct {
	kind       string        // of the directory
	now        chan struct{} // asks for a refresh at once; holds one
	published  chan struct{} // something new may be known; holds one
	directory  *directory.Directory
	callers    *directory.Callers
	refreshed  atomic.Uint64 // refreshes that are in force
	failed     atomic.Uint64
	failing    bool     // the last refresh failed, and the log says so
	missing    []string // groups that the log says are not there
	unanswered int      // owners of whom the log says that nothing is known
}

// openDirectory makes the directory that the configuration names. It knows
// nobody until it is restored or refreshed.
func (s *Server) openDirectory() error {
	upstream, c := s.config.Upstream, s.config.Directory
	client, err := directory.NewClient(upstream.URL+upstream.ContextPath, nil)
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
	case c.Jira != config.JiraDirectory{}:
		options.Every, options.StaleAfter = c.Jira.Refresh, c.Jira.StaleAfter
		options.Source = directory.NewJira(directory.JiraOptions{
			Client: client, Credential: c.Jira.Credential, Now: time.Now,
			Groups: func() []string { return s.settings.Load().Groups },
		})
	}
	s.users = &userDirectory{
		kind: c.Kind(), now: make(chan struct{}, 1), published: make(chan struct{}, 1),
		directory: directory.New(options), callers: directory.NewCallers(client, time.Now),
	}
	s.registry.MustRegister(&directoryMetrics{s})
	return nil
}

// followDirectory keeps what is known of people fresh until the server stops.
// Requests without a token do not wait for the first answer.
func (s *Server) followDirectory(ctx context.Context) {
	if s.users.kind == "none" {
		_ = s.users.directory.Refresh(ctx) // there is nobody to ask
		return
	}
	if s.users.kind == "jira" {
		s.keepDirectory()
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.users.directory.Run(ctx) })
	running.Go(func() { s.reconcile(ctx) })
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.users.now:
				_ = s.users.directory.Refresh(ctx) // publish tells of it
			}
		}
	})
	s.atStop("stop asking for users", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// refreshDirectory asks the directory at once, rather than when it is due.
func (s *Server) refreshDirectory() {
	select {
	case s.users.now <- struct{}{}:
	default: // it is asked for already
	}
}

// owners are those whom the directory has to know.
func (s *Server) owners() []directory.Owner {
	owned, err := s.tokens.Owners(context.Background())
	if err != nil {
		return nil // the only error is the context's
	}
	owners := make([]directory.Owner, 0, len(owned))
	for _, o := range owned {
		if o.Owner != (store.Owner{}) {
			owners = append(owners, directory.Owner{Name: o.Owner.Name, Key: o.Owner.Key, LastUsed: o.LastUsed})
		}
	}
	return owners
}

// publish puts into force what the directory knows.
func (s *Server) publish(known *directory.Snapshot) {
	stats := s.users.directory.Stats()
	result := &s.users.refreshed
	if stats.LastError != "" {
		result = &s.users.failed
	}
	defer result.Add(1) // once it is in force
	switch {
	case stats.LastError != "" && known == nil:
		s.users.failing = true
		s.log.Error("the directory could not be asked yet; until it answers every token is refused", zap.String("error", stats.LastError))
	case stats.LastError != "":
		s.users.failing = true
		s.log.Error("the directory could not be refreshed; what is known of users stays in force until it is too old",
			zap.String("error", stats.LastError), zap.Time("good_until", known.GoodUntil()))
	case s.users.failing:
		s.users.failing = false
		s.log.Info("the directory answers again")
	}
	if missing := known.MissingGroups(); !slices.Equal(missing, s.users.missing) {
		s.users.missing = missing
		if len(missing) > 0 {
			s.log.Warn("groups that the configuration names are not in the directory: nobody is in them", zap.Strings("groups", missing))
		} else {
			s.log.Info("all groups that the configuration names are in the directory")
		}
	}
	if n := stats.Unanswered; n != s.users.unanswered {
		s.users.unanswered = n
		if n > 0 {
			s.log.Warn("owners of whom the directory says nothing: their tokens are refused", zap.Int("owners", n), zap.String("error", stats.OwnerError))
		} else {
			s.log.Info("the directory answers for all owners of tokens")
		}
	}
	s.manager.UpdateOwnerStatus(s.users.directory.Snapshot)
	select {
	case s.users.published <- struct{}{}:
	default: // nobody has looked yet
	}
}

// reconcile does what takes writes once something new is known of users, until ctx
// ends. No refresh waits for it.
func (s *Server) reconcile(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.users.published:
		}
		if s.users.directory.Stats().Refreshed > 0 { // what was restored may be older than the names in the tokens
			if err := s.manager.DisableExposedTokens(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("administrators' tokens could not be guarded; it is tried again", zap.Error(err))
			}
			if err := s.manager.SyncOwners(ctx, s.users.directory.Snapshot()); err != nil && ctx.Err() == nil {
				s.log.Error("renamed users' tokens could not be written; it is tried again", zap.Error(err))
			}
		}
		if s.users.kind != "jira" {
			continue
		}
		if err := s.saveUsers(saveEvery); err != nil && ctx.Err() == nil {
			s.log.Error("cannot save what is known of users for the next start; it is tried again", zap.Error(err))
		}
	}
}

// identify finds out who has a credential, and in which groups they are: as the
// directory says. Of groups within groups Jira may tell the directory and not
// the caller.
func (s *Server) identify(ctx context.Context, c directory.Credential) (directory.User, error) {
	u, err := s.users.callers.Identify(ctx, c)
	if err != nil || s.users.kind == "none" {
		return u, err
	}
	known, err := s.Lookup(ctx, u.Name)
	switch {
	case errors.Is(err, directory.ErrUnknownUser), err == nil && known.Key != "" && u.Key != "" && known.Key != u.Key:
		return directory.User{}, fmt.Errorf("%w, or not among those whom tokengate knows", directory.ErrInactive)
	case err != nil:
		return directory.User{}, err
	}
	u.Groups = known.Groups
	return u, nil
}

// Lookup returns the user with this name: see directory.Directory.
func (s *Server) Lookup(ctx context.Context, name string) (directory.User, error) {
	known := s.users.directory.Snapshot()
	u, err := s.users.directory.Lookup(ctx, name)
	return s.withGroups(u, known), err
}

// Owner returns who the owner of a token is by what is known now: see
// directory.Directory.
func (s *Server) Owner(name, key string) (directory.User, error) {
	known := s.users.directory.Snapshot()
	u, err := known.Owner(name, key, time.Now())
	return s.withGroups(u, known), err
}

// withGroups returns a user whose groups are not known as long as the directory
// does not follow every group that the rules name: after a reload an
// administrator could pass for somebody else.
func (s *Server) withGroups(u directory.User, known *directory.Snapshot) directory.User {
	if !known.Follows(s.settings.Load().Groups) {
		u.Groups = directory.Groups{}
	}
	return u
}

// knows tells whether a name is somebody's, and how it is spelled.
func (s *Server) knows(name string) (spelled string, ok bool) {
	if s.users.kind == "none" {
		return "", false
	}
	u, ok := s.users.directory.Snapshot().ByName(name)
	return u.Name, ok
}

// pruneEvery is how often it looks for ended tokens and audit records that are to go.
// It looks for the first time some minutes after the start, so that a server that is
// often restarted looks, too.
const (
	pruneEvery = 6 * time.Hour
	pruneFirst = 5 * time.Minute
)

// keepPruned prunes until ctx ends.
func (s *Server) keepPruned(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(pruneFirst):
		s.prune(ctx)
		every(ctx, pruneEvery, s.prune)
	}
}

// prune removes old tokens and audit records.
func (s *Server) prune(ctx context.Context) {
	removed, err := s.manager.Prune(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		s.log.Error("cannot remove the tokens that ended long ago; it is tried again", zap.Error(err))
	case removed > 0:
		s.log.Info("removed ended tokens (tokens.retention, tokens.maxEnded)", zap.Int("tokens", removed))
	}
	pruned, err := s.manager.PruneAudit(ctx)
	if pruned.Old > 0 {
		s.log.Info("removed audit records that are too old (audit.retention)", zap.Int("records", pruned.Old))
	}
	if pruned.Cut > 0 {
		s.log.Warn("removed the oldest audit records before their time, because the audit log is too large (audit.maxMiB)", zap.Int("records", pruned.Cut))
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("cannot remove audit records; it is tried again", zap.Error(err))
	}
}

// directoryMetrics are looked up when they are asked for.
type directoryMetrics struct{ server *Server }

var (
	directoryAge = prometheus.NewDesc("tokengate_directory_age_seconds",
		"Age of what is known of users; not there while nothing is known, and 0 without a directory.", nil, nil)
	directoryFresh = prometheus.NewDesc("tokengate_directory_fresh",
		"1 if what is known of users is fresh enough for tokens, 0 if every token is refused because of it.", nil, nil)
	missingGroups = prometheus.NewDesc("tokengate_directory_missing_groups",
		"Groups that the configuration names and the directory does not have.", nil, nil)
	unansweredOwners = prometheus.NewDesc("tokengate_directory_unanswered_owners",
		"Owners of tokens of whom the directory says nothing, so that their tokens are refused.", nil, nil)
	directoryRefreshes = prometheus.NewDesc("tokengate_directory_refreshes_total", "Refreshes of the directory by result.", []string{"result"}, nil)
	directoryRequests  = prometheus.NewDesc("tokengate_directory_requests_total", "Requests to Jira with the service credential.", nil, nil)
	callerRequests     = prometheus.NewDesc("tokengate_caller_checks_total",
		"Who is calling: asked of Jira, answered from what is kept, refused after too many wrong passwords, or dropped because too many waited for Jira.", []string{"answer"}, nil)
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
		if p.kind == "none" {
			age = 0 // which it is always as good as
		}
		to <- prometheus.MustNewConstMetric(directoryAge, prometheus.GaugeValue, age.Seconds())
	}
	fresh := 0.0
	if m.server.tokens.Index().IsFresh(time.Now()) {
		fresh = 1
	}
	to <- prometheus.MustNewConstMetric(directoryFresh, prometheus.GaugeValue, fresh)
	to <- prometheus.MustNewConstMetric(missingGroups, prometheus.GaugeValue, float64(len(p.directory.Snapshot().MissingGroups())))
	to <- prometheus.MustNewConstMetric(unansweredOwners, prometheus.GaugeValue, float64(p.directory.Stats().Unanswered))
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	stats, callers := p.directory.Stats(), p.callers.Stats()
	counter(directoryRefreshes, p.refreshed.Load(), "good")
	counter(directoryRefreshes, p.failed.Load(), "failed")
	counter(directoryRequests, stats.Requests)
	counter(callerRequests, callers.Asked, "asked")
	counter(callerRequests, callers.Kept, "kept")
	counter(callerRequests, callers.Blocked, "blocked")
	counter(callerRequests, callers.Dropped, "dropped")
}
