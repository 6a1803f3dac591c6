// Package wikitest is a second, tiny product for tests. It shows that a product needs no
// more than a package and a line in config.Products. Start with Product.
package wikitest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
)

// Product is the wiki.
var Product = product.Product{
	Name: "wiki", Title: "Wiki",
	IdentityHeader: "Remote-User", DownloadPaths: []string{"/files/"}, PasswordPaths: []string{"/sync/*"},
	API: "/api", Example: "/api/whoami", ReservedSegments: []string{"api"}, Session: product.NewSession("/api/login"),
	LoginPrefix: "login_", UserParameter: "login_name", PasswordParameter: "login_secret",
	ReadingPosts: []string{"/api/query"},
	LoginPage:    "/enter?to=", SessionCookies: []string{"WIKISESSION"}, Realm: "The Wiki", Connect: connect,
	Forbidden: func(path string, write bool) bool { return strings.HasPrefix(path, "/api/keys") },
}

// user is a user in the wiki's answers.
type user struct {
	Login  string   `json:"login"`
	Groups []string `json:"groups"`
}

func (u user) directory(asked time.Time) directory.User {
	return directory.User{Key: "id-" + u.Login, Name: u.Login, Active: true, Groups: directory.Groups{Known: true, Names: u.Groups}, Asked: asked}
}

// client implements product.Client.
type client struct {
	base string
	http http.Client
}

func connect(base string, transport http.RoundTripper) (product.Client, error) {
	return &client{base, http.Client{Transport: transport}}, nil
}

// get decodes an answer into v, and returns its status.
func (c *client) get(ctx context.Context, path string, credential http.Header, v any) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return 0, err
	}
	r.Header = credential
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", directory.ErrUnavailable, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return answer.StatusCode, nil
	}
	if err := json.NewDecoder(answer.Body).Decode(v); err != nil {
		return 0, fmt.Errorf("%w: %w", directory.ErrUnavailable, err)
	}
	return http.StatusOK, nil
}

// Myself implements product.Client.
func (c *client) Myself(ctx context.Context, credential http.Header, timeout time.Duration, asked time.Time) (directory.User, product.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var u user
	switch status, err := c.get(ctx, "/api/whoami", credential, &u); {
	case err != nil:
		return directory.User{}, product.VerdictUnknown, err
	case status != http.StatusOK:
		return directory.User{}, product.VerdictRejected, directory.ErrNotLoggedIn
	}
	return u.directory(asked), product.VerdictAccepted, nil
}

// Source implements product.Client.
func (c *client) Source(o product.SourceOptions) directory.Source { return &source{c, o} }

// source reads all users at once.
type source struct {
	client  *client
	options product.SourceOptions
}

func (s *source) Refresh(ctx context.Context, q directory.RefreshRequest) (*directory.Snapshot, error) {
	secret, err := os.ReadFile(s.options.Credential)
	if err != nil {
		return nil, err
	}
	var users []user
	status, err := s.client.get(ctx, "/api/users", http.Header{"Authorization": {"Key " + string(secret)}}, &users)
	if err == nil && status != http.StatusOK {
		err = errors.New("the wiki refuses the key")
	}
	if err != nil {
		return nil, err
	}
	c := directory.Contents{Taken: q.Now, StaleAfter: q.StaleAfter, Groups: make(map[string]bool)}
	for _, u := range users {
		c.Users = append(c.Users, u.directory(q.Now))
	}
	for _, group := range s.options.Groups() {
		c.Groups[directory.FoldGroup(group)] = true
	}
	return directory.NewSnapshot(c), nil
}

func (s *source) Lookup(context.Context, string) (directory.User, error) {
	return directory.User{}, directory.ErrUnknownUser
}

func (s *source) WholeGroups() bool { return true }

func (s *source) Requests() uint64 { return 0 }

func (s *source) Origin() string { return "wiki " + s.client.base }

// Secret is the service credential of Server.
const Secret = "wiki-key"

// Server is a wiki. The value of a user's session cookie is the user name.
type Server struct {
	mu    sync.Mutex
	users map[string][]string // their groups
}

// Set sets a user's groups.
func (s *Server) Set(name string, groups ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == nil {
		s.users = make(map[string][]string)
	}
	s.users[name] = groups
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var answer any
	switch session, err := r.Cookie("WIKISESSION"); {
	case r.URL.Path == "/api/whoami" && err == nil:
		groups, ok := s.users[session.Value]
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer = user{session.Value, groups}
	case r.URL.Path == "/api/users" && r.Header.Get("Authorization") == "Key "+Secret:
		all := []user{}
		for name, groups := range s.users {
			all = append(all, user{name, groups})
		}
		answer = all
	default:
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}
