//go:build cluster

package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// client sends requests to a Service's address, with the names and addresses that an ingress controller adds.
type client struct {
	url  string
	http *http.Client
}

func newClient(address string) *client {
	return &client{url: "http://" + address, http: &http.Client{
		Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 10, IdleConnTimeout: 20 * time.Second, DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends a request and returns the status and the body.
func (c *client) do(ctx context.Context, method, path, body string, headers ...string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Host = "jira.example.com"
	req.Header.Set("X-Forwarded-For", "192.0.2.7")
	req.Header.Set("X-Forwarded-Proto", "https")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for n := 0; n < len(headers); n += 2 {
		req.Header.Set(headers[n], headers[n+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// load sends browser-like requests and requests with a token until it is stopped.
type load struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu       sync.Mutex
	counts   map[string]int // requests by kind
	again    int            // requests that were sent again, on another connection
	failures map[string]int
	first    map[string]time.Time
}

// startLoad starts eight clients: half of them make a new connection for each request.
func startLoad(t *testing.T, address, token string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop, counts: map[string]int{}, failures: map[string]int{}, first: map[string]time.Time{}}
	for n := range 8 {
		c := newClient(address)
		c.http.Transport.(*http.Transport).DisableKeepAlives = n%4 < 2
		kind, path, headers, want := "browser", "/secure/Dashboard.jspa", []string{"Cookie", "JSESSIONID=0123"}, 0
		if n%2 == 0 {
			kind, path, headers, want = "token", "/rest/api/2/myself", []string{"Authorization", "Bearer " + token}, 200
		}
		l.done.Go(func() {
			for ctx.Err() == nil {
				l.one(ctx, c, kind, path, headers, want)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return l
}

// end stops the requests.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// pass lets time pass.
func (l *load) pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test was ended")
	}
}

// one sends a request. As ingress controllers do by default, it sends one again whose connection was refused or reset. They
// try each pod once; the Service's address leads to any pod each time, so that it may take more attempts.
func (l *load) one(ctx context.Context, c *client, kind, path string, headers []string, want int) {
	again := 0
	for {
		status, _, err := c.do(ctx, http.MethodGet, path, "", headers...)
		if ctx.Err() != nil {
			return
		}
		if err != nil && again < 10 && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) {
			again++
			continue
		}
		failure := ""
		switch {
		case err != nil:
			failure = fmt.Sprintf("%s: %v", kind, err)
		case want != 0 && status != want, status >= 500:
			failure = fmt.Sprintf("%s: status %d", kind, status)
		}
		l.mu.Lock()
		l.counts[kind]++
		l.again += again
		if failure != "" {
			if l.failures[failure]++; l.failures[failure] == 1 {
				l.first[failure] = time.Now()
			}
		}
		l.mu.Unlock()
		return
	}
}

// sentAgain allows requests that were sent again.
const sentAgain = "sent again"

// report prints what happened since the last report, and fails the test if a request failed that allowed does not name.
func (l *load) report(t *testing.T, during string, allowed ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%s: %d browser requests, %d with a token, %d sent again, failed: %v", during, l.counts["browser"], l.counts["token"], l.again, l.failures)
	if l.counts["browser"] == 0 || l.counts["token"] == 0 {
		t.Errorf("%s: no requests", during)
	}
	if l.again > 0 && !slices.Contains(allowed, sentAgain) {
		t.Errorf("%s: %d requests were sent again", during, l.again)
	}
	for _, failure := range slices.Sorted(maps.Keys(l.failures)) {
		if !slices.Contains(allowed, failure) {
			t.Errorf("%s: %d requests failed: %s, first at %s", during, l.failures[failure], failure, l.first[failure].Format("15:04:05.000"))
		}
	}
	l.counts, l.failures, l.first, l.again = map[string]int{}, map[string]int{}, map[string]time.Time{}, 0
}
