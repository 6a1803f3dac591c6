package jira

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/store"
)

const (
	// requestsPerSecond limits a refresh, which sends one request at a time,
	// evenly spaced.
	requestsPerSecond = 10

	pageTimeout = 30 * time.Second // for a page of users
	userTimeout = 10 * time.Second // for one user

	maxUserBody = 1 << 20
	maxPageBody = 8 << 20
)

// errCredential means that Jira refuses the service credential. The refresh
// stops then.
var errCredential = errors.New("the service credential is refused by Jira")

// source asks Jira with a service credential: user:password, or a native personal
// access token. The service user needs Jira's global administer permission to list
// the members of groups.
//
// A wrong password is sent at most twice until the file changes, because Jira
// would lock the user out. A successful refresh resets the count, and so does a
// restart. Personal access tokens, whose failures Jira does not count, are
// tried at each refresh.
type source struct {
	client  *client
	file    string
	groups  func() []string
	now     func() time.Time
	limiter *rate.Limiter
	sent    atomic.Uint64

	// lookups admits one lookup at a time beside a refresh: a wrong password
	// must not be sent three times at once.
	lookups chan struct{}

	// lastAsked is when each owner was last requested, by identity. It needs no
	// lock because refreshes do not overlap.
	lastAsked map[string]time.Time

	mu    sync.Mutex
	usage credentialUsage
}

// Source implements product.Client.
func (c *client) Source(o product.SourceOptions) directory.Source {
	return &source{
		client:    c,
		file:      o.Credential,
		groups:    o.Groups,
		now:       o.Now,
		limiter:   rate.NewLimiter(requestsPerSecond, 1),
		lastAsked: make(map[string]time.Time),

		lookups: make(chan struct{}, 1),
	}
}

// Requests returns the number of requests sent with the service credential.
func (s *source) Requests() uint64 { return s.sent.Load() }

// Origin returns the address of this Jira.
func (s *source) Origin() string { return "jira " + s.client.base }

// ask sends a rate-limited request with the service credential. If Jira refuses
// the credential the error wraps errCredential.
func (s *source) ask(ctx context.Context, c serviceCredential, q request) (response, error) {
	if err := s.wait(ctx); err != nil {
		return response{}, err
	}
	return s.send(ctx, c, q)
}

// wait waits for the rate limiter. If the deadline of ctx comes first, it
// returns ErrBusy immediately.
func (s *source) wait(ctx context.Context) error {
	now := s.now()
	r := s.limiter.ReserveN(now, 1)
	delay := r.DelayFrom(now)
	if deadline, ok := ctx.Deadline(); ok && delay > time.Until(deadline) {
		r.CancelAt(now)
		return directory.ErrBusy
	}
	if delay == 0 {
		return nil
	}
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", directory.ErrUnavailable, context.Cause(ctx))
	}
}

// send is ask without the rate limit.
func (s *source) send(ctx context.Context, c serviceCredential, q request) (response, error) {
	if err := s.beginUse(c); err != nil {
		return response{}, err
	}
	s.sent.Add(1)
	q.header = c.header
	r, err := s.client.ask(ctx, q)
	if err != nil {
		s.endUse(c, product.VerdictUnknown)
		return response{}, err
	}
	v := credentialVerdict(r)
	s.endUse(c, v)
	if v == product.VerdictRejected || v == product.VerdictUnchecked {
		return response{}, fmt.Errorf("%w: %w: %v: status %d, %s", directory.ErrUnavailable, errCredential, q, r.status, cmp.Or(loginReason(r), "no login reason"))
	}
	return r, nil
}

const userPath = "/rest/api/2/user"

// userRequest requests one user by key or username.
func userRequest(timeout time.Duration, parameter, value string) request {
	return request{
		path:    userPath,
		query:   url.Values{parameter: {value}, "expand": {"groups"}},
		maxBody: maxUserBody,
		timeout: timeout,
	}
}

// user requests one user. It returns ErrUnknownUser if there is none.
func (s *source) user(ctx context.Context, c serviceCredential, parameter, value string) (directory.User, error) {
	asked := s.now()
	r, err := s.ask(ctx, c, userRequest(userTimeout, parameter, value))
	return readUser(r, err, asked, parameter, value)
}

// readUser reads the response to a userRequest.
func readUser(r response, err error, asked time.Time, parameter, value string) (directory.User, error) {
	switch {
	case err != nil:
		return directory.User{}, err
	case isNotFound(r):
		return directory.User{}, directory.ErrUnknownUser
	case r.status != http.StatusOK:
		return directory.User{}, r.unexpected()
	}
	a, err := decode(r, isUser)
	if err != nil {
		return directory.User{}, err
	}
	if parameter == "key" && a.Key != value || parameter == "username" && store.FoldOwner(a.Name) != store.FoldOwner(value) {
		return directory.User{}, fmt.Errorf("%w: %s: the answer is about another user", directory.ErrUnavailable, r.request)
	}
	u, ok := a.toUser(asked)
	if !ok {
		if err := u.Check(); err != nil {
			return directory.User{}, err
		}
		return directory.User{}, r.unexpected()
	}
	return u, nil
}

// WholeGroups is false because Jira's answer about one user omits nested
// groups, which the member pages include.
func (s *source) WholeGroups() bool { return false }

// lookupWait limits the wait for other lookups, so that time is left for the request:
// without it, under load every lookup would get its turn too late.
const lookupWait = 2 * time.Second

// Lookup requests one user by name, outside the refresh's rate limit.
func (s *source) Lookup(ctx context.Context, name string) (directory.User, error) {
	c, err := s.credential()
	if err != nil {
		return directory.User{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, lookupWait)
	defer cancel()
	select {
	case s.lookups <- struct{}{}:
		defer func() { <-s.lookups }()
	case <-waiting.Done():
		return directory.User{}, directory.ErrBusy
	}
	const by = "username"
	asked := s.now()
	r, err := s.send(ctx, c, userRequest(directory.LookupTimeout, by, name))
	return readUser(r, err, asked, by, name)
}
