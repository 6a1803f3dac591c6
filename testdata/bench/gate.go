package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/config"
)

// program is what make build makes.
const program = ".build/tokengate"

// startTime bounds how long tokengate may take to be ready.
const startTime = 2 * time.Minute

// identityHeader is the default of upstream.identity.header, in lower case.
const identityHeader = "x-forwarded-user"

// gate is a running tokengate: the real program, its store on disk, its log in
// a file, its metrics on.
type gate struct {
	*child
	ready  time.Duration // from the start of the process until it took a connection
	check  string        // the socket that Envoy asks on
	dir    string
	data   string
	log    string
	web    *http.Client // speaks to the admin socket
	scrape *http.Client // speaks to the metrics socket
}

const gateSettings = `publicURL: http://127.0.0.1
listen:
  grpc: unix://%[1]s/g
  http: unix://%[1]s/h
  admin: unix://%[1]s/a
  metrics: unix://%[1]s/m
store:
  badger: {dir: %[2]s}
upstream:
  url: http://%[3]s
`

// startGate starts tokengate on a store of size tokens, a copy of its own, in
// front of the given upstream.
func startGate(ctx context.Context, size int, upstream string) (_ *gate, err error) {
	pristine, err := dataOf(ctx, size)
	if err != nil {
		return nil, err
	}
	g := &gate{}
	if g.dir, err = os.MkdirTemp("", "tgb"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.remove()
		}
	}()
	// On the same disk as what a bare append is written to.
	if g.data, err = os.MkdirTemp(dataRoot, "run"); err != nil {
		return nil, err
	}
	if g.data, err = filepath.Abs(g.data); err != nil {
		return nil, err
	}
	if err := copyData(pristine, filepath.Join(g.data, "store")); err != nil {
		return nil, err
	}
	g.check, g.log = filepath.Join(g.dir, "g"), filepath.Join(g.dir, "log")
	g.web, g.scrape = overSocket(filepath.Join(g.dir, "a")), overSocket(filepath.Join(g.dir, "m"))
	settings := fmt.Appendf(nil, gateSettings, g.dir, filepath.Join(g.data, "store"), upstream)
	if err := os.WriteFile(g.configFile(), settings, 0o600); err != nil {
		return nil, err
	}
	return g, g.start(ctx)
}

func (g *gate) configFile() string { return filepath.Join(g.dir, "tokengate.yaml") }

// config returns the configuration, with another socket for Check.
func (g *gate) config(check string) (config.Config, error) {
	c, err := config.Load(g.configFile())
	c.Listen.GRPC.Address = check
	return c, err
}

// start starts the process and waits until it can answer Check: its socket is
// not there before.
func (g *gate) start(ctx context.Context) error {
	log, err := os.OpenFile(g.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := os.Remove(g.check); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	cmd := exec.Command(program, "serve", "--config", g.configFile())
	cmd.Stderr = log
	began := time.Now()
	if g.child, err = startChild("tokengate", cmd); err != nil {
		return fmt.Errorf("%w; make build makes it", err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	tooLate := time.After(startTime)
	for {
		conn, err := net.Dial("unix", g.check)
		if err == nil {
			g.ready = time.Since(began)
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-g.exited:
			return fmt.Errorf("start tokengate: it ended: %v\n%s", g.how, g.lastLog())
		case <-ctx.Done():
			return errors.Join(ctx.Err(), g.child.stop())
		case <-tooLate:
			return errors.Join(fmt.Errorf("tokengate is not ready after %v", startTime), g.child.stop())
		}
	}
}

// restart ends the process and starts it again on what it has stored.
func (g *gate) restart(ctx context.Context) error {
	if err := g.child.stop(); err != nil {
		return err
	}
	return g.start(ctx)
}

// close ends the process and removes its store.
func (g *gate) close() error {
	err := g.child.stop()
	g.remove()
	return err
}

func (g *gate) remove() {
	os.RemoveAll(g.dir)
	if g.data != "" {
		os.RemoveAll(g.data)
	}
}

// trimLog empties the log, which grows by a line for each request.
func (g *gate) trimLog() error { return os.Truncate(g.log, 0) }

// lastLog returns the end of the log.
func (g *gate) lastLog() string {
	data, _ := os.ReadFile(g.log)
	return string(data[max(0, len(data)-2000):])
}

// metrics returns the figures of /metrics by name and labels, as they stand
// there.
func (g *gate) metrics(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tokengate/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := g.scrape.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	defer response.Body.Close()
	all := map[string]float64{}
	lines := bufio.NewScanner(io.LimitReader(response.Body, 4<<20))
	for lines.Scan() {
		if cut := strings.LastIndexByte(lines.Text(), ' '); cut > 0 && lines.Text()[0] != '#' {
			if v, err := strconv.ParseFloat(lines.Text()[cut+1:], 64); err == nil {
				all[lines.Text()[:cut]] = v
			}
		}
	}
	return all, lines.Err()
}

// The metrics that the bench reads.
const (
	allowedMetric = `tokengate_decisions_total{outcome="allowed",reason="allowed"}`
	lostMetric    = "tokengate_log_lines_dropped_total"
	gcMetric      = "go_gc_gogc_percent"
	limitMetric   = "go_gc_gomemlimit_bytes"
)

// gcSettings returns how tokengate has set Go's garbage collector, as the
// environment of another process, and nothing if it has left it alone.
func gcSettings(metrics map[string]float64) []string {
	var environment []string
	if percent := metrics[gcMetric]; percent != 0 && percent != 100 {
		value := "off"
		if percent > 0 {
			value = strconv.Itoa(int(percent))
		}
		environment = append(environment, "GOGC="+value)
	}
	// Without a limit it is the largest int64.
	if limit := metrics[limitMetric]; limit > 0 && limit < 1<<62 {
		environment = append(environment, "GOMEMLIMIT="+strconv.FormatInt(int64(limit), 10))
	}
	return environment
}

// overSocket returns a client that speaks HTTP over a unix socket.
func overSocket(path string) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
}
