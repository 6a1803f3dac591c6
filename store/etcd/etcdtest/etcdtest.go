// Package etcdtest runs real etcd servers for tests, from the binary that make tools builds at
// .tools/etcd. Start reading at Start.
package etcdtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	readyTimeout = 30 * time.Second // allows for a slow machine
	stopTimeout  = 10 * time.Second
)

// Options configures Start.
type Options struct {
	Nodes int // 1 or 3; 0 means 1

	// Args are further arguments of every node, such as --quota-backend-bytes=16777216.
	Args []string

	// Partitions lets Isolate cut nodes off. Linux only.
	Partitions bool

	// Scheme of the addresses of clients: http or https. Empty means http. With https, Args name
	// the certificate, and Client is not available.
	Scheme string
}

// Cluster is a running cluster of one or three nodes.
type Cluster struct {
	Nodes []*Node

	network *network // between the nodes; nil without Options.Partitions
}

// Node is one member of a cluster.
type Node struct {
	Endpoint string // URL for clients

	t    testing.TB
	args []string
	dir  string
	log  *output

	cmd    *exec.Cmd
	pid    atomic.Int64
	exited chan struct{} // closed when the process is gone
}

// Start starts a cluster with its data in the test's temporary directory, and waits until it
// answers. It ends with the test, and on Linux when the test process is killed.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	binary := Binary(t)
	count := max(o.Nodes, 1)
	scheme := o.Scheme
	if scheme == "" {
		scheme = "http"
	}
	ports := freePorts(t, 2*count)
	c := &Cluster{}
	var members, peers []string
	for i := range count {
		peers = append(peers, fmt.Sprintf("http://127.0.0.1:%d", ports[2*i]))
	}
	advertised := peers
	if o.Partitions {
		c.network, advertised = newNetwork(t, c, peers)
	}
	for i := range count {
		members = append(members, fmt.Sprintf("n%d=%s", i, advertised[i]))
	}
	for i := range count {
		n := &Node{
			Endpoint: fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[2*i+1]), t: t,
			dir: filepath.Join(t.TempDir(), fmt.Sprint("n", i)), log: &output{},
		}
		n.args = slices.Concat([]string{
			binary, "--name", fmt.Sprint("n", i), "--data-dir", n.dir,
			"--listen-client-urls", n.Endpoint, "--advertise-client-urls", n.Endpoint,
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", advertised[i],
			"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new",
			"--logger", "zap", "--log-level", "warn", "--unsafe-no-fsync",
		}, o.Args)
		c.Nodes = append(c.Nodes, n)
	}
	if c.network != nil {
		c.network.start(t)
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	if scheme == "http" {
		for _, n := range c.Nodes {
			n.Wait()
		}
	}
	return c
}

// Binary returns the path of etcd: TOKENGATE_ETCD, such as for another version, or .tools/etcd. Without one,
// the test fails.
func Binary(t testing.TB) string {
	t.Helper()
	if binary := os.Getenv("TOKENGATE_ETCD"); binary != "" {
		return binary
	}
	_, file, _, _ := runtime.Caller(0)
	binary := filepath.Join(filepath.Dir(file), "../../../.tools/etcd")
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("no etcd: run make tools: %v", err)
	}
	return binary
}

// freePorts returns ports on which nothing listens now. They are below those that the kernel gives to other sockets.
func freePorts(t testing.TB, count int) (ports []int) {
	t.Helper()
	for range 1000 {
		port := 20_000 + rand.IntN(12_000)
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		defer l.Close()
		if ports = append(ports, port); len(ports) == count {
			return ports
		}
	}
	t.Fatal("no port is free")
	return nil
}

// Endpoints returns the URLs of all nodes.
func (c *Cluster) Endpoints() (all []string) {
	for _, n := range c.Nodes {
		all = append(all, n.Endpoint)
	}
	return all
}

// Client returns a client of all nodes, which is closed with the test.
func (c *Cluster) Client() *clientv3.Client { return client(c.Nodes[0].t, c.Endpoints()) }

func client(t testing.TB, endpoints []string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// Leader returns the node that leads the cluster.
func (c *Cluster) Leader() *Node {
	t := c.Nodes[0].t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
	defer cancel()
	for _, n := range c.Nodes {
		if status, err := client(t, []string{n.Endpoint}).Status(ctx, n.Endpoint); err == nil && status.Leader == status.Header.MemberId {
			return n
		}
	}
	t.Fatal("no node leads the cluster")
	return nil
}

// Start starts the node, again after it was stopped or killed. It does not wait until it answers.
func (n *Node) Start() {
	n.t.Helper()
	n.cmd, n.exited = exec.Command(n.args[0], n.args[1:]...), make(chan struct{})
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	dieWithParent(n.cmd)
	started := make(chan error)
	go func() {
		// The parent-death signal is sent when the thread that started the process ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := n.cmd.Start()
		if err == nil {
			n.pid.Store(int64(n.cmd.Process.Pid))
		}
		started <- err
		if err == nil {
			_ = n.cmd.Wait()
			close(n.exited)
		}
	}()
	if err := <-started; err != nil {
		n.t.Fatalf("start etcd: %v", err)
	}
	n.t.Cleanup(n.Kill)
}

// Wait waits until the node answers linearizable reads.
func (n *Node) Wait() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), readyTimeout)
	defer cancel()
	c := client(n.t, []string{n.Endpoint})
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.Get(try, "ready")
		cancel()
		if err == nil {
			return
		}
		select {
		case <-n.exited:
			n.t.Fatalf("etcd has exited:\n%s", n.Log())
		case <-ctx.Done():
			n.t.Fatalf("etcd is not ready: %v\n%s", err, n.Log())
		default:
		}
	}
}

// Stop ends the node as an administrator does.
func (n *Node) Stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	select {
	case <-n.exited:
	case <-time.After(stopTimeout):
		n.t.Errorf("etcd has not ended within %v\n%s", stopTimeout, n.Log())
		n.Kill()
	}
}

// Kill ends the node at once.
func (n *Node) Kill() {
	n.signal(syscall.SIGKILL)
	<-n.exited
}

// Pause stops the node's process until Resume. Its connections stay open.
func (n *Node) Pause() { n.signal(syscall.SIGSTOP) }

// Resume continues a paused node.
func (n *Node) Resume() { n.signal(syscall.SIGCONT) }

func (n *Node) signal(s os.Signal) {
	select {
	case <-n.exited:
	default:
		_ = n.cmd.Process.Signal(s)
	}
}

// Dir returns the data directory.
func (n *Node) Dir() string { return n.dir }

// Log returns what the node has written.
func (n *Node) Log() string { return n.log.String() }

// output is a buffer for the output of a process.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
