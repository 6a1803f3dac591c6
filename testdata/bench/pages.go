package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/listing"
)

// The cookies of the two visitors.
const (
	ownerCookie = "JSESSIONID=owner"
	adminCookie = "JSESSIONID=admin"
)

// pageGroups are the requests by who sends them, with the longest that the server may
// take; ID is a token's id. BenchmarkFind of package store times every filter and
// order of the list; these are the common ones and the slowest.
var pageGroups = []struct {
	name, cookie, base string
	limit              float64 // ms
	paths              []string
}{
	{"first page of the administrator's list", adminCookie, web.Bases[0], 200, []string{
		"/tokens",
		"/tokens?limit=1000",
		"/tokens?user=user00042",
		"/tokens?userPart=user",
		"/tokens?name=2424",
		"/tokens?name=Report",
		"/tokens?state=active",
		"/tokens?unusedSince=14d",
		"/tokens?sort=user&order=asc",
		"/tokens?sort=used&order=desc",
		"/tokens?state=active&unusedSince=14d&sort=used",
		"/tokens?name=report&userPart=user&sort=name&order=desc",
		"/tokens?expiresUntil=2099-06-01&scope=write&sort=expires",
		"/tokens?userPart=user&name=report&scope=write&state=active&usedFrom=2026-04-02&sort=name&limit=1000",
	}},
	{"an owner's page in the browser", ownerCookie, config.PagePath, 50, []string{
		"", "/new", "/token/ID", "/token/ID/rotate", "/token/ID/edit", "/explain",
	}},
	{"an administrator's page in the browser", adminCookie, config.PagePath, 250, []string{
		"/tokens", "/tokens?name=2424", "/tokens?name=report&userPart=user&sort=name&order=desc", "/tokens?state=active&unusedSince=14d&sort=used",
		"/tokens?user=user00042", "/pending", "/insights", "/audit", "/settings", "/token/ID",
	}},
}

// The groups of the owners and of the administrator.
const (
	userGroup  = "jira-software-users"
	adminGroup = "jira-administrators"
)

// site serves the management API and the pages from a store in this process.
type site struct {
	*localStore
	handler http.Handler
	now     time.Time // advances with each request, so that no rate limit applies
}

// measurePages is row e: the administrator's list and the pages in the browser.
// BenchmarkLookupBesideFind of package store times decisions beside queries.
func measurePages(ctx context.Context, sizes scale, r *report) {
	at := " at " + count(sizes.tokens) + " tokens"
	columns, err := heapPerToken(sizes.tokens, func() (_ any, err error) {
		listing := listing.New()
		records(sizes.tokens, func(t store.Token, e error) bool {
			if err = e; e == nil {
				listing.Put(t)
			}
			return e == nil
		})
		return listing, err
	})
	try(err)
	r.atMost("columns of the listing, per token"+at, 100, "B", columns)
	s := must(newSite(ctx, sizes.tokens))
	defer func() { try(s.close()) }()

	id := must(idOf(42))
	largest := 0
	for _, group := range pageGroups {
		table := r.add("(e) "+group.name+at, "request", "ms", "KB")
		pageSizes := make([]int, len(group.paths))
		var variants []variant[float64]
		for i, path := range group.paths {
			path = group.base + strings.ReplaceAll(path, "ID", id)
			variants = append(variants, variant[float64]{path, func(context.Context) (took float64, err error) {
				took, pageSizes[i], err = s.get(group.cookie, path)
				return took, err
			}})
		}
		results := must(alternate(ctx, sizes.rounds, variants))
		var slowest spread
		for i, v := range variants {
			took := spreadOf(results[i]...)
			if took.median > slowest.median {
				slowest = took
			}
			table.line(v.name, took.String(), fmt.Sprintf("%.1f", float64(pageSizes[i])/1000))
		}
		if group.base == config.PagePath {
			largest = max(largest, slices.Max(pageSizes))
		}
		table.note("The server's time in this process, after the visitor was identified.")
		r.atMost(group.name+at+", the slowest", group.limit, "ms", slowest)
	}
	r.atMost("page in the browser"+at+", the largest", 100, "KB", spreadOf(float64(largest)/1000))
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
		Tokens: l.tokens, Usage: cached.NewUsageRecorder(l.tokens), Directory: known,
		Settings: func() manage.Settings { return settings },
		Now:      func() time.Time { return benchTime }, Random: token.Random,
	}
	m.UpdateOwnerStatus(known.Snapshot)
	l.view.Policy = policy.New(access)
	s := &site{localStore: l, now: benchTime}
	view := func() authz.View { return l.view }
	s.handler = web.New(web.Options{
		Manager: m, View: view, Usage: m.Usage,
		PublicURL: "https://jira.example.com", Log: zap.NewNop(), Now: func() time.Time { return s.now },
		Identify: func(_ context.Context, c identify.Credential) (directory.User, http.Header, error) {
			u := directory.User{Name: ownerOf(42), Active: true, Groups: directory.Groups{Known: true, Names: []string{userGroup}}}
			if c.Cookie == adminCookie {
				u.Name, u.Groups.Names = "administrator", []string{userGroup, adminGroup}
			}
			return u, nil, nil
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

// recordUses records a use of a third of the tokens, within two months before now.
func recordUses(ctx context.Context, tokens *cached.Store, size int) error {
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

// get returns the server's time in milliseconds and the size of the answer in bytes.
func (s *site) get(cookie, path string) (took float64, size int, err error) {
	s.now = s.now.Add(time.Second)
	request := httptest.NewRequest(http.MethodGet, path, nil)
	request.Header.Set("Cookie", cookie)
	request.Header.Set(authz.ClientIPHeader, "10.1.2.3")
	answer := httptest.NewRecorder()
	began := time.Now()
	s.handler.ServeHTTP(answer, request)
	took = time.Since(began).Seconds() * 1000
	if answer.Code != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d: %s", path, answer.Code, token.Redact(answer.Body.String()))
	}
	return took, answer.Body.Len(), err
}
