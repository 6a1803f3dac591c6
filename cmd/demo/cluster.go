package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// cluster is two tokengates, each with its Envoy, in front of one simulated Jira, with their tokens in three nodes
// of etcd.
type cluster struct {
	first, second *environment
	dir           string // of etcd
	etcd          []*etcdNode
}

// runCluster starts a cluster, and shows that it goes on without one of its parts.
func runCluster(ctx context.Context, out io.Writer, etcd string) error {
	c, err := startCluster(ctx, out, etcd)
	if err != nil {
		return err
	}
	defer c.tearDown()
	return c.runScenario(ctx)
}

// startCluster starts everything. etcd is the path of its program.
func startCluster(ctx context.Context, out io.Writer, etcd string) (_ *cluster, err error) {
	c := &cluster{}
	defer func() {
		if err != nil {
			c.tearDown()
		}
	}()
	if c.first, err = newEnvironment(out); err != nil {
		return nil, err
	}
	if c.second, err = newEnvironment(out); err != nil {
		return nil, err
	}
	if err := c.first.startJira(); err != nil {
		return nil, err
	}
	c.second.jira, c.second.jiraAddress = c.first.jira, c.first.jiraAddress
	if err := c.startEtcd(ctx, etcd); err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	store, key := "  etcd:\n    endpoints:\n", newSealKey()
	for _, n := range c.etcd {
		store += "      - " + n.url + "\n"
	}
	for _, e := range []*environment{c.first, c.second} {
		// Users have one address, that of a load balancer in front of both. Here it is the first Envoy's.
		if err := e.configure(c.first.url, strings.TrimSuffix(store, "\n"), key, ""); err != nil {
			return nil, err
		}
		if err := e.startServers(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// tearDown stops everything.
func (c *cluster) tearDown() {
	for _, e := range []*environment{c.second, c.first} {
		if e != nil {
			e.tearDown()
		}
	}
	for _, n := range c.etcd {
		n.stop(syscall.SIGTERM)
	}
	if c.dir != "" {
		os.RemoveAll(c.dir)
	}
}

// etcdNode is one node of etcd.
type etcdNode struct {
	url     string // for clients
	program string
	args    []string
	cmd     *exec.Cmd // nil: it does not run
	log     bytes.Buffer
}

// startEtcd starts three nodes of etcd.
func (c *cluster) startEtcd(ctx context.Context, program string) (err error) {
	if c.dir, err = os.MkdirTemp("", "tokengate-demo-etcd"); err != nil {
		return err
	}
	var peers, members []string
	for i := range 3 {
		client, err := freeAddress()
		if err != nil {
			return err
		}
		peer, err := freeAddress()
		if err != nil {
			return err
		}
		c.etcd = append(c.etcd, &etcdNode{url: "http://" + client, program: program})
		peers = append(peers, "http://"+peer)
		members = append(members, fmt.Sprintf("etcd-%d=%s", i+1, peers[i]))
	}
	for i, n := range c.etcd {
		name := fmt.Sprintf("etcd-%d", i+1)
		n.args = []string{
			"--name", name, "--data-dir", filepath.Join(c.dir, name), "--log-level", "error",
			"--listen-client-urls", n.url, "--advertise-client-urls", n.url,
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new", "--auto-compaction-retention", "1h",
		}
		if err := n.start(); err != nil {
			return err
		}
	}
	for _, n := range c.etcd {
		if err := n.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *etcdNode) start() error {
	n.cmd = exec.Command(n.program, n.args...)
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.cmd = nil
		return fmt.Errorf("%w; run make etcd", err)
	}
	return nil
}

// wait waits until the node answers.
func (n *etcdNode) wait(ctx context.Context) error {
	client := &http.Client{Transport: retry{http.DefaultTransport}}
	if err := waitFor(ctx, client, n.url+"/health"); err != nil {
		return fmt.Errorf("wait for %s: %w", n.url, err)
	}
	return nil
}

// stop ends the node with a signal, and waits for that.
func (n *etcdNode) stop(s os.Signal) {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Signal(s) // it fails only if the node has ended
	_ = n.cmd.Wait()
	n.cmd = nil
}

// retry answers 503 for a server that does not answer yet.
type retry struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t retry) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(r)
	if err != nil && r.Context().Err() == nil {
		return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: http.NoBody, Request: r}, nil
	}
	return response, err
}

// leader returns the node that leads the others.
func (c *cluster) leader(ctx context.Context) (*etcdNode, error) {
	for _, n := range c.etcd {
		leads, err := n.leads(ctx)
		if err != nil {
			return nil, err
		}
		if leads {
			return n, nil
		}
	}
	return nil, errors.New("no node of etcd leads the others")
}

// leads reports whether a node's metrics say that it is the leader.
func (n *etcdNode) leads(ctx context.Context) (bool, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/metrics", nil)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return bytes.Contains(body, []byte("\netcd_server_is_leader 1\n")), err
}
