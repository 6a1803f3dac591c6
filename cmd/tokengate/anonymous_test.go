package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory/jiratest"
)

// A flood of invented cookies from many networks locks no user out; the long tests send
// more.
func TestAnonymousFlood(t *testing.T) {
	got := floodAnonymously(t, 150, 20, 30*time.Millisecond, func(n int) string { return fmt.Sprintf("2001:db8:%x:%x::1", n>>16, n&0xffff) })
	if got.fresh < 19 || got.known == 0 || got.denied > 0 {
		t.Errorf("of 20 users who have just logged in, %d were identified; of %d requests of a known user, %d were refused", got.fresh, got.known, got.denied)
	}
}

// floodResult says how users fared during a flood.
type floodResult struct {
	sent, rate    int           // anonymous requests, and requests a second
	fresh, inTime int           // users just logged in whom page and API identified, and within 2 s
	slowest       time.Duration // of these
	known, denied int           // requests of a known user, and refused ones
	longest       time.Duration // of these
}

// floodAnonymously sends rate requests with invented cookies a second, while users log in
// one after another and a known user continues to work. Jira takes the time slow to
// identify a user.
func floodAnonymously(t *testing.T, rate, logins int, slow time.Duration, address func(n int) string) (got floodResult) {
	t.Helper()
	c := newCompany(t, options{})
	c.do(c.by("alice", "GET", "me", ""), 200, nil)
	failure := c.jira.Fail("/rest/api/2/myself", jiratest.Slow(slow))
	defer failure.Stop()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	client := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256, MaxConnsPerHost: 256},
		CheckRedirect: noRedirects.CheckRedirect,
	}
	defer client.CloseIdleConnections()
	var flood, work sync.WaitGroup
	pages := []string{api + "me", "/plugins/servlet/api-tokens"}
	flood.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for ; ctx.Err() == nil; <-tick.C {
			q := request{path: pages[got.sent%2], from: address(got.sent), header: http.Header{"Cookie": {fmt.Sprintf("JSESSIONID=%032X", got.sent)}}}
			got.sent++
			flood.Go(func() { _, _ = c.try(t.Context(), client, q) })
		}
	})
	work.Go(func() {
		for ctx.Err() == nil {
			asked := time.Now()
			a := c.send(c.by("alice", "GET", "me", ""))
			got.known++
			got.longest = max(got.longest, time.Since(asked))
			if a.status != 200 {
				got.denied++
			}
			time.Sleep(150 * time.Millisecond)
		}
	})
	users := []string{"rita", "vic", "rob", "ada", "nell", "rex"}
	for n := range logins {
		time.Sleep(100 * time.Millisecond)
		name := users[n%len(users)]
		form := "os_username=" + name + "&os_password=" + strings.ReplaceAll(name+"'s password", " ", "+")
		login := c.send(request{method: "POST", path: "/login.jsp", body: strings.NewReader(form), from: fmt.Sprintf("192.0.2.%d", n%250),
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}})
		cookies := (&http.Response{Header: login.header}).Cookies()
		i := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return c.Name == "JSESSIONID" })
		if i < 0 {
			t.Fatalf("%s could not log in: %d", name, login.status)
		}
		asked := time.Now()
		let := 0
		for _, path := range pages {
			if c.send(request{path: path, from: fmt.Sprintf("192.0.2.%d", n%250), header: http.Header{"Cookie": {"JSESSIONID=" + cookies[i].Value}}}).status == 200 {
				let++
			}
		}
		if took := time.Since(asked); let == len(pages) {
			got.fresh++
			got.slowest = max(got.slowest, took)
			if took <= 2*time.Second {
				got.inTime++
			}
		}
	}
	took := time.Since(began)
	cancel()
	work.Wait()
	flood.Wait()
	got.rate = int(float64(got.sent) / took.Seconds())
	t.Logf("during %d anonymous requests, %d a second: of %d users who have just logged in, %d were identified, %d within 2 s, the slowest in %v; of %d requests of a known user, %d were refused, and the slowest took %v",
		got.sent, got.rate, logins, got.fresh, got.inTime, got.slowest.Round(time.Millisecond), got.known, got.denied, got.longest.Round(time.Millisecond))
	return got
}
