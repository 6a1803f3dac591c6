package directory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/store"
	"golang.org/x/time/rate"
)

const (
	// requestsPerSecond bounds what a refresh asks of Jira. It asks one by one,
	// evenly spaced.
	requestsPerSecond = 10

	pageTimeout   = 30 * time.Second // for a page of users
	userTimeout   = 10 * time.Second // for one user
	lookupTimeout = 5 * time.Second  // for one user while somebody waits

	maxUserBody = 1 << 20
	maxPageBody = 8 << 20
)

// errCredential says that Jira does not take the service credential. Nothing
// else is asked with it then.
var errCredential = errors.New("Jira refuses the service credential")

// JiraOptions are what Jira needs. All fields are required.
type JiraOptions struct {
	Client     *Client
	Credential string          // file with user:password or a native personal access token; read again at each refresh
	Groups     func() []string // names of the groups to follow, now
	Now        func() time.Time
}

// Jira is the source that asks Jira with a service credential. The user needs
// Jira's global permission to administer, without which it tells nobody the
// members of a group.
//
// A wrong password of the service user is sent no more than two times, until its
// file has another: else Jira would lock the user out. A refresh that goes well
// begins the count anew. It is not kept over a restart. Personal access tokens,
// of which Jira does not count failures, are tried at each refresh.
type Jira struct {
	client  *Client
	file    string
	groups  func() []string
	now     func() time.Time
	limiter *rate.Limiter
	sent    atomic.Uint64

	// Look-ups of one user while somebody waits go one by one, beside a refresh:
	// a wrong password of the service user must not be sent three times at once.
	lookups chan struct{}

	// lastAsked is when each owner was last asked for, by identity. Refreshes do
	// not overlap.
	lastAsked map[string]time.Time

	mu  sync.Mutex
	usage credentialUsage
}

// NewJira returns the source.
func NewJira(o JiraOptions) *Jira {
	return &Jira{
		client:  o.Client,
		file:    o.Credential,
		groups:  o.Groups,
		now:     o.Now,
		limiter: rate.NewLimiter(requestsPerSecond, 1),
		lastAsked:   make(map[string]time.Time),

		lookups: make(chan struct{}, 1),
	}
}

// requests returns how many requests were sent with the service credential.
func (j *Jira) requests() uint64 { return j.sent.Load() }

// origin returns where this Jira is.
func (j *Jira) origin() string { return "jira " + j.client.base }

// ask sends a question with the service credential, at the pace that is
// allowed. A refused credential is an error that wraps errCredential.
func (j *Jira) ask(ctx context.Context, s serviceCredential, q jiraRequest) (jiraResponse, error) {
	if err := j.wait(ctx); err != nil {
		return jiraResponse{}, err
	}
	return j.send(ctx, s, q)
}

// wait waits until the limiter admits a request. It returns ErrBusy at once if
// that is after the deadline of ctx.
func (j *Jira) wait(ctx context.Context) error {
	now := j.now()
	r := j.limiter.ReserveN(now, 1)
	delay := r.DelayFrom(now)
	if deadline, ok := ctx.Deadline(); ok && delay > time.Until(deadline) {
		r.CancelAt(now)
		return ErrBusy
	}
	if delay == 0 {
		return nil
	}
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// send is ask without a pace.
func (j *Jira) send(ctx context.Context, s serviceCredential, q jiraRequest) (jiraResponse, error) {
	if err := j.beginUse(s); err != nil {
		return jiraResponse{}, err
	}
	j.sent.Add(1)
	q.header = s.header
	r, err := j.client.ask(ctx, q)
	if err != nil {
		j.endUse(s, verdictUnknown)
		return jiraResponse{}, err
	}
	v := credentialVerdict(r)
	j.endUse(s, v)
	if v == verdictRejected || v == verdictUnchecked {
		return jiraResponse{}, fmt.Errorf("%w: %w: GET %s: status %d%s", ErrUnavailable, errCredential, q.path, r.status, withReason(loginReason(r)))
	}
	return r, nil
}

func withReason(reason string) string {
	if reason == "" {
		return ""
	}
	return ", " + reason
}

const userPath = "/rest/api/2/user"

// userRequest asks for one user, by one parameter: key or username.
func userRequest(within time.Duration, parameter, value string) jiraRequest {
	return jiraRequest{
		path:   userPath,
		query:  url.Values{parameter: {value}, "expand": {"groups"}},
		maxBody:   maxUserBody,
		timeout: within,
	}
}

// toUser asks for one user. It returns ErrUnknownUser if there is none.
func (j *Jira) user(ctx context.Context, s serviceCredential, parameter, value string) (User, error) {
	asked := j.now()
	r, err := j.ask(ctx, s, userRequest(userTimeout, parameter, value))
	return readUser(r, err, asked, parameter, value)
}

// readUser reads the answer to a userQuestion.
func readUser(r jiraResponse, err error, asked time.Time, parameter, value string) (User, error) {
	const path = userPath
	switch {
	case err != nil:
		return User{}, err
	case isNotFound(r):
		return User{}, ErrUnknownUser
	case r.status != http.StatusOK:
		return User{}, r.unexpected(path)
	}
	b, err := decodeUser(r, path)
	if err != nil {
		return User{}, err
	}
	if parameter == "key" && b.Key != value || parameter == "username" && store.FoldOwner(b.Name) != store.FoldOwner(value) {
		return User{}, errOtherUser(path)
	}
	u, ok := b.toUser(asked)
	if !ok {
		if err := u.check(); err != nil {
			return User{}, err
		}
		return User{}, r.unexpected(path)
	}
	return u, nil
}

// wholeGroups is false, because Jira's answer about one user leaves out the
// groups that a group of theirs is in, which the pages of members have.
func (j *Jira) wholeGroups() bool { return false }

// lookup asks for one user by name. It leaves the pace of a refresh as it is.
func (j *Jira) lookup(ctx context.Context, name string) (User, error) {
	s, err := j.credential()
	if err != nil {
		return User{}, err
	}
	timeout := time.NewTimer(lookupTimeout)
	defer timeout.Stop()
	select {
	case j.lookups <- struct{}{}:
		defer func() { <-j.lookups }()
	case <-ctx.Done():
		return User{}, ErrBusy
	case <-timeout.C:
		return User{}, ErrBusy
	}
	const by = "username"
	asked := j.now()
	r, err := j.send(ctx, s, userRequest(lookupTimeout, by, name))
	return readUser(r, err, asked, by, name)
}
