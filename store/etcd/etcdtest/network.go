package etcdtest

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// network forwards the connections between the nodes of a cluster, unless one of both is isolated.
type network struct {
	cluster   *Cluster
	peers     []string // the nodes' own URLs
	listeners []net.Listener

	mu       sync.Mutex
	isolated map[*Node]bool
	links    map[*link]bool
}

// link is a connection between two nodes.
type link struct {
	nodes [2]*Node
	conns [2]net.Conn
}

// newNetwork listens for each node, and returns the URLs.
func newNetwork(t testing.TB, c *Cluster, peers []string) (*network, []string) {
	n := &network{cluster: c, peers: peers, isolated: make(map[*Node]bool), links: make(map[*link]bool)}
	var urls []string
	for range peers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		urls, n.listeners = append(urls, "http://"+l.Addr().String()), append(n.listeners, l)
	}
	return n, urls
}

// start forwards connections until the test ends.
func (n *network) start(t testing.TB) {
	var running sync.WaitGroup
	for i, l := range n.listeners {
		running.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				running.Go(func() { n.serve(conn, n.cluster.Nodes[i], strings.TrimPrefix(n.peers[i], "http://")) })
			}
		})
	}
	t.Cleanup(func() { // after the nodes have ended
		for _, l := range n.listeners {
			l.Close()
		}
		running.Wait()
	})
}

func (n *network) serve(from net.Conn, node *Node, address string) {
	defer from.Close()
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	l := &link{nodes: [2]*Node{n.nodeOf(from), node}, conns: [2]net.Conn{from, to}}
	n.mu.Lock()
	refused := l.nodes[0] == nil || n.isolated[l.nodes[0]] || n.isolated[node]
	if !refused {
		n.links[l] = true
	}
	n.mu.Unlock()
	if refused {
		return
	}
	var both sync.WaitGroup
	for i := range l.conns {
		both.Go(func() {
			_, _ = io.Copy(l.conns[i], l.conns[1-i])
			l.conns[0].Close()
			l.conns[1].Close()
		})
	}
	both.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l)
}

// nodeOf returns the node that opened a connection, nil if it cannot be found.
func (n *network) nodeOf(conn net.Conn) *Node {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil
	}
	local := fmt.Sprintf(":%04X", conn.RemoteAddr().(*net.TCPAddr).Port)
	remote := fmt.Sprintf(":%04X", conn.LocalAddr().(*net.TCPAddr).Port)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 10 || !strings.HasSuffix(fields[1], local) || !strings.HasSuffix(fields[2], remote) {
			continue
		}
		for _, node := range n.cluster.Nodes {
			files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", node.pid.Load()))
			for _, file := range files {
				if to, _ := os.Readlink(file); to == "socket:["+fields[9]+"]" {
					return node
				}
			}
		}
	}
	return nil
}

// Isolate cuts a node off from all others, until Rejoin. Clients reach it.
func (c *Cluster) Isolate(node *Node) {
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	c.network.isolated[node] = true
	for l := range c.network.links {
		if l.nodes[0] == node || l.nodes[1] == node {
			l.conns[0].Close()
			l.conns[1].Close()
		}
	}
}

// Rejoin ends Isolate.
func (c *Cluster) Rejoin(node *Node) {
	c.network.mu.Lock()
	defer c.network.mu.Unlock()
	delete(c.network.isolated, node)
}
