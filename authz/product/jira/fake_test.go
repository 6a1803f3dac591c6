package jira_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// connect returns a client of a handler.
func connect(t *testing.T, handler http.Handler) product.Client {
	t.Helper()
	c, err := jira.Product.Connect("http://jira.test", jiratest.Transport{Handler: handler})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// account is a user of the fake.
type account struct {
	key, name string
	active    bool
}

// fake implements the endpoints of Jira that a refresh uses.
type fake struct {
	t          *testing.T
	credential string // the accepted Authorization header

	mu          sync.Mutex
	users       []account
	groups      map[string][]string // keys of members, ordered by name
	large       []account           // members of the only large group
	memberCap   int                 // of a page
	searchLimit int                 // maximum users in a search; 0 means no limit
	list        bool                // whether /user/list exists
	requests    []string            // path and query
	fault       func(w http.ResponseWriter, r *http.Request) bool
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// taken returns the requests since it was last called.
func (f *fake) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	requests := f.requests
	f.requests = nil
	return requests
}

func send(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

type object = map[string]any

func (a account) bean() object {
	return object{"key": a.key, "name": a.name, "displayName": strings.ToUpper(a.name), "active": a.active, "deleted": false, "avatarUrls": object{"48x48": "http://jira.test/a"}}
}

func (f *fake) find(match func(account) bool) (account, bool) {
	i := slices.IndexFunc(f.users, match)
	if i < 0 {
		return account{}, false
	}
	return f.users[i], true
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r.RequestURI)
	if len(r.Cookies()) > 0 {
		f.t.Errorf("%s has a Cookie header", r.RequestURI)
	}
	if f.fault != nil && f.fault(w, r) {
		return
	}
	if r.Header.Get("Authorization") != f.credential {
		w.Header().Set("X-Seraph-LoginReason", "AUTHENTICATED_FAILED")
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(401)
		fmt.Fprint(w, "<html>Basic Authentication Failure - Reason : AUTHENTICATED_FAILED")
		return
	}
	q := r.URL.Query()
	start, _ := strconv.Atoi(q.Get("startAt"))
	size, _ := strconv.Atoi(q.Get("maxResults"))
	switch r.URL.Path {
	case "/rest/api/2/myself":
		send(w, 200, account{"JIRAUSER1", "service", true}.bean())
	case "/rest/api/2/user":
		a, ok := f.find(func(a account) bool {
			return a.key == q.Get("key") || strings.EqualFold(a.name, q.Get("username"))
		})
		if !ok {
			send(w, 404, object{"errorMessages": []string{"The user does not exist"}, "errors": object{}})
			return
		}
		bean := a.bean()
		names := []object{}
		for group, keys := range f.groups {
			if slices.Contains(keys, a.key) {
				names = append(names, object{"name": group})
			}
		}
		bean["groups"] = object{"size": len(names), "items": names}
		send(w, 200, bean)
	case "/rest/api/2/user/list":
		if !f.list {
			send(w, 404, object{"message": "null for uri", "status-code": 404})
			return
		}
		start, _ := strconv.Atoi(q.Get("cursor"))
		end := min(start+size, len(f.users))
		page := object{"isLast": end == len(f.users), "maxResults": size, "values": beans(f.users[start:end])}
		if end < len(f.users) {
			page["nextCursor"] = strconv.Itoa(end)
		}
		send(w, 200, page)
	case "/rest/api/2/user/search":
		found := f.users
		if f.searchLimit > 0 {
			found = found[:min(f.searchLimit, len(found))]
		}
		found = found[min(start, len(found)):]
		send(w, 200, beans(found[:min(size, len(found))]))
	case "/rest/api/2/group/member":
		for group, keys := range f.groups {
			if strings.EqualFold(group, q.Get("groupname")) {
				f.members(w, keys, start, min(size, f.memberCap))
				return
			}
		}
		send(w, 404, object{"errorMessages": []string{"The group does not exist."}, "errors": object{}})
	default:
		f.t.Errorf("unexpected request %s", r.RequestURI)
	}
}

func (f *fake) members(w http.ResponseWriter, keys []string, start, size int) {
	members := f.membersOf(keys)
	end := min(start+size, len(members))
	page := object{"maxResults": size, "startAt": start, "total": len(members), "isLast": end == len(members), "values": beans(members[min(start, end):end])}
	if end < len(members) {
		page["nextPage"] = "http://jira.test/next"
	}
	send(w, 200, page)
}

// membersOf returns the users with these keys. Large groups do not change in tests, so
// their answer is kept.
func (f *fake) membersOf(keys []string) []account {
	if len(keys) > 1000 && len(f.large) > 0 {
		return f.large
	}
	byKey := make(map[string]account, len(f.users))
	for _, a := range f.users {
		byKey[a.key] = a
	}
	var members []account
	for _, key := range keys {
		if a, ok := byKey[key]; ok {
			members = append(members, a)
		}
	}
	if len(keys) > 1000 {
		f.large = members
	}
	return members
}

func beans(accounts []account) []object {
	out := make([]object, 0, len(accounts))
	for _, a := range accounts {
		out = append(out, a.bean())
	}
	return out
}

// The tests' service credentials.
const (
	nativeToken = "MDEyMzQ1Njc4OTAxOnNlcnZpY2VzZWNyZXQxMjM0NTY="
	bearer      = "Bearer " + nativeToken
)

// rig is a Directory in front of a fake.
type rig struct {
	*directory.Directory
	jira      *fake
	file      string // of the credential
	owners    []directory.Owner
	groups    []string
	published []*directory.Snapshot
}

const (
	every      = time.Minute
	staleAfter = 15 * time.Minute
)

// newRig returns a Directory without a snapshot.
func newRig(t *testing.T, users ...account) *rig {
	t.Helper()
	r := &rig{
		jira: &fake{t: t, credential: bearer, users: users, groups: map[string][]string{}, memberCap: 50},
		file: filepath.Join(t.TempDir(), "credential"),
	}
	write(t, r.file, nativeToken+"\n")
	r.restart(t)
	return r
}

// restart replaces the rig's Directory by an empty one. Every new snapshot is
// compared with its saved and restored form.
func (r *rig) restart(t *testing.T) {
	t.Helper()
	source := connect(t, r.jira).Source(product.SourceOptions{
		Credential: r.file,
		Groups:     func() []string { return r.groups },
		Now:        time.Now,
	})
	var last *directory.Snapshot
	r.published, r.Directory = nil, r.newDirectory(source, func(s *directory.Snapshot) {
		r.published = append(r.published, s)
		if s != last && s.Len() <= 1000 && time.Now().Before(s.GoodUntil()) {
			r.compareSaved(t, source, s)
		}
		last = s
	})
}

func (r *rig) newDirectory(source directory.Source, publish func(*directory.Snapshot)) *directory.Directory {
	return directory.New(directory.Options{
		Source:     source,
		Owners:     func() []directory.Owner { return r.owners },
		Every:      every,
		StaleAfter: staleAfter,
		Publish:    publish,
		Now:        time.Now,
		Random:     func() float64 { return 0.5 },
	})
}

// fixed is a source whose refresh gives one snapshot.
type fixed struct {
	directory.Source
	snapshot *directory.Snapshot
}

func (f fixed) Refresh(context.Context, directory.RefreshRequest) (*directory.Snapshot, error) {
	return f.snapshot, nil
}

// compareSaved saves a snapshot, and compares it with what is restored.
func (r *rig) compareSaved(t *testing.T, source directory.Source, s *directory.Snapshot) {
	t.Helper()
	path := filepath.Join(filepath.Dir(r.file), "directory")
	ignore := func(*directory.Snapshot) {}
	saved, restored := r.newDirectory(fixed{source, s}, ignore), r.newDirectory(source, ignore)
	if err := errors.Join(saved.Refresh(t.Context()), saved.Save(path, 0), restored.Restore(path)); err != nil {
		t.Errorf("saved and restored: %v", err)
		return
	}
	want, got := s.Contents(), restored.Snapshot().Contents()
	want.OwnerErr = nil
	byName := cmpopts.SortSlices(func(a, b directory.User) bool { return a.Name < b.Name })
	if diff := cmp.Diff(want, got, byName, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("saved and restored (-saved +restored):\n%s", diff)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// refresh refreshes, and fails the test if that fails.
func (r *rig) refresh(t *testing.T) {
	t.Helper()
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// owner returns the owner of a token at the current time.
func (r *rig) owner(name, key string) (directory.User, error) {
	return r.Snapshot().Owner(name, key, time.Now())
}

// activeAccounts returns n active accounts.
func activeAccounts(n int) []account {
	accounts := make([]account, n)
	for i := range accounts {
		accounts[i] = account{fmt.Sprintf("JIRAUSER%d", 10000+i), fmt.Sprintf("user%05d", i), true}
	}
	return accounts
}

// keys returns the keys of accounts.
func keys(accounts []account) []string {
	out := make([]string, 0, len(accounts))
	for _, a := range accounts {
		out = append(out, a.key)
	}
	return out
}

// ownersOf returns accounts as owners of tokens.
func ownersOf(accounts []account) []directory.Owner {
	out := make([]directory.Owner, 0, len(accounts))
	for _, a := range accounts {
		out = append(out, directory.Owner{Name: a.name, Key: a.key})
	}
	return out
}
