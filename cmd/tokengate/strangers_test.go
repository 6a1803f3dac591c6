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

// People are not shut out by strangers with made-up cookies from ever new
// networks; the long tests send more of them.
func TestFloodOfStrangers(t *testing.T) {
	got := floodWithStrangers(t, 150, 20, 30*time.Millisecond, func(n int) string { return fmt.Sprintf("2001:db8:%x:%x::1", n>>16, n&0xffff) })
	if got.fresh < 19 || got.known == 0 || got.shutOut > 0 {
		t.Errorf("of 20 people who have just logged in %d got in; somebody known asked %d times and was refused %d times", got.fresh, got.known, got.shutOut)
	}
}

// strangersFlood is what came of people during a flood.
type strangersFlood struct {
	sent, strangers int           // strangers' requests, and how many of them a second
	fresh, inTime   int           // people just logged in whom page and API let in, and within 2 s
	slowest         time.Duration // of these
	known, shutOut  int           // requests of somebody known, and how many were refused
	longest         time.Duration // of the requests of somebody known
}

// floodWithStrangers sends so many strangers a second, while some people log in
// one after another and somebody who is known goes on working. Jira takes a time
// for each answer to who somebody is.
func floodWithStrangers(t *testing.T, each, logins int, slow time.Duration, address func(n int) string) (got strangersFlood) {
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
		tick := time.NewTicker(time.Second / time.Duration(each))
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
				got.shutOut++
			}
			time.Sleep(150 * time.Millisecond)
		}
	})
	people := []string{"rita", "vic", "rob", "ada", "nell", "rex"}
	for n := range logins {
		time.Sleep(100 * time.Millisecond)
		name := people[n%len(people)]
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
	got.strangers = int(float64(got.sent) / time.Since(began).Seconds())
	cancel()
	work.Wait()
	flood.Wait()
	t.Logf("beside %d strangers, %d a second: of %d people who have just logged in %d got in, %d within 2 s, the slowest in %v; of %d requests of somebody known %d were refused, the slowest took %v",
		got.sent, got.strangers, logins, got.fresh, got.inTime, got.slowest.Round(time.Millisecond), got.known, got.shutOut, got.longest.Round(time.Millisecond))
	return got
}
