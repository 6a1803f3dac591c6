package identify_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/store"
)

func TestNoUserIsLockedOut(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				name := "fred"
				if i%2 == 0 {
					name = "FRED"
				}
				_, _, err := callers.Identify(t.Context(), password(name, fmt.Sprint("wrong", i)))
				if !errors.Is(err, directory.ErrNotLoggedIn) && !errors.Is(err, identify.ErrTooManyFailures) {
					t.Errorf("%v", err)
				}
			})
		}
		all.Wait()
		if n := jira.Failures("fred"); n != 2 {
			t.Errorf("Jira counts %d failures, want 2", n)
		}
		_, _, err := callers.Identify(t.Context(), password("fred", "p:w"))
		if !errors.Is(err, identify.ErrTooManyFailures) || !strings.Contains(err.Error(), "log in with the browser") {
			t.Errorf("the right password after the failures: %v", err)
		}
		if got := callers.Stats().Blocked; got != 49 {
			t.Errorf("%d blocked, want 49", got)
		}
		// Other users, and a session of the same user, are not affected.
		if _, _, err := callers.Identify(t.Context(), password("wilma", "secret")); err != nil {
			t.Errorf("wilma: %v", err)
		}
		time.Sleep(7*24*time.Hour - time.Second)
		if _, _, err := callers.Identify(t.Context(), password("fred", "p:w")); !errors.Is(err, identify.ErrTooManyFailures) {
			t.Errorf("just before seven days have passed: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, _, err := callers.Identify(t.Context(), password("fred", "p:w")); err != nil {
			t.Errorf("seven days later: %v", err)
		}
	})
}

// Only a login allows a name two more failures, and only one after the
// failures.
func TestLoginAfterFailures(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		ask := func(what string, c identify.Credential, want error) {
			t.Helper()
			if _, _, err := callers.Identify(t.Context(), c); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
			time.Sleep(time.Hour)
		}
		before := session(t, jira, "fred", "p:w")
		wilma := session(t, jira, "wilma", "secret")
		ask("a session", before, nil)
		for i := range 10 {
			want := directory.ErrNotLoggedIn
			if i >= 2 {
				want = identify.ErrTooManyFailures
			}
			ask("a wrong password", password("fred", fmt.Sprint("wrong", i)), want)
			ask("the session that was there before", before, nil)
			ask("another user's session", wilma, nil)
			ask("no session", identify.Credential{Cookie: fmt.Sprint("JSESSIONID=", i)}, directory.ErrNotLoggedIn)
		}
		if n := jira.Failures("fred"); n != 2 {
			t.Errorf("Jira counts %d failures, want 2", n)
		}
		ask("a new session", session(t, jira, "fred", "p:w"), nil)
		for i := range 3 {
			want := directory.ErrNotLoggedIn
			if i >= 2 {
				want = identify.ErrTooManyFailures
			}
			ask("a wrong password after it", password("fred", fmt.Sprint("again", i)), want)
		}
		if n := jira.Failures("fred"); n != 2 {
			t.Errorf("after a login Jira counts %d failures, want 2", n)
		}
	})
}

// Attempts in flight while a session is seen may fail after its login.
func TestLoginKeepsAttemptsInFlightCounted(t *testing.T) {
	in(t, func(t *testing.T) {
		var wrong atomic.Int32
		callers := newCallers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Cookie") != "" {
				answer(w, `{"key":"K1","name":"fred","active":true}`)
				return
			}
			wrong.Add(1)
			time.Sleep(5 * time.Second)
			w.WriteHeader(401)
		}))
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() { _, _, _ = callers.Identify(t.Context(), password("fred", fmt.Sprint(i))) })
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if _, _, err := callers.Identify(t.Context(), identify.Credential{Cookie: "a=b"}); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if _, _, err := callers.Identify(t.Context(), password("fred", "3")); !errors.Is(err, identify.ErrTooManyFailures) || wrong.Load() != 2 {
			t.Errorf("%v, %d wrong passwords; want ErrTooManyFailures and 2", err, wrong.Load())
		}
	})
}

// A successful login resets Jira's count and the lockout's.
func TestSuccessResetsFailures(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		for i := range 20 {
			if _, _, err := callers.Identify(t.Context(), password("fred", fmt.Sprint("wrong", i))); !errors.Is(err, directory.ErrNotLoggedIn) {
				t.Fatalf("wrong password %d: %v", i, err)
			}
			time.Sleep(time.Minute)
			if _, _, err := callers.Identify(t.Context(), password("fred", "p:w")); err != nil {
				t.Fatalf("right password %d: %v", i, err)
			}
			if n := jira.Failures("fred"); n != 0 {
				t.Fatalf("%d failures", n)
			}
		}
	})
}

// The right password is answered first, while a wrong one that Jira may count
// afterwards is in flight.
func TestSuccessKeepsAttemptsInFlightCounted(t *testing.T) {
	in(t, func(t *testing.T) {
		wrong := 0
		callers := newCallers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, pw, _ := r.BasicAuth()
			if pw == "right" {
				answer(w, `{"key":"K1","name":"fred","active":true}`)
				return
			}
			wrong++
			time.Sleep(time.Second)
			w.WriteHeader(401)
		}))
		ask := func(pw string) error {
			_, _, err := callers.Identify(t.Context(), password("fred", pw))
			return err
		}
		var all sync.WaitGroup
		all.Go(func() { _ = ask("wrong1") })
		synctest.Wait()
		if err := ask("right"); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			all.Go(func() { _ = ask(fmt.Sprint("more", i)) })
		}
		all.Wait()
		if wrong != 2 {
			t.Errorf("%d wrong passwords went to Jira, want 2", wrong)
		}
	})
}

func TestPasswordsDisabledInJira(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		fred := session(t, jira, "fred", "p:w")
		jira.RefuseBasic(true)
		for i := range 10 {
			_, _, err := callers.Identify(t.Context(), password("fred", fmt.Sprint(i)))
			if !errors.Is(err, directory.ErrBasicRefused) || !strings.Contains(err.Error(), "log in with the browser and use the API tokens page") {
				t.Errorf("%v", err)
			}
		}
		both := fred
		both.Authorization = password("fred", "p:w").Authorization
		for _, c := range []identify.Credential{fred, both} {
			if u, _, err := callers.Identify(t.Context(), c); err != nil || u.Name != "Fred" {
				t.Errorf("with a session: %+v, %v", u, err)
			}
		}
	})
}

func TestCaptcha(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		for range 3 { // not through Callers
			r := httptest.NewRequest("GET", "/rest/api/2/myself", nil)
			r.SetBasicAuth("fred", "x")
			jira.ServeHTTP(httptest.NewRecorder(), r)
		}
		if _, _, err := callers.Identify(t.Context(), password("fred", "p:w")); !errors.Is(err, directory.ErrCaptcha) {
			t.Errorf("%v, want ErrCaptcha", err)
		}
	})
}

// Without a response it is unknown whether Jira checked the password.
func TestNoAnswerCountsAsFailure(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		failure := jira.Fail("", jiratest.Status(502))
		for i, want := range []error{directory.ErrUnavailable, directory.ErrUnavailable, identify.ErrTooManyFailures} {
			if _, _, err := callers.Identify(t.Context(), password("fred", fmt.Sprint(i))); !errors.Is(err, want) {
				t.Errorf("%d: %v, want %v", i, err, want)
			}
		}
		failure.Stop()
	})
}

// A recently accepted password is accepted whatever others try, and a cookie
// changed by a load balancer is no login.
func TestRecentPasswordsAreExempt(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		right := password("fred", "p:w")
		if _, _, err := callers.Identify(t.Context(), right); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			_, _, _ = callers.Identify(t.Context(), password("fred", fmt.Sprint("wrong", i)))
		}
		time.Sleep(time.Minute) // longer than any answer is cached
		if _, _, err := callers.Identify(t.Context(), right); err != nil {
			t.Errorf("the right password: %v", err)
		}
		if n := jira.Failures("fred"); n != 0 {
			t.Errorf("Jira counts %d failures, want none after a right one", n)
		}
	})
}

// Servers of one store count together, and only a login that is new for all of them resets the count.
func TestServersCountTogether(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, _ := startJira(t)
		var records store.MemoryRecords
		a, b := callersOf(t, jira, &records), callersOf(t, jira, &records)
		ask := func(what string, at *identify.Callers, c identify.Credential, want error) {
			t.Helper()
			if _, _, err := at.Identify(t.Context(), c); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
			time.Sleep(time.Minute)
		}
		old := session(t, jira, "fred", "p:w")
		ask("a session", a, old, nil)
		ask("the first wrong password", a, password("fred", "1"), directory.ErrNotLoggedIn)
		ask("the second one at another server", b, password("FRED", "2"), directory.ErrNotLoggedIn)
		for _, at := range []*identify.Callers{a, b} {
			ask("the third one", at, password("fred", "3"), identify.ErrTooManyFailures)
		}
		ask("the old session at the other server", b, old, nil)
		for _, at := range []*identify.Callers{a, b} {
			ask("the right password", at, password("fred", "p:w"), identify.ErrTooManyFailures)
		}
		if n := jira.Failures("fred"); n != 2 {
			t.Errorf("Jira counts %d failures, want 2", n)
		}
		ask("a new session", b, session(t, jira, "fred", "p:w"), nil)
		ask("a wrong password after it", a, password("fred", "4"), directory.ErrNotLoggedIn)
		ask("the right password", b, password("fred", "p:w"), nil)
		ask("the first wrong password after that", a, password("fred", "5"), directory.ErrNotLoggedIn)
		ask("the second one", b, password("fred", "6"), directory.ErrNotLoggedIn)
		ask("the right password where it was accepted", b, password("fred", "p:w"), nil)
		if n := jira.Failures("fred"); n != 0 {
			t.Errorf("Jira counts %d failures, want none", n)
		}
	})
}

// records are shared records that may not answer.
type records struct {
	store.MemoryRecords
	fault atomic.Value // a fault
}

// fault is what happens instead of an answer.
type fault string

const (
	none  fault = "none"
	fails fault = "fails"
	hangs fault = "hangs"
	loses fault = "writes without an answer"
)

func (r *records) UpdateShared(ctx context.Context, name string, change store.SharedFunc) error {
	var err error
	switch r.fault.Load() {
	case fails:
		return errors.New("no answer")
	case hangs:
		<-ctx.Done()
		return ctx.Err()
	case loses:
		err = errors.New("no answer")
	}
	return cmp.Or(r.MemoryRecords.UpdateShared(ctx, name, change), err)
}

// Without an answer of the store, only recently accepted passwords are passed on, no session resets a
// count, and a failure is counted later.
func TestStoreDoesNotAnswer(t *testing.T) {
	for fault, failures := range map[fault]map[string]int{
		fails: {"fred": 1, "wilma": 1}, hangs: {"fred": 1, "wilma": 1}, loses: {"fred": 1, "wilma": 2},
	} {
		in(t, func(t *testing.T) {
			jira, _ := startJira(t)
			shared := &records{}
			callers := callersOf(t, jira, shared)
			ask := func(what string, c identify.Credential, want error) {
				t.Helper()
				begun := time.Now()
				if _, _, err := callers.Identify(t.Context(), c); !errors.Is(err, want) {
					t.Errorf("%s: %s: %v, want %v", fault, what, err, want)
				}
				if took := time.Since(begun); took > 3*time.Second {
					t.Errorf("%s: %s: it took %v", fault, what, took)
				}
				time.Sleep(time.Minute) // longer than anything is tried again
			}
			ask("a right password", password("wilma", "secret"), nil)
			ask("a wrong password", password("fred", "1"), directory.ErrNotLoggedIn)

			shared.fault.Store(fault)
			asked := jira.Total()
			ask("an unknown password", password("fred", "p:w"), directory.ErrUnavailable)
			if jira.Total() != asked {
				t.Error("a password was passed on without a count")
			}
			ask("a known one", password("wilma", "secret"), nil)
			ask("a new session", session(t, jira, "fred", "p:w"), nil)
			jira.Put(jiratest.User{Name: "wilma", Key: "K2", Password: "changed", Active: true})
			if _, _, err := callers.Identify(t.Context(), password("wilma", "secret")); !errors.Is(err, directory.ErrNotLoggedIn) {
				t.Errorf("%s: a known one that has become wrong: %v", fault, err)
			}
			shared.fault.Store(none)
			time.Sleep(time.Minute)
			for name, failures := range failures {
				for n := failures; n < 2; n++ {
					ask(name+"'s next wrong password", password(name, fmt.Sprint("again", n)), directory.ErrNotLoggedIn)
				}
				ask(name+"'s third wrong password", password(name, "more"), identify.ErrTooManyFailures)
			}
		})
	}
}

// While the store hangs, requests with passwords leave room for those with sessions.
func TestHangingStoreHoldsNoSlot(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, _ := startJira(t)
		shared := &records{}
		callers := callersOf(t, jira, shared)
		if _, _, err := callers.Identify(t.Context(), session(t, jira, "wilma", "secret")); err != nil {
			t.Fatal(err)
		}
		shared.fault.Store(hangs)
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				_, _, err := callers.Identify(t.Context(), password(fmt.Sprint("user", i), "x"))
				if !errors.Is(err, directory.ErrUnavailable) {
					t.Errorf("a password: %v", err)
				}
			})
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if _, _, err := callers.Identify(t.Context(), session(t, jira, "fred", "p:w")); err != nil {
			t.Errorf("a session: %v", err)
		}
		all.Wait()
		time.Sleep(time.Minute) // the servers stop trying again
	})
}
