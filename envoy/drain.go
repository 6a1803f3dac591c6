package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DrainSettle is how long Drain waits at least. A Service or load balancer still sends new
// connections for a few seconds after it was told to stop.
const DrainSettle = 5 * time.Second

const (
	drainPoll    = 100 * time.Millisecond
	adminTimeout = 5 * time.Second // of one request to Envoy's administration
)

// Drain prepares a running Envoy for its end, through its administration socket. Envoy's
// health check then fails, and Envoy ends each connection after its next response (with
// Connection: close or GOAWAY), while it still accepts new ones. Drain returns when no
// connection is open and settle has passed, or when timeout has passed: open is then the
// number of connections that are left.
//
// It does not use /drain_listeners: with Envoy's default options that ends connections over
// ten minutes.
func Drain(ctx context.Context, adminSocket string, settle, timeout time.Duration) (open int, err error) {
	admin := &http.Client{Timeout: adminTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", adminSocket)
		},
	}}
	started := time.Now()
	if _, err := askAdmin(ctx, admin, http.MethodPost, "/healthcheck/fail"); err != nil {
		return 0, err
	}
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for {
		stats, err := askAdmin(ctx, admin, http.MethodGet, `/stats?filter=^http\..*\.downstream_cx_active$`)
		if err != nil {
			return 0, err
		}
		if open, err = openConnections(stats); err != nil {
			return 0, err
		}
		if passed := time.Since(started); passed >= timeout || open == 0 && passed >= settle {
			return open, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return open, ctx.Err()
		}
	}
}

// openConnections adds up the clients' connections in a listing of Envoy's statistics.
// Those to the administration do not count.
func openConnections(stats string) (open int, err error) {
	found := false
	for line := range strings.Lines(stats) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if name == "" || strings.HasPrefix(name, "http.admin.") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("read Envoy's statistics: %s is not a number", name)
		}
		open, found = open+n, true
	}
	if !found {
		return 0, errors.New("read Envoy's statistics: there is no listener for HTTP")
	}
	return open, nil
}

// askAdmin sends a request to Envoy's administration and returns the answer.
func askAdmin(ctx context.Context, admin *http.Client, method, target string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy"+target, nil)
	if err != nil {
		return "", fmt.Errorf("ask Envoy's administration: %w", err)
	}
	resp, err := admin.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask Envoy's administration: %w; it may have stopped, or --envoy-admin may be another Envoy's", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("ask Envoy's administration: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask Envoy's administration for %s: status %d", target, resp.StatusCode)
	}
	return string(body), nil
}
