package app

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// The maximum of open connections per listener. With the generated configuration,
// Envoy opens at most 32 connections plus one per worker to the gRPC listener, and 1024
// plus one per worker to the HTTP listener. It has one worker per processor.
var grpcConnections = 32 + 2*runtime.NumCPU()

const (
	httpConnections  = 1280
	otherConnections = 128 // of each other listener
)

// boundListener limits the open connections of a listener. Beyond the limit, a new
// connection replaces the one that has been idle longest, so a client that opens many
// idle connections does not lock out others.
type boundListener struct {
	net.Listener
	most int
	cut  func() // called after a connection was closed to make room

	clock atomic.Uint64 // counts reads and writes
	mu    sync.Mutex
	open  map[*boundConn]struct{}
}

// Accept implements net.Listener.
func (l *boundListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &boundConn{Conn: conn, listener: l}
	c.used()
	var silent *boundConn
	l.mu.Lock()
	if len(l.open) >= l.most {
		for other := range l.open {
			if silent == nil || other.last.Load() < silent.last.Load() {
				silent = other
			}
		}
		delete(l.open, silent)
	}
	if l.open == nil {
		l.open = make(map[*boundConn]struct{})
	}
	l.open[c] = struct{}{}
	l.mu.Unlock()
	if silent != nil {
		silent.Conn.Close()
		l.cut()
	}
	return c, nil
}

// boundConn is a connection of a boundListener.
type boundConn struct {
	net.Conn
	listener *boundListener
	last     atomic.Uint64 // by the listener's clock
}

func (c *boundConn) used() { c.last.Store(c.listener.clock.Add(1)) }

// Read implements net.Conn.
func (c *boundConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.used()
	}
	return n, err
}

// Write implements net.Conn.
func (c *boundConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.used()
	}
	return n, err
}

// Close implements net.Conn.
func (c *boundConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// bound limits a listener's connections. Each connection closed to make room is
// counted, and logged at most once a minute.
func (s *Server) bound(name string, l net.Listener, most int) net.Listener {
	closed := s.cut.WithLabelValues(name)
	var next atomic.Int64 // when the next log line is due
	return &boundListener{Listener: l, most: most, cut: func() {
		closed.Inc()
		now := time.Now()
		due := next.Load()
		if now.UnixNano() >= due && next.CompareAndSwap(due, now.Add(time.Minute).UnixNano()) {
			s.log.Warn("too many connections: the one that was idle longest was closed for a new one (see tokengate_connections_cut_total)",
				zap.String("listener", name), zap.Int("connections", most))
		}
	}}
}
