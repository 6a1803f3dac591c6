package etcdtest

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP proxy between clients and a node, which can fail.
type Proxy struct {
	Endpoint string // URL for clients

	to   string
	mu   sync.Mutex
	cond *sync.Cond
	mode mode
	wait time.Duration // before each piece of data of a client
	all  map[net.Conn]bool
}

type mode int

const (
	forward mode = iota
	hold         // data waits, connections stay open
	cut          // connections are closed
	lose         // the next data of the node is lost with its connection
)

// NewProxy starts a proxy of a node, which ends with the test.
func NewProxy(t testing.TB, n *Node) *Proxy {
	t.Helper()
	u, err := url.Parse(n.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Endpoint: u.Scheme + "://" + l.Addr().String(), to: u.Host, all: make(map[net.Conn]bool)}
	p.cond = sync.NewCond(&p.mu)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.Cut()
		running.Wait()
	})
	return p
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.all[client], p.all[server] = true, true
	refused := p.mode == cut
	p.mu.Unlock()
	if refused {
		p.close(client, server)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, true) })
	both.Go(func() { p.copy(client, server, false) })
	both.Wait()
}

// copy forwards data in one direction until one side closes.
func (p *Proxy) copy(to, from net.Conn, requests bool) {
	defer p.close(to, from)
	data := make([]byte, 64<<10)
	for {
		n, err := from.Read(data)
		p.mu.Lock()
		for p.mode == hold {
			p.cond.Wait()
		}
		lost := p.mode == lose && !requests
		if lost {
			p.mode = forward
		}
		wait := p.wait
		p.mu.Unlock()
		if lost {
			return
		}
		if requests && wait > 0 {
			time.Sleep(wait)
		}
		if n > 0 {
			if _, err := to.Write(data[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) close(conns ...io.Closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(p.all, c.(net.Conn))
	}
}

func (p *Proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	if m == cut {
		for c := range p.all {
			c.Close()
		}
	}
	p.cond.Broadcast()
}

// Hold lets all data wait until Forward or Cut. Connections stay open.
func (p *Proxy) Hold() { p.set(hold) }

// Cut closes all connections, and each new one, until Forward.
func (p *Proxy) Cut() { p.set(cut) }

// Lose loses the node's next answer, and with it the connection. Then the proxy forwards again.
func (p *Proxy) Lose() { p.set(lose) }

// Forward ends Hold, Cut and Lose.
func (p *Proxy) Forward() { p.set(forward) }

// Slow delays what clients send.
func (p *Proxy) Slow(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wait = by
}
