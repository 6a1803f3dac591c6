package jira_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
)

func TestLookup(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true}, account{"K2", "wilma", true}, account{"K3", "barney", false})
		r.owners = []directory.Owner{{Name: "fred", Key: "K1"}}
		r.jira.groups["All"] = []string{"K2"}
		if _, err := r.Lookup(t.Context(), "wilma"); err != nil {
			t.Errorf("without a snapshot: %v", err)
		}
		r.refresh(t)
		r.jira.taken()

		if u, err := r.Lookup(t.Context(), "FRED"); err != nil || u.Name != "fred" {
			t.Errorf("%+v, %v", u, err)
		}
		if n := len(r.jira.taken()); n != 0 {
			t.Errorf("%d requests for a user in the snapshot", n)
		}
		// All callers share one request.
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if u, err := r.Lookup(t.Context(), "wilma"); err != nil || u.Key != "K2" || !u.Groups.Has("all") {
					t.Errorf("%+v, %v", u, err)
				}
			})
		}
		all.Wait()
		if n := len(r.jira.taken()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		// New tokens of the user work immediately, and still do if the next
		// refresh can't ask for her.
		if _, err := r.owner("wilma", "K2"); err != nil {
			t.Errorf("just looked up: %v", err)
		}
		r.owners = append(r.owners, directory.Owner{Name: "wilma", Key: "K2"})
		r.jira.set(func() { r.jira.fault = brokenUser("K2", "wilma") })
		time.Sleep(time.Second)
		r.refresh(t)
		if _, err := r.owner("wilma", "K2"); err != nil {
			t.Errorf("looked up before the refresh: %v", err)
		}
		for name, want := range map[string]error{
			"barney": directory.ErrInactive,
			"betty":  directory.ErrUnknownUser,
			"wilma":  directory.ErrUnavailable, // the answer is older than this snapshot
			"a:b":    directory.ErrUnusableName,
		} {
			if _, err := r.Lookup(t.Context(), name); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		r.jira.set(func() {
			r.jira.fault = func(_ http.ResponseWriter, req *http.Request) bool { <-req.Context().Done(); return true }
		})
		begun := time.Now()
		if _, err := r.Lookup(t.Context(), "dino"); !errors.Is(err, directory.ErrUnavailable) || time.Since(begun) > 6*time.Second {
			t.Errorf("no answer: %v after %s", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if _, err := r.Lookup(ctx, "dino"); !errors.Is(err, directory.ErrUnavailable) || time.Since(begun) > time.Second {
			t.Errorf("cancelled: %v after %s", err, time.Since(begun))
		}
		time.Sleep(time.Minute)
	})
}

// Lookups take nothing from a refresh's rate, and are sent one by one.
func TestManyLookups(t *testing.T) {
	in(t, func(t *testing.T) {
		staff := activeAccounts(5000) // 102 pages
		r := newRig(t, staff...)
		r.groups, r.jira.groups["staff"] = []string{"staff"}, keys(staff)
		r.refresh(t)
		r.jira.taken()
		var under, most int
		r.jira.fault = func(_ http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path != "/rest/api/2/user" {
				return false
			}
			under++
			most = max(most, under)
			r.jira.mu.Unlock()
			time.Sleep(50 * time.Millisecond)
			r.jira.mu.Lock()
			under--
			return false
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() {
				for ctx.Err() == nil {
					_, _ = r.Lookup(ctx, fmt.Sprintf("unknown%05d", i))
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		time.Sleep(10 * time.Second)
		n := len(r.jira.taken())
		r.jira.mu.Lock()
		if n < 190 || n > 201 || most != 1 {
			t.Errorf("%d lookups within ten seconds, %d concurrent", n, most)
		}
		r.jira.mu.Unlock()
		begun := time.Now()
		r.refresh(t)
		if took := time.Since(begun); took > 11*time.Second {
			t.Errorf("the refresh took %s during the lookups", took)
		}
		cancel()
		all.Wait()
		time.Sleep(time.Minute)
	})
}

// Lookups that Jira does not answer in time are refused, and the next refresh
// waits for none.
func TestLookupsTimeOut(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(300)...)
		r.refresh(t)
		r.jira.fault = func(http.ResponseWriter, *http.Request) bool {
			r.jira.mu.Unlock()
			time.Sleep(200 * time.Millisecond)
			r.jira.mu.Lock()
			return false
		}
		var all sync.WaitGroup
		begun := time.Now()
		for _, a := range r.jira.users {
			all.Go(func() {
				if _, err := r.Lookup(t.Context(), a.name); err != nil && !errors.Is(err, directory.ErrUnavailable) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n, took := len(r.jira.taken()), time.Since(begun); n < 8 || n > 14 || took > 4*time.Second {
			t.Errorf("%d requests within %s", n, took)
		}
		r.owners = ownersOf(r.jira.users[:1])
		begun = time.Now()
		r.refresh(t)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the next refresh waited %s", took)
		}
	})
}

func TestLookupOfARenamedUser(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true})
		r.owners = []directory.Owner{{Name: "fred", Key: "K1"}}
		r.refresh(t)
		r.jira.set(func() { r.jira.users[0].name = "frederick" })
		if u, err := r.Lookup(t.Context(), "frederick"); err != nil || u.Key != "K1" {
			t.Errorf("%+v, %v", u, err)
		}
		if u, ok := r.Snapshot().ByName("fred"); ok {
			t.Errorf("the old name is still %+v", u)
		}
		if u, err := r.owner("fred", "K1"); err != nil || u.Name != "frederick" {
			t.Errorf("owner %+v, %v", u, err)
		}
	})
}

// A user is looked up during a refresh that does not have them.
func TestLookupDuringRefresh(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true}, account{"K2", "wilma", true})
		r.refresh(t)
		r.owners = []directory.Owner{{Name: "fred", Key: "K1"}}
		r.jira.set(func() {
			r.jira.fault = func(_ http.ResponseWriter, req *http.Request) bool {
				if strings.Contains(req.URL.RawQuery, "K1") {
					r.jira.mu.Unlock()
					time.Sleep(3 * time.Second)
					r.jira.mu.Lock()
				}
				return false
			}
		})
		done := make(chan error)
		go func() { done <- r.Refresh(t.Context()) }()
		synctest.Wait()
		if _, err := r.Lookup(t.Context(), "wilma"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if _, err := r.owner("wilma", "K2"); err != nil {
			t.Errorf("after the refresh: %v", err)
		}
	})
}

func TestServiceCredential(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true})
		r.owners = []directory.Owner{{Name: "fred", Key: "K1"}}
		r.refresh(t)
		// The credential changes to a password.
		r.jira.set(func() { r.jira.credential = "Basic c2VydmljZTpwOnc=" })
		write(t, r.file, "service:p:w\r\n")
		r.refresh(t)
		r.jira.taken()

		// A wrong password is sent twice, and then never again.
		write(t, r.file, "service:wrong-secret")
		begun := time.Now()
		for range 200 {
			err := r.Refresh(t.Context())
			if !errors.Is(err, directory.ErrUnavailable) {
				t.Fatalf("wrong password: %v", err)
			}
			_, lookup := r.Lookup(t.Context(), "wilma")
			for _, text := range []string{err.Error(), lookup.Error(), r.Stats().LastError} {
				if strings.Contains(text, "wrong-secret") || strings.Contains(text, "c2VydmljZT") {
					t.Errorf("%q contains the secret", text)
				}
			}
			time.Sleep(every)
		}
		if n := len(r.jira.taken()); n != 2 {
			t.Errorf("a wrong password was sent %d times in %s, want 2", n, time.Since(begun))
		}
		// A new one is tried immediately.
		write(t, r.file, "service:p:w")
		r.refresh(t)
	})
}

// Occasional refusals between good answers don't add up.
func TestRefusalsOfAGoodCredential(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, account{"K1", "fred", true})
		write(t, r.file, "service:p:w")
		r.jira.credential = "Basic c2VydmljZTpwOnc="
		r.owners = ownersOf(r.jira.users)
		for range 5 {
			r.jira.set(func() {
				r.jira.fault = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(401); return true }
			})
			if err := r.Refresh(t.Context()); err == nil {
				t.Error("a refusal caused no error")
			}
			r.jira.set(func() { r.jira.fault = nil })
			r.refresh(t)
		}
	})
}

// Concurrent lookups and a refresh send a wrong password no more often.
func TestRefusedCredentialDuringLookups(t *testing.T) {
	in(t, func(t *testing.T) {
		r := newRig(t, activeAccounts(20)...)
		write(t, r.file, "service:wrong")
		r.owners = ownersOf(r.jira.users)
		r.jira.fault = func(http.ResponseWriter, *http.Request) bool {
			r.jira.mu.Unlock()
			time.Sleep(3 * time.Second)
			r.jira.mu.Lock()
			return false
		}
		var all sync.WaitGroup
		all.Go(func() {
			for range 10 {
				_ = r.Refresh(t.Context())
				time.Sleep(time.Second)
			}
		})
		for range 10 {
			for _, a := range r.jira.users {
				all.Go(func() { _, _ = r.Lookup(t.Context(), a.name) })
			}
			time.Sleep(time.Second)
		}
		all.Wait()
		time.Sleep(time.Minute)
		if n := len(r.jira.taken()); n != 2 {
			t.Errorf("a wrong password was sent %d times, want 2", n)
		}
	})
}

// A refused credential is not used again, whichever request was refused.
func TestRefusedCredentialIsNotRetried(t *testing.T) {
	unauthorized := func(w http.ResponseWriter) { send(w, 401, object{"message": "Client must be authenticated"}) }
	failed := func(w http.ResponseWriter) {
		w.Header().Set("X-Seraph-LoginReason", "AUTHENTICATED_FAILED")
		send(w, 200, object{})
	}
	captcha := func(w http.ResponseWriter) {
		w.Header().Set("X-Authentication-Denied-Reason", "CAPTCHA_CHALLENGE; login-url=http://jira.test/login.jsp")
		w.WriteHeader(403)
	}
	disabled := func(w http.ResponseWriter) {
		send(w, 403, object{"message": "Basic Authentication has been disabled on this instance."})
	}
	for name, tt := range map[string]struct {
		path   string
		answer func(http.ResponseWriter)
		most   int // requests to the path in ten refreshes
	}{
		"group":              {"/rest/api/2/group/member", unauthorized, 2},
		"list":               {"/rest/api/2/user/list", unauthorized, 2},
		"search":             {"/rest/api/2/user/search", unauthorized, 2},
		"user":               {"/rest/api/2/user", unauthorized, 2},
		"status 200":         {"/rest/api/2/user", failed, 2},
		"captcha":            {"/rest/api/2/user", captcha, 2},
		"passwords disabled": {"/rest/api/2/user", disabled, 10},
	} {
		in(t, func(t *testing.T) {
			r := newRig(t, activeAccounts(30)...)
			write(t, r.file, "service:p:w")
			r.jira.searchLimit, r.jira.credential = 1, "Basic c2VydmljZTpwOnc="
			r.owners, r.groups, r.jira.groups["all"] = ownersOf(r.jira.users), []string{"all"}, []string{"JIRAUSER10000"}
			r.jira.fault = func(w http.ResponseWriter, req *http.Request) bool {
				if req.URL.Path == tt.path {
					tt.answer(w)
				}
				return req.URL.Path == tt.path
			}
			for range 10 {
				err := r.Refresh(t.Context())
				if !errors.Is(err, directory.ErrUnavailable) || !strings.Contains(err.Error(), "service credential is refused") {
					t.Errorf("%s: %v", name, err)
				}
			}
			requests := r.jira.taken()
			if n := count(requests, tt.path+"?"); n != tt.most {
				t.Errorf("%s: refused %d times, want %d", name, n, tt.most)
			}
			if last := requests[len(requests)-1]; !strings.HasPrefix(last, tt.path+"?") {
				t.Errorf("%s: %s after it was refused", name, last)
			}
		})
	}
}

func TestBadCredentialFiles(t *testing.T) {
	for name, content := range map[string]string{
		"empty":     "",
		"line ends": "\n\n",
		"two lines": "service:s3cret\nmore-s3cret",
		"no user":   ":s3cret",
		"spaces":    "my s3cret",
		"too long":  strings.Repeat("s3cret", 1000),
	} {
		in(t, func(t *testing.T) {
			r := newRig(t)
			write(t, r.file, content)
			err := r.Refresh(t.Context())
			if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), r.file) {
				t.Errorf("%s: %v", name, err)
			}
			if n := len(r.jira.taken()); n != 0 {
				t.Errorf("%s: %d requests", name, n)
			}
		})
	}
	in(t, func(t *testing.T) {
		r := newRig(t)
		d := directory.New(directory.Options{
			Source: connect(t, r.jira).Source(product.SourceOptions{Credential: filepath.Join(t.TempDir(), "none"),
				Groups: func() []string { return nil }, Now: time.Now}),
			Owners: func() []directory.Owner { return nil }, Publish: func(*directory.Snapshot) {},
			Every: every, StaleAfter: staleAfter, Now: time.Now,
		})
		if err := d.Refresh(t.Context()); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("no file: %v", err)
		}
	})
}
