package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// neighbour is a hostile process with access to tokengate's sockets: an HTTP/2 client
// (RFC 9113) that opens streams and does not finish them.
type neighbour struct {
	conn   net.Conn
	framer *http2.Framer

	mu      sync.Mutex
	changed *sync.Cond
	gone    bool           // the server has closed the connection
	streams uint32         // that the server allows
	initial int            // window of a new stream
	window  int            // of the connection
	windows map[uint32]int // of streams that are open
}

// newNeighbour connects, and returns once it knows the server's settings. A
// server that does not want it has closed the connection by then.
func newNeighbour(t *testing.T, socket string) *neighbour {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	n := &neighbour{
		conn: conn, framer: http2.NewFramer(conn, conn),
		streams: 1000, initial: 65535, window: 65535, windows: make(map[uint32]int),
	}
	n.changed = sync.NewCond(&n.mu)
	settled := make(chan struct{})
	go n.listen(sync.OnceFunc(func() { close(settled) }))
	if _, err := conn.Write([]byte(http2.ClientPreface)); err == nil {
		n.write(func() error { return n.framer.WriteSettings() })
	}
	select {
	case <-settled:
	case <-time.After(waitTime):
		t.Fatal("the server says nothing")
	}
	return n
}

// write writes a frame. An error is left to listen, which sees that the
// connection is gone.
func (n *neighbour) write(frame func() error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = n.conn.SetWriteDeadline(time.Now().Add(waitTime))
	_ = frame()
}

func (n *neighbour) listen(settled func()) {
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.gone = true
		n.changed.Broadcast()
		settled()
	}()
	for {
		frame, err := n.framer.ReadFrame()
		if err != nil && !errors.As(err, new(http2.StreamError)) {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if f.IsAck() {
				continue
			}
			n.mu.Lock()
			if most, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
				n.streams = min(n.streams, most)
			}
			if size, ok := f.Value(http2.SettingInitialWindowSize); ok {
				n.initial = int(size)
			}
			n.mu.Unlock()
			n.write(n.framer.WriteSettingsAck)
			settled()
		case *http2.PingFrame:
			data := f.Data
			n.write(func() error { return n.framer.WritePing(true, data) })
		case *http2.WindowUpdateFrame:
			n.mu.Lock()
			if f.StreamID == 0 {
				n.window += int(f.Increment)
			} else if _, open := n.windows[f.StreamID]; open {
				n.windows[f.StreamID] += int(f.Increment)
			}
			n.changed.Broadcast()
			n.mu.Unlock()
		case *http2.RSTStreamFrame:
			n.closed(f.StreamID)
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				n.closed(f.StreamID)
			}
		}
	}
}

func (n *neighbour) closed(stream uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.windows, stream)
	n.changed.Broadcast()
}

// open opens a stream that asks for Check and says that a message of this length
// follows, and sends all of it but the last byte, unless the server closes the
// stream before. Without a length it sends nothing.
func (n *neighbour) open(stream uint32, length int) {
	var headers bytes.Buffer
	encoder := hpack.NewEncoder(&headers)
	for _, h := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", authv3.Authorization_Check_FullMethodName}, {":authority", "tokengate"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	n.write(func() error {
		n.windows[stream] = n.initial
		return n.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: headers.Bytes(), EndHeaders: true})
	})
	if length == 0 {
		return
	}
	message := make([]byte, 5+length-1) // a gRPC message without its end
	binary.BigEndian.PutUint32(message[1:5], uint32(length))
	for len(message) > 0 {
		n.mu.Lock()
		window, open := n.windows[stream]
		for !n.gone && open && min(n.window, window) <= 0 {
			n.changed.Wait()
			window, open = n.windows[stream]
		}
		size := min(n.window, window, len(message), 16<<10)
		if n.gone || !open {
			n.mu.Unlock()
			return
		}
		n.window -= size
		n.windows[stream] -= size
		n.mu.Unlock()
		n.write(func() error { return n.framer.WriteData(stream, false, message[:size]) })
		message = message[size:]
	}
}

// openStreams returns how many of its streams the server has not closed.
func (n *neighbour) openStreams() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return 0
	}
	return len(n.windows)
}

// floodStreams opens so many unfinished streams on as many connections as it
// takes, and returns how many of each the server holds open when all are there.
func floodStreams(t *testing.T, socket string, streams, length int) (connections, open int) {
	t.Helper()
	var all []*neighbour
	for streams > 0 {
		n := newNeighbour(t, socket)
		all = append(all, n)
		n.mu.Lock()
		most := min(int(n.streams), streams)
		n.mu.Unlock()
		for i := range most {
			n.open(uint32(2*i+1), length)
		}
		streams -= most
	}
	for _, n := range all {
		if held := n.openStreams(); held > 0 {
			connections++
			open += held
		}
	}
	return connections, open
}
