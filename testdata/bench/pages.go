package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web"
	"github.com/tokengate/tokengate/authz/manage/web/page"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// queries are first pages of GET /tokens. BenchmarkFind of package store times every
// filter and order; these are the common ones and the slowest.
var queries = []string{
	"",
	"limit=1000",
	"user=user00042",
	"userPart=user",
	"name=2424",
	"name=Report",
	"state=active",
	"unusedSince=14d",
	"sort=user&order=asc",
	"sort=used&order=desc",
	"state=active&unusedSince=14d&sort=used",
	"name=report&userPart=user&sort=name&order=desc",
	"expiresUntil=2099-06-01&scope=write&sort=expires",
	"userPart=user&name=report&scope=write&state=active&usedFrom=2026-04-02&sort=name&limit=1000",
}

// The pages in the browser, by who opens them; ID is a token's id.
var (
	ownerPages = []string{"", "/new", "/token/ID", "/token/ID/rotate", "/token/ID/edit", "/explain"}
	adminPages = []string{
		"/tokens", "/tokens?name=2424", "/tokens?name=report&userPart=user&sort=name&order=desc", "/tokens?state=active&unusedSince=14d&sort=used",
		"/tokens?user=user00042", "/pending", "/insights", "/audit", "/settings", "/token/ID",
	}
)

// The cookies of the two visitors of the pages.
const (
	ownerCookie = "JSESSIONID=owner"
	adminCookie = "JSESSIONID=admin"
)

// The groups of the owners and of the administrator.
const (
	userGroup  = "jira-software-users"
	adminGroup = "jira-administrators"
)

// site serves the management API and the pages from a store in this process.
type site struct {
	*localStore
	api   http.Handler
	admin context.Context // of a connection to the admin socket
	pages http.Handler
	now   time.Time // advances with each page, so that no rate limit applies
}

// measurePages is row e: the administrator's list and the pages in the browser.
// BenchmarkLookupBesideFind of package store times decisions beside queries.
func measurePages(ctx context.Context, sizes scale, r *report) (err error) {
	at := " at " + count(sizes.tokens) + " tokens"
	columns, err := heapPerToken(sizes.tokens, func() (_ any, err error) {
		listing := store.NewListing()
		records(sizes.tokens, func(t store.Token, e error) bool {
			if err = e; e == nil {
				listing.Put(t)
			}
			return e == nil
		})
		return listing, err
	})
	if err != nil {
		return err
	}
	r.atMost("columns of the listing, per token"+at, 100, "B", columns)
	s, err := newSite(ctx, sizes.tokens)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	list := r.add("(e) An administrator's first page of GET /tokens"+at, "query", "ms", "tokens found")
	list.note("The server's time in this process. A page has 100 tokens by default. A third of the tokens has been used. The directory knows all owners. The listing takes %v bytes per token.", columns)
	slowest, _, err := s.measure(ctx, sizes, list, queries, func(query string) (took time.Duration, size int, label string, err error) {
		answer, took := s.query(query)
		var found web.TokenPage
		if err := readPage(query, answer, &found); err != nil {
			return 0, 0, "", err
		}
		return took, answer.Body.Len(), count(found.Total), nil
	})
	if err != nil {
		return err
	}
	r.atMost("first page of the administrator's list"+at+", the slowest query", 200, "ms", slowest)

	browser := r.add("(e) The pages in the browser"+at, "page", "ms", "KB")
	browser.note("The server's time in this process, after the visitor was identified. A page lists 50 tokens.")
	largest := 0
	for _, visitor := range []struct {
		name, cookie string
		paths        []string
		limit        float64 // ms
	}{{"an owner's", ownerCookie, ownerPages, 50}, {"an administrator's", adminCookie, adminPages, 250}} {
		slowest, size, err := s.measure(ctx, sizes, browser, visitor.paths, func(path string) (time.Duration, int, string, error) {
			took, size, err := s.visit(visitor.cookie, path)
			return took, size, fmt.Sprintf("%.1f", float64(size)/1000), err
		})
		if err != nil {
			return err
		}
		largest = max(largest, size)
		r.atMost("page in the browser"+at+", "+visitor.name+" slowest", visitor.limit, "ms", slowest)
	}
	r.atMost("page in the browser"+at+", the largest", 100, "KB", spreadOf(float64(largest)/1000))
	return nil
}

func newSite(ctx context.Context, size int) (_ *site, err error) {
	l, err := openStore(ctx, size)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if err := recordUses(ctx, l.tokens, size); err != nil {
		return nil, err
	}
	known, err := newDirectory(ctx, filepath.Join(l.dir, "users.yaml"), min(owners, size))
	if err != nil {
		return nil, err
	}
	access := config.Default()
	access.Access.Use, access.Access.Admin = []string{userGroup}, []string{adminGroup}
	settings := manage.NewSettings(access)
	m := &manage.Manager{
		Tokens: l.tokens, Usage: store.NewUsageRecorder(l.tokens), Directory: known,
		Settings: func() manage.Settings { return settings },
		Now:      func() time.Time { return benchTime }, Random: token.Random,
	}
	m.UpdateOwnerStatus(known.Snapshot)
	l.view.Policy = policy.New(access)
	s := &site{localStore: l, now: benchTime}
	if s.admin, err = adminContext(ctx); err != nil {
		return nil, err
	}
	view := func() authz.View { return l.view }
	s.api = web.Admin(m, view, zap.NewNop())
	s.pages = web.New(web.Options{
		Manager: m, View: view, Usage: m.Usage,
		PublicURL: "https://jira.example.com", Log: zap.NewNop(), Now: func() time.Time { return s.now },
		Identify: func(_ context.Context, c directory.Credential) (directory.User, error) {
			u := directory.User{Name: ownerOf(42), Active: true, Groups: directory.Groups{Known: true, Names: []string{userGroup}}}
			if c.Cookie == adminCookie {
				u.Name, u.Groups.Names = "administrator", []string{userGroup, adminGroup}
			}
			return u, nil
		},
	})
	return s, nil
}

// newDirectory returns a directory that has read the dataset's first owners from a
// file.
func newDirectory(ctx context.Context, file string, owners int) (*directory.Directory, error) {
	users := []byte("users:\n")
	for i := range owners {
		users = fmt.Appendf(users, "- {name: %s, key: JIRAUSER%d, groups: [%s]}\n", ownerOf(i), i, userGroup)
	}
	if err := os.WriteFile(file, users, 0o600); err != nil {
		return nil, err
	}
	known := directory.New(directory.Options{
		Source: directory.NewFile(file), Owners: func() []directory.Owner { return nil },
		Every: time.Minute, StaleAfter: time.Hour,
		Publish: func(*directory.Snapshot) {}, Now: func() time.Time { return benchTime }, Random: func() float64 { return 0 },
	})
	return known, known.Refresh(ctx)
}

// adminContext returns the context of a request over the admin socket from this
// process.
func adminContext(ctx context.Context) (context.Context, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make an admin socket: %w", err)
	}
	defer unix.Close(pair[1])
	file := os.NewFile(uintptr(pair[0]), "admin")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("make an admin socket: %w", err)
	}
	defer conn.Close()
	return web.ConnContext(ctx, conn), nil
}

// recordUses records a use of a third of the tokens, within two months before now.
func recordUses(ctx context.Context, tokens *store.Cached, size int) error {
	const minutes = 60 * 24 * 60
	batch := make(map[string]store.Usage, store.MaxUsageBatch)
	for i := 0; i < size; i += 3 {
		id, err := idOf(i)
		if err != nil {
			return err
		}
		mixed := i * 7919 % size
		batch[id] = store.Usage{Count: uint64(mixed) + 1, LastUsed: benchTime.Add(-time.Duration(mixed*minutes/size) * time.Minute)}
		if len(batch) < store.MaxUsageBatch && i+3 < size {
			continue
		}
		if err := tokens.AddUsage(ctx, batch); err != nil {
			return fmt.Errorf("record uses: %w", err)
		}
		clear(batch)
	}
	return nil
}

// measure times each item and adds it to a table with the label that once returns.
// It returns the time of the slowest item, and the size of the largest.
func (s *site) measure(ctx context.Context, sizes scale, table *section, items []string, once func(item string) (took time.Duration, size int, label string, err error)) (slowest spread, largest int, err error) {
	labels := make([]string, len(items))
	var variants []variant[float64]
	for i, item := range items {
		variants = append(variants, variant[float64]{item, func(context.Context) (float64, error) {
			took, size, label, err := once(item)
			labels[i], largest = label, max(largest, size)
			return took.Seconds() * 1000, err
		}})
	}
	results, err := alternate(ctx, sizes.rounds, variants)
	if err != nil {
		return spread{}, 0, err
	}
	for i, item := range items {
		took := spreadOf(results[i]...)
		if took.median > slowest.median {
			slowest = took
		}
		if item == "" {
			item = "none"
		}
		table.line(strings.ReplaceAll(item, "&", " "), took.String(), labels[i])
	}
	return slowest, largest, nil
}

// query sends a query for tokens to the API.
func (s *site) query(query string) (*httptest.ResponseRecorder, time.Duration) {
	return serve(s.api, httptest.NewRequestWithContext(s.admin, http.MethodGet, web.Bases[0]+"/tokens?"+query, nil))
}

func serve(h http.Handler, request *http.Request) (*httptest.ResponseRecorder, time.Duration) {
	answer := httptest.NewRecorder()
	began := time.Now()
	h.ServeHTTP(answer, request)
	return answer, time.Since(began)
}

func readPage(query string, answer *httptest.ResponseRecorder, found *web.TokenPage) error {
	if answer.Code != http.StatusOK {
		return fmt.Errorf("GET /tokens?%s: status %d: %s", query, answer.Code, token.Redact(answer.Body.String()))
	}
	if err := json.Unmarshal(answer.Body.Bytes(), found); err != nil {
		return fmt.Errorf("GET /tokens?%s: %w", query, err)
	}
	return nil
}

// visit opens a page in the browser and returns its size in bytes.
func (s *site) visit(cookie, path string) (took time.Duration, size int, err error) {
	id, err := idOf(42)
	if err != nil {
		return 0, 0, err
	}
	s.now = s.now.Add(time.Second)
	request := httptest.NewRequest(http.MethodGet, page.Path+strings.ReplaceAll(path, "ID", id), nil)
	request.Header.Set("Cookie", cookie)
	request.Header.Set(web.ClientIPHeader, "10.1.2.3")
	answer, took := serve(s.pages, request)
	if answer.Code != http.StatusOK {
		return 0, 0, fmt.Errorf("GET %s: status %d: %s", request.URL, answer.Code, token.Redact(answer.Body.String()))
	}
	return took, answer.Body.Len(), nil
}
