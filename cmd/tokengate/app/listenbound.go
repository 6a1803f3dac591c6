package app

import (
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// The maximum of open connections per listener. With the generated configuration,
// Envoy opens at most 32 connections plus one per worker to the gRPC listener, and 1024
// plus one per worker to the HTTP listener. It has one worker per processor.
var grpcConnections = 32 + 2*runtime.NumCPU()

const (
	httpConnections  = 1280
	otherConnections = 128 // of each other listener

	// replicaEnvoys is how many Envoys of other servers may use all of their connections to this
	// one. Each has one connection while its own tokengate answers.
	replicaEnvoys = 4
)

// boundListener limits the open connections of a listener. Beyond the limit, a new
// connection replaces the one that has been idle longest, so a client that opens many
// idle connections does not lock out others. With TLS, connections without a finished
// handshake are replaced first.
type boundListener struct {
	net.Listener
	most   int
	cut    func()                                      // called after a connection was closed to make room
	tls    *tls.Config                                 // nil is no TLS
	failed func(client net.Addr, handshakeError error) // called after a handshake failed

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
	c.known.Store(l.tls == nil)
	c.used()
	var silent *boundConn
	l.mu.Lock()
	if len(l.open) >= l.most {
		for other := range l.open {
			if silent == nil || other.before(silent) {
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
	if l.tls != nil {
		return &tlsConn{Conn: tls.Server(c, l.tls), bound: c}, nil
	}
	return c, nil
}

// boundConn is a connection of a boundListener.
type boundConn struct {
	net.Conn
	listener *boundListener
	last     atomic.Uint64 // by the listener's clock
	known    atomic.Bool   // the handshake has finished, or there is none
}

// before reports whether c is closed before other to make room.
func (c *boundConn) before(other *boundConn) bool {
	if known := c.known.Load(); known != other.known.Load() {
		return !known
	}
	return c.last.Load() < other.last.Load()
}

// closeAll closes the open connections.
func (l *boundListener) closeAll() {
	l.mu.Lock()
	all := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
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

// tlsConn is a TLS connection of a boundListener. The handshake runs at the first Read
// or Write, within the deadline of the server that handles the connection.
type tlsConn struct {
	*tls.Conn
	bound *boundConn
	once  sync.Once
}

func (c *tlsConn) handshake() {
	c.once.Do(func() {
		err := c.Handshake() // Read and Write return the error, too
		c.bound.known.Store(err == nil)
		if err != nil && !errors.Is(err, io.EOF) { // probes connect and close
			c.bound.listener.failed(c.RemoteAddr(), err)
		}
	})
}

// Read implements net.Conn.
func (c *tlsConn) Read(p []byte) (int, error) {
	c.handshake()
	return c.Conn.Read(p)
}

// Write implements net.Conn.
func (c *tlsConn) Write(p []byte) (int, error) {
	c.handshake()
	return c.Conn.Write(p)
}

// bound limits a listener's connections and speaks TLS on them, unless secure is nil.
// Closed connections are counted. They and failed handshakes are logged at most once a
// minute.
func (s *Server) bound(name string, l net.Listener, most int, secure *tls.Config) *boundListener {
	closed := s.cut.WithLabelValues(name)
	cuts, failures := rate.Sometimes{Interval: time.Minute}, rate.Sometimes{Interval: time.Minute}
	return &boundListener{
		Listener: l, most: most, tls: secure,
		cut: func() {
			closed.Inc()
			cuts.Do(func() {
				s.log.Warn("too many connections: the one that was idle longest was closed for a new one (see tokengate_connections_cut_total)",
					zap.String("listener", name), zap.Int("connections", most))
			})
		},
		failed: func(client net.Addr, err error) {
			failures.Do(func() {
				s.log.Warn("a TLS handshake failed, and the connection was closed; further failures are not logged for a minute",
					zap.String("listener", name), zap.Stringer("client", client), zap.Error(err))
			})
		},
	}
}
