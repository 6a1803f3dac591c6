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
)

const (
	// requestsPerSecond bounds what Jira is asked with the service credential.
	// They go one by one, evenly spaced.
	requestsPerSecond = 10

	pageTime   = 30 * time.Second // for a page of users
	userTime   = 10 * time.Second // for one user
	lookupTime = 5 * time.Second  // for one user while somebody waits

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
// A wrong password of the service user is sent no more than two times an hour,
// unless its file changes: else Jira would lock the user out.
type Jira struct {
	client *Client
	file   string
	groups func() []string
	now    func() time.Time
	pace   pace
	sent   atomic.Uint64

	// tried is when each owner was last asked for, by identity. Refreshes do
	// not overlap.
	tried map[string]time.Time

	mu      sync.Mutex
	refused map[[32]byte]failing // by the credential's hash; one at most
}

// NewJira returns the source.
func NewJira(o JiraOptions) *Jira {
	return &Jira{
		client: o.Client,
		file:   o.Credential,
		groups: o.Groups,
		now:    o.Now,
		pace:   pace{now: o.Now, every: time.Second / requestsPerSecond, burst: 1},
		tried:  make(map[string]time.Time),
	}
}

// requests returns how many requests were sent with the service credential.
func (j *Jira) requests() uint64 { return j.sent.Load() }

// origin returns where this Jira is.
func (j *Jira) origin() string { return "jira " + j.client.base }

// service reads the credential, and returns an error if Jira has refused it.
func (j *Jira) service() (service, error) {
	s, err := readService(j.file)
	if err != nil {
		return service{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.refused[s.hash]
	if s.basic && f.count >= maxFailures && j.now().Sub(f.last) < failuresLast {
		return service{}, fmt.Errorf("%w: %w, and it is not tried again before its file changes or an hour is over", ErrUnavailable, errCredential)
	}
	return s, nil
}

// refuse remembers that Jira refused a credential.
func (j *Jira) refuse(s service) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.refused[s.hash]
	if j.now().Sub(f.last) >= failuresLast {
		f.count = 0
	}
	j.refused = map[[32]byte]failing{s.hash: {count: f.count + 1, last: j.now()}}
}

// ask sends a question with the service credential, at the pace that is
// allowed. A refused credential is an error that wraps errCredential.
func (j *Jira) ask(ctx context.Context, s service, q question) (reply, error) {
	if err := j.pace.wait(ctx); err != nil {
		return reply{}, err
	}
	j.sent.Add(1)
	q.header = s.header
	r, err := j.client.ask(ctx, q)
	if err != nil {
		return reply{}, err
	}
	reason := loginReason(r)
	refused := basicRefused(r) // no password was looked at
	if r.status == http.StatusUnauthorized || reason == loginFailed || reason == loginDenied {
		j.refuse(s)
		refused = true
	}
	if refused {
		return reply{}, fmt.Errorf("%w: %w: GET %s: status %d%s", ErrUnavailable, errCredential, q.path, r.status, because(reason))
	}
	return r, nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ", " + reason
}

// user asks for one user, by one parameter: key or username. It returns
// ErrUnknownUser if there is none.
func (j *Jira) user(ctx context.Context, s service, within time.Duration, parameter, value string) (User, error) {
	const path = "/rest/api/2/user"
	asked := j.now()
	r, err := j.ask(ctx, s, question{
		path:   path,
		query:  url.Values{parameter: {value}, "expand": {"groups"}},
		most:   maxUserBody,
		within: within,
	})
	switch {
	case err != nil:
		return User{}, err
	case notFound(r):
		return User{}, ErrUnknownUser
	case r.status != http.StatusOK:
		return User{}, r.unexpected(path)
	}
	b, err := decodeUser(r, path)
	if err != nil {
		return User{}, err
	}
	if parameter == "key" && b.Key != value || parameter == "username" && store.FoldOwner(b.Name) != store.FoldOwner(value) {
		return User{}, errDisagrees(path)
	}
	u, ok := b.user(asked)
	if !ok {
		if err := u.check(); err != nil {
			return User{}, err
		}
		return User{}, r.unexpected(path)
	}
	return u, nil
}

// lookup asks for one user by name.
func (j *Jira) lookup(ctx context.Context, name string) (User, error) {
	s, err := j.service()
	if err != nil {
		return User{}, err
	}
	return j.user(ctx, s, lookupTime, "username", name)
}
