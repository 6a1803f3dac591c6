package identify_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/store"
)

// startJira returns a fake Jira and Callers that use it.
func startJira(t *testing.T) (*jiratest.Server, *identify.Callers) {
	t.Helper()
	jira := jiratest.New(jiratest.Options{Users: []jiratest.User{
		{Name: "Fred", Key: "K1", Password: "p:w", DisplayName: "Fred F.", Active: true, Groups: []string{"jira-users", "dev"}},
		{Name: "wilma", Key: "K2", Password: "secret", Active: true},
		{Name: "ünal", Key: "K3", Password: "secret", Active: true},
	}})
	return jira, newCallers(t, jira)
}

// newCallers returns Callers that ask a handler in place of Jira.
func newCallers(t *testing.T, handler http.Handler) *identify.Callers {
	return callersOf(t, handler, &store.MemoryRecords{})
}

// callersOf is newCallers with the records of a store.
func callersOf(t *testing.T, handler http.Handler, records store.SharedRecords) *identify.Callers {
	t.Helper()
	c, err := jira.Product.Connect("http://jira.test", jiratest.Transport{Handler: handler})
	if err != nil {
		t.Fatal(err)
	}
	return identify.NewCallers(&jira.Product, c, records, time.Now)
}

// answer answers with JSON.
func answer(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body)
}

// in runs a test with the clock of testing/synctest.
func in(t *testing.T, test func(*testing.T)) { t.Helper(); synctest.Test(t, test) }

func password(name, password string) identify.Credential {
	return identify.Credential{Authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}
}

// session logs in to Jira like a browser and returns the cookie.
func session(t *testing.T, jira http.Handler, name, password string) identify.Credential {
	t.Helper()
	body := fmt.Sprintf(`{"username":%q,"password":%q}`, name, password)
	w := httptest.NewRecorder()
	jira.ServeHTTP(w, httptest.NewRequest("POST", "/rest/auth/1/session", strings.NewReader(body)))
	for _, c := range w.Result().Cookies() {
		if c.Name == "JSESSIONID" {
			return identify.Credential{Cookie: "lb=node1; JSESSIONID=" + c.Value}
		}
	}
	t.Fatalf("login failed: %d", w.Code)
	return identify.Credential{}
}

func TestIdentify(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		fred := session(t, jira, "fred", "p:w")
		jira.Reset()
		want := directory.User{Key: "K1", Name: "Fred", DisplayName: "Fred F.", Active: true, Asked: time.Now(),
			Groups: directory.Groups{Known: true, Names: []string{"jira-users", "dev"}}}
		both := func(a, b identify.Credential) identify.Credential {
			return identify.Credential{Cookie: a.Cookie, Authorization: b.Authorization}
		}
		dead := identify.Credential{Cookie: "JSESSIONID=dead"}
		for _, tt := range []struct {
			name       string
			credential identify.Credential
			err        error
			requests   int
		}{
			{"nothing", identify.Credential{}, directory.ErrNotLoggedIn, 0},
			{"cookie", fred, nil, 1},
			{"cookie again", fred, nil, 0},
			{"password", password("fred", "p:w"), nil, 1},
			{"password again", password("fred", "p:w"), nil, 0},
			{"name in another case", password("FRED", "p:w"), nil, 1},
			{"cookie and password of one user", both(fred, password("fred", "p:w")), nil, 0},
			{"cookie, and the name of another user", both(fred, password("wilma", "secret")), directory.ErrNotLoggedIn, 0},
			{"dead cookie", dead, directory.ErrNotLoggedIn, 1},
			{"dead cookie again", dead, directory.ErrNotLoggedIn, 0},
			{"dead cookie and password", both(dead, password("fred", "p:w")), nil, 0},
			{"wrong password", password("wilma", "x"), directory.ErrNotLoggedIn, 1},
			{"wrong password again", password("wilma", "x"), directory.ErrNotLoggedIn, 0},
			{"native token", identify.Credential{Authorization: "Bearer x"}, directory.ErrNotLoggedIn, 0},
			{"no base64", identify.Credential{Authorization: "Basic ?"}, directory.ErrNotLoggedIn, 0},
			{"no colon", identify.Credential{Authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte("fred"))}, directory.ErrNotLoggedIn, 0},
			{"API token as password", password("fred", "tgate_x"), directory.ErrNotLoggedIn, 0},
			{"API token as name", password("tgadm_x", ""), directory.ErrNotLoggedIn, 0},
			{"name that cannot own tokens", password("ünal", "secret"), directory.ErrUnusableName, 0},
			{"no name", password("", "p:w"), directory.ErrUnusableName, 0},
			{"cookie with a line end", identify.Credential{Cookie: "a=b\r\nX-Forwarded-User: fred"}, directory.ErrNotLoggedIn, 0},
			{"cookie too long", identify.Credential{Cookie: "a=" + strings.Repeat("b", 17<<10)}, directory.ErrNotLoggedIn, 0},
			{"password too long", password("fred", strings.Repeat("b", 5<<10)), directory.ErrNotLoggedIn, 0},
		} {
			before := jira.Total()
			got, _, err := callers.Identify(t.Context(), tt.credential)
			if !errors.Is(err, tt.err) || jira.Total()-before != tt.requests {
				t.Errorf("%s: %v after %d requests, want %v after %d", tt.name, err, jira.Total()-before, tt.err, tt.requests)
			}
			if tt.err == nil {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", tt.name, diff)
				}
			} else if diff := cmp.Diff(directory.User{}, got); diff != "" {
				t.Errorf("%s: a user was returned with an error:\n%s", tt.name, diff)
			}
		}
	})
}

// A cookie and a password with the same text are two credentials.
func TestCookieThatLooksLikeAPassword(t *testing.T) {
	in(t, func(t *testing.T) {
		_, callers := startJira(t)
		c := password("fred", "p:w")
		if _, _, err := callers.Identify(t.Context(), identify.Credential{Cookie: c.Authorization[len("Basic "):]}); !errors.Is(err, directory.ErrNotLoggedIn) {
			t.Errorf("as a cookie: %v", err)
		}
		if _, _, err := callers.Identify(t.Context(), c); err != nil {
			t.Errorf("as a password: %v", err)
		}
	})
}

// The password is sent only if the cookie identifies nobody.
func TestPasswordIsSentOnlyIfCookieFails(t *testing.T) {
	in(t, func(t *testing.T) {
		requests := 0
		callers := newCallers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++
			if r.Header.Get("Cookie") != "" {
				w.WriteHeader(500)
				return
			}
			answer(w, `{"key":"K1","name":"fred","active":true}`)
		}))
		c := password("fred", "p:w")
		c.Cookie = "JSESSIONID=x"
		if u, _, err := callers.Identify(t.Context(), c); !errors.Is(err, directory.ErrUnavailable) || requests != 1 {
			t.Errorf("%+v, %v after %d requests; want ErrUnavailable after 1", u, err, requests)
		}
	})
}

// Only the necessary headers go to Jira.
func TestHeadersSentToJira(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		fred := session(t, jira, "fred", "p:w")
		jira.Reset()
		for _, c := range []identify.Credential{fred, password("fred", "p:w")} {
			if _, _, err := callers.Identify(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			seen, _ := jira.Last()
			want := http.Header{"Accept": {"application/json"}, "User-Agent": {"tokengate"}}
			if c.Cookie != "" {
				want.Set("Cookie", c.Cookie)
			} else {
				want.Set("Authorization", c.Authorization)
			}
			if diff := cmp.Diff(want, seen.Header); diff != "" || seen.RequestURI != "/rest/api/2/myself?expand=groups" {
				t.Errorf("%s (-want +got):\n%s", seen.RequestURI, diff)
			}
		}
	})
}

func TestAnswersExpire(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		fred, wilma := session(t, jira, "fred", "p:w"), session(t, jira, "wilma", "secret")
		for _, c := range []identify.Credential{fred, wilma} {
			if _, _, err := callers.Identify(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		if err := jira.Deactivate("fred"); err != nil {
			t.Fatal(err)
		}
		logout := httptest.NewRequest("DELETE", "/rest/auth/1/session", nil)
		logout.Header.Set("Cookie", wilma.Cookie)
		jira.ServeHTTP(httptest.NewRecorder(), logout)

		time.Sleep(30*time.Second - time.Nanosecond)
		if _, _, err := callers.Identify(t.Context(), fred); err != nil {
			t.Errorf("just before: %v", err)
		}
		time.Sleep(time.Nanosecond)
		for _, c := range []identify.Credential{fred, wilma} {
			if u, _, err := callers.Identify(t.Context(), c); !errors.Is(err, directory.ErrNotLoggedIn) {
				t.Errorf("%+v, %v; want ErrNotLoggedIn", u, err)
			}
		}
	})
}

// An answer's lifetime begins when Jira is asked, however long the answer
// takes.
func TestSlowAnswerExpires(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		fred := session(t, jira, "fred", "p:w")
		jira.Reset()
		defer jira.Fail("", jiratest.Slow(5*time.Second)).Stop()
		if _, _, err := callers.Identify(t.Context(), fred); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Second)
		if _, _, err := callers.Identify(t.Context(), fred); err != nil || jira.Total() != 2 {
			t.Errorf("%v, %d requests; want one more", err, jira.Total())
		}
	})
}

func TestConcurrentIdentify(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		fred := session(t, jira, "fred", "p:w")
		jira.Reset()
		slow := jira.Fail("", jiratest.Slow(time.Second))
		defer slow.Stop()
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { // the first one leaves
			if _, _, err := callers.Identify(ctx, fred); !errors.Is(err, directory.ErrUnavailable) {
				t.Errorf("the caller who left: %v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			all.Go(func() {
				u, _, err := callers.Identify(t.Context(), fred)
				if err != nil || u.Name != "Fred" {
					t.Errorf("%+v, %v", u, err)
					return
				}
				u.Groups.Names[0] = "mine" // a change must not affect the others
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if n := jira.Total(); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		if u, _, err := callers.Identify(t.Context(), fred); err != nil || u.Groups.Names[0] != "jira-users" {
			t.Errorf("%+v, %v", u, err)
		}
		if got := callers.Stats(); got.Asked != 1 || got.Kept != 1 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestIdentifyDuringOutage(t *testing.T) {
	for name, fault := range map[string]jiratest.Fault{
		"error":      jiratest.Status(500),
		"down":       jiratest.Status(503),
		"forbidden":  jiratest.Status(403),
		"not found":  jiratest.Status(404),
		"redirect":   jiratest.Status(302),
		"login page": jiratest.LoginPage(),
		"nonsense":   jiratest.Nonsense(),
		"no answer":  jiratest.Hang(),
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				jira, callers := startJira(t)
				fred := session(t, jira, "fred", "p:w")
				jira.Reset()
				failure := jira.Fail("", fault)
				begun := time.Now()
				for _, c := range []identify.Credential{fred, fred, password("fred", "p:w"), password("fred", "p:w")} {
					if u, _, err := callers.Identify(t.Context(), c); !errors.Is(err, directory.ErrUnavailable) {
						t.Errorf("%+v, %v; want ErrUnavailable", u, err)
					}
				}
				if took := time.Since(begun); took > 21*time.Second {
					t.Errorf("it took %s", took)
				}
				if n := jira.Total(); n != 2 {
					t.Errorf("%d requests, want 2, because failures are cached", n)
				}
				failure.Stop()
				time.Sleep(2 * time.Second)
				for _, c := range []identify.Credential{fred, password("fred", "p:w")} {
					if _, _, err := callers.Identify(t.Context(), c); err != nil {
						t.Errorf("after the outage: %v", err)
					}
				}
			})
		})
	}
}

func TestPasswordOfAnotherUser(t *testing.T) {
	in(t, func(t *testing.T) {
		callers := newCallers(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, `{"key":"K1","name":"fred","active":true}`)
		}))
		if u, _, err := callers.Identify(t.Context(), password("fred@example.com", "x")); !errors.Is(err, directory.ErrNotLoggedIn) {
			t.Errorf("under another name: %+v, %v", u, err)
		}
	})
}

// Concurrent requests are limited, and a slot is freed when Jira does not
// answer.
func TestConcurrencyLimit(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration // 0 means forever
		asked uint64
	}{
		"slow": {450 * time.Millisecond, 5 * 32}, "silent": {0, 32}, // no answer at the very end of the wait
	} {
		in(t, func(t *testing.T) {
			atOnce, most := 0, 0
			var mu sync.Mutex
			callers := newCallers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				atOnce++
				most = max(most, atOnce)
				mu.Unlock()
				if c.takes == 0 {
					<-r.Context().Done()
				}
				time.Sleep(c.takes)
				mu.Lock()
				atOnce--
				mu.Unlock()
				w.WriteHeader(401)
			}))
			var all sync.WaitGroup
			for i := range 1000 {
				all.Go(func() {
					_, _, err := callers.Identify(t.Context(), identify.Credential{Cookie: fmt.Sprint("a=", i)})
					if !errors.Is(err, directory.ErrNotLoggedIn) && !errors.Is(err, directory.ErrUnavailable) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			got := callers.Stats()
			if got.Asked != c.asked || got.Dropped != 1000-c.asked || most != 32 {
				t.Errorf("%s: %+v, %d concurrent requests", name, got, most)
			}
			if _, _, err := callers.Identify(t.Context(), identify.Credential{Cookie: "b=1"}); c.takes > 0 && !errors.Is(err, directory.ErrNotLoggedIn) || atOnce != 0 {
				t.Errorf("%s: one more: %v, %d in flight", name, err, atOnce)
			}
		})
	}
}

// Unauthenticated clients, however many, don't delay known users, and hardly
// delay users who have just logged in: those from other providers' networks
// come next, and of those from the flood's own network as many as Jira can
// handle.
func TestUnknownCredentialsDelayNoKnownUser(t *testing.T) {
	for name, c := range map[string]struct {
		every   time.Duration // between two unauthenticated clients
		address func(n int) string
		fresh   string        // where users who have just logged in come from
		within  time.Duration // all of these are answered within this time; 0 means as many as possible
	}{
		"500 a second, within capacity":             {2 * time.Millisecond, everywhere, "2001:db8::7", 100 * time.Millisecond},
		"1000 a second from one provider":           {time.Millisecond, fromProvider, "192.0.2.7", 100 * time.Millisecond},
		"1000 a second from one address":            {time.Millisecond, func(int) string { return "192.0.2.9" }, "192.0.2.7", 100 * time.Millisecond},
		"1000 a second from the same provider":      {time.Millisecond, fromProvider, "2001:db8:aaaa::7", 100 * time.Millisecond},
		"1000 a second from everywhere, LIFO alone": {time.Millisecond, everywhere, "2001:db8::7", 0},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				jira, callers := startJira(t)
				known := []identify.Credential{session(t, jira, "fred", "p:w"), password("wilma", "secret")}
				for _, k := range known {
					if _, _, err := callers.Identify(t.Context(), k); err != nil {
						t.Fatal(err)
					}
				}
				slow := jira.Fail("", jiratest.Slow(50*time.Millisecond))
				defer slow.Stop()
				var all sync.WaitGroup
				ctx, cancel := context.WithCancel(t.Context())
				all.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						all.Go(func() {
							_, _, err := callers.Identify(t.Context(), identify.Credential{Cookie: fmt.Sprint("a=", n), Client: netip.MustParseAddr(c.address(n))})
							if err == nil {
								t.Error("an unauthenticated client was identified")
							}
						})
						time.Sleep(c.every)
					}
				})
				answered, late, logins, patience := 0, 0, 6, 2*time.Second
				if c.within == 0 {
					// Beyond Jira's capacity about a third is answered, by
					// chance: with this many, a tenth is certain. The others
					// wait in vain.
					logins, patience = 20, 150*time.Millisecond
				}
				for n := range logins {
					time.Sleep(80*time.Millisecond + time.Duration(n)*7*time.Millisecond)
					for _, k := range known {
						begun := time.Now()
						if _, _, err := callers.Identify(t.Context(), k); err != nil || time.Since(begun) > 0 {
							t.Errorf("a known user: %v after %s", err, time.Since(begun))
						}
					}
					fresh := session(t, jira, "fred", "p:w")
					fresh.Client = netip.MustParseAddr(c.fresh)
					begun := time.Now()
					ctx, leave := context.WithTimeout(t.Context(), patience)
					_, _, err := callers.Identify(ctx, fresh)
					leave()
					switch {
					case err != nil && !errors.Is(err, directory.ErrUnavailable):
						t.Errorf("a user who has just logged in: %v", err)
					case err == nil:
						answered++
						if c.within > 0 && time.Since(begun) > c.within {
							late++
						}
					}
				}
				cancel()
				all.Wait()
				if c.within > 0 && (answered != logins || late > 0) || c.within == 0 && answered < logins/10 {
					t.Errorf("of %d users who have just logged in %d were identified, %d of them late", logins, answered, late)
				}
				time.Sleep(time.Minute)
			})
		})
	}
	if !errors.Is(directory.ErrBusy, directory.ErrUnavailable) {
		t.Error("ErrBusy is not ErrUnavailable")
	}
}

// everywhere returns an address in a new network of a new provider.
func everywhere(n int) string { return fmt.Sprintf("2a%02x:%x:%x::1", n%251, n%65521, n%65519) }

// fromProvider returns an address in a new subscriber network of one provider.
func fromProvider(n int) string { return fmt.Sprintf("2001:db8:%x:%x::1", n%16, n%65521) }

// Answers to unauthenticated clients don't evict those about known users, and
// Jira is asked again before those expire, so that known users never wait.
func TestKnownSessionsNeverWait(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		fred := session(t, jira, "fred", "p:w")
		ask := func() {
			t.Helper()
			begun := time.Now()
			if u, _, err := callers.Identify(t.Context(), fred); err != nil || u.Name != "Fred" || time.Since(begun) > 0 {
				t.Errorf("%+v, %v after %s", u, err, time.Since(begun))
			}
		}
		ask()
		slow := jira.Fail("", jiratest.Slow(time.Second))
		jira.Reset()
		for range 4 * 60 { // in four minutes
			time.Sleep(time.Second)
			ask()
		}
		if n := jira.Total(); n < 14 || n > 16 {
			t.Errorf("Jira was asked %d times in four minutes", n)
		}
		slow.Stop()
		time.Sleep(10 * time.Second)
		for n := range 3000 {
			_, _, _ = callers.Identify(t.Context(), identify.Credential{Cookie: fmt.Sprint("a=", n)})
		}
		jira.Reset()
		if ask(); jira.Total() != 0 {
			t.Error("answers to unauthenticated clients evicted this one")
		}
		// A user who logs out is unknown within the cache's lifetime, or
		// earlier if the session was in use.
		logout := httptest.NewRequest("DELETE", "/rest/auth/1/session", nil)
		logout.Header.Set("Cookie", fred.Cookie)
		jira.ServeHTTP(httptest.NewRecorder(), logout)
		time.Sleep(16 * time.Second)
		ask()
		synctest.Wait()
		if u, _, err := callers.Identify(t.Context(), fred); !errors.Is(err, directory.ErrNotLoggedIn) {
			t.Errorf("after the logout: %+v, %v", u, err)
		}
	})
}

// While Jira does not answer, and afterwards, a cached answer keeps its
// lifetime.
func TestKnownSessionsDuringOutage(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		fred := session(t, jira, "fred", "p:w")
		if _, _, err := callers.Identify(t.Context(), fred); err != nil {
			t.Fatal(err)
		}
		failure := jira.Fail("", jiratest.Status(503))
		for range 29 {
			time.Sleep(time.Second)
			if _, _, err := callers.Identify(t.Context(), fred); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if _, _, err := callers.Identify(t.Context(), fred); !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("after the answer expired: %v", err)
		}
		failure.Stop()
		time.Sleep(2 * time.Second)
		if _, _, err := callers.Identify(t.Context(), fred); err != nil {
			t.Errorf("when Jira is back: %v", err)
		}
	})
}

// Failures of a name don't affect other names.
func TestFailuresAreCountedByName(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		for n := range 2000 {
			name := fmt.Sprint("unknown", n%500)
			_, _, err := callers.Identify(t.Context(), password(name, fmt.Sprint(n)))
			if want := n < 1000; errors.Is(err, directory.ErrNotLoggedIn) != want || errors.Is(err, identify.ErrTooManyFailures) == want {
				t.Fatalf("attempt %d: %v", n, err)
			}
		}
		for range 2 {
			_, _, _ = callers.Identify(t.Context(), password("wilma", fmt.Sprint(jira.Total())))
		}
		if _, _, err := callers.Identify(t.Context(), password("wilma", "secret")); !errors.Is(err, identify.ErrTooManyFailures) {
			t.Errorf("wilma: %v", err)
		}
		if _, _, err := callers.Identify(t.Context(), password("fred", "p:w")); err != nil {
			t.Errorf("fred: %v", err)
		}
	})
}

func TestSecretsAreNotPrinted(t *testing.T) {
	in(t, func(t *testing.T) {
		jira, callers := startJira(t)
		secret := "s3cr3t"
		c := password("fred", secret)
		c.Cookie = "JSESSIONID=" + secret
		var texts []string
		check := func() {
			_, _, err := callers.Identify(t.Context(), c)
			texts = append(texts, err.Error())
			time.Sleep(time.Minute)
		}
		check()
		for _, fault := range []jiratest.Fault{jiratest.Status(500), jiratest.Status(302), jiratest.LoginPage(), jiratest.Hang()} {
			failure := jira.Fail("", fault)
			check()
			failure.Stop()
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("caller", "credential", c)
		texts = append(texts, log.String(), fmt.Sprint(c), fmt.Sprintf("%+v %#v %s %q %x", c, c, c, c, c), fmt.Sprintf("%v", &c))
		for _, text := range texts {
			for _, part := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))[:6], c.Authorization[6:], fmt.Sprintf("%x", secret)} {
				if strings.Contains(text, part) {
					t.Errorf("%q contains a secret", text)
				}
			}
		}
	})
}

// TestInventedPasswords sends invented passwords, which take space in the store, faster than they are passed on.
func TestInventedPasswords(t *testing.T) {
	in(t, func(t *testing.T) {
		callers := newCallers(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }))
		var all sync.WaitGroup
		const names, burst, second = 1000, 200, 20
		began := time.Now()
		for i := range names {
			all.Go(func() {
				_, _, err := callers.Identify(t.Context(), password(fmt.Sprint("user-", i), "wrong"))
				if !errors.Is(err, directory.ErrBasicRefused) && !errors.Is(err, directory.ErrNotLoggedIn) && !errors.Is(err, directory.ErrUnavailable) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		took := time.Since(began)
		most := burst + second*uint64(took/time.Second+1)
		if asked := callers.Stats().Asked; asked < burst || asked > most || took > 5*time.Second {
			t.Errorf("%d of %d were passed on in %v, want from %d to %d in a few seconds", asked, names, took, burst, most)
		}
	})
}
