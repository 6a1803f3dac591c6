package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// program is the binary that is measured.
const program = ".build/tokengate"

// startTime bounds how long tokengate may take to be ready.
const startTime = 2 * time.Minute

// server is a running tokengate with its store on disk, its log in a file and its
// metrics on.
type server struct {
	*process
	ready  time.Duration // from the start of the process to the first connection
	check  string        // the socket that Envoy sends Check to
	dir    string
	data   string
	admin  *http.Client
	scrape *http.Client
}

const serverConfig = `publicURL: http://127.0.0.1
listen:
  grpc: unix://%[1]s/g
  http: unix://%[1]s/h
  admin: unix://%[1]s/a
  metrics: unix://%[1]s/m
store: %[2]s
upstream:
  url: http://%[3]s
`

// startServer starts tokengate on a store with the first size tokens of the
// dataset, in front of the given upstream.
func startServer(ctx context.Context, size int, upstream string) (*server, error) {
	data, err := copyStore(ctx, size)
	if err != nil {
		return nil, err
	}
	return startServerOn(ctx, data, fmt.Sprintf("{badger: {dir: %s}}", filepath.Join(data, "store")), upstream)
}

// startEtcdServer starts tokengate on etcd, which has the first size tokens of the dataset.
func startEtcdServer(ctx context.Context, n *etcdNode, size int) (*server, error) {
	c := n.config(size)
	return startServerOn(ctx, "", fmt.Sprintf("{etcd: {endpoints: [%q], prefix: %s}}", n.endpoint, c.Prefix), "127.0.0.1:1")
}

// startServerOn starts tokengate on a store. data is the directory to remove in the end, empty for none.
func startServerOn(ctx context.Context, data, settings, upstream string) (_ *server, err error) {
	s := &server{data: data}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "tgb"); err != nil {
		return nil, err
	}
	s.check = filepath.Join(s.dir, "g")
	s.admin, s.scrape = socketClient(filepath.Join(s.dir, "a")), socketClient(filepath.Join(s.dir, "m"))
	if err := os.WriteFile(s.config(), fmt.Appendf(nil, serverConfig, s.dir, settings, upstream), 0o600); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

func (s *server) config() string { return filepath.Join(s.dir, "tokengate.yaml") }

func (s *server) log() string { return filepath.Join(s.dir, "log") }

// start starts the process and waits for the socket of Check, which appears when
// it can answer.
func (s *server) start(ctx context.Context) error {
	log, err := os.OpenFile(s.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := os.Remove(s.check); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	cmd := exec.Command(program, "serve", "--config", s.config())
	cmd.Stderr = log
	began := time.Now()
	if s.process, err = startProcess("tokengate", cmd); err != nil {
		return fmt.Errorf("%w; run `make build`", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unix", s.check); err == nil {
			s.ready = time.Since(began)
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-s.exited:
			text, _ := os.ReadFile(s.log())
			return fmt.Errorf("start tokengate: it ended: %v\n%s", s.err, text[max(0, len(text)-2000):])
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("start tokengate: %w", ctx.Err()), s.stop())
		}
	}
}

// restart stops the process and starts it again on the same store.
func (s *server) restart(ctx context.Context) error {
	if err := s.stop(); err != nil {
		return err
	}
	return s.start(ctx)
}

// close stops the process and removes its store.
func (s *server) close() error {
	err := s.stop()
	s.remove()
	return err
}

func (s *server) remove() {
	os.RemoveAll(s.dir)
	if s.data != "" {
		os.RemoveAll(s.data)
	}
}

// trimLog empties the log, which gets a line for each request.
func (s *server) trimLog() error { return os.Truncate(s.log(), 0) }

var droppedMetric = regexp.MustCompile(`(?m)^tokengate_log_lines_dropped_total (\S+)$`)

// droppedLines returns how many log lines tokengate has dropped.
func (s *server) droppedLines() (string, error) {
	response, err := s.scrape.Get("http://tokengate/metrics")
	if err != nil {
		return "", fmt.Errorf("read the metrics: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	found := droppedMetric.FindSubmatch(text)
	if err != nil || found == nil {
		return "", fmt.Errorf("the metrics have no dropped log lines (%v)", err)
	}
	return string(found[1]), nil
}

// socketClient returns a client for HTTP over a unix socket.
func socketClient(path string) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}
}
