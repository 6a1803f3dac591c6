package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// grpcLoad sends Checks to a server as fast as it answers.
type grpcLoad struct {
	socket      string
	conns       int // Envoy has a connection for each of its workers
	streams     int // Checks in flight on each
	templates   [forms]requestTemplate
	credentials *credentials
	named       bool // answers must name the token's owner
	cursor      int  // the credential with which the next slice begins
}

func newGRPCLoad(socket string, s shape, named bool, c *credentials) (*grpcLoad, error) {
	l := &grpcLoad{socket: socket, conns: 2, streams: 64, credentials: c, named: named}
	for f := range forms {
		var err error
		if l.templates[f], err = newRequestTemplate(s, f); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// loadResult is the result of a slice of load.
type loadResult struct {
	answers   int
	took      time.Duration // until the last answer
	generator time.Duration // CPU time of the load itself
	server    time.Duration // CPU time of the server
}

func (r loadResult) perSecond() float64 { return float64(r.answers) / r.took.Seconds() }

func (r loadResult) serverMicros() float64 { return micros(r.server) / float64(r.answers) }

// parallel runs part on a number of connections. It returns the sum of their answers.
func parallel(conns int, part func(conn int) (answers int, err error)) (result loadResult, err error) {
	began, cpu := time.Now(), usedCPU()
	answers, failed := make([]int, conns), make([]error, conns)
	var all sync.WaitGroup
	for n := range conns {
		all.Go(func() { answers[n], failed[n] = part(n) })
	}
	all.Wait()
	result.took, result.generator = time.Since(began), usedCPU()-cpu
	for _, n := range answers {
		result.answers += n
	}
	if err = errors.Join(failed...); err == nil && result.answers == 0 {
		err = errors.New("no answers")
	}
	return result, err
}

// run sends Checks for the given time, and then waits for all answers. A missing,
// late or wrong answer is an error.
func (l *grpcLoad) run(ctx context.Context, length time.Duration) (loadResult, error) {
	deadline := time.Now().Add(length)
	result, err := parallel(l.conns, func(conn int) (answers int, err error) {
		// The connections begin far apart in the credentials.
		c, err := dialGRPC(l, l.cursor+conn*100_003)
		if err != nil {
			return 0, err
		}
		err = c.run(deadline)
		return c.answers, err
	})
	l.cursor += result.answers
	if err = errors.Join(err, ctx.Err()); err != nil {
		err = fmt.Errorf("load on %s: %w", l.socket, err)
	}
	return result, err
}

// drainTime bounds the wait for the last answers of a slice.
const drainTime = 10 * time.Second

const (
	defaultWindow = 65535 // RFC 9113 §6.9.2
	maxWindow     = 1<<31 - 1
)

// grpcConn is an HTTP/2 connection with many Checks in flight. It is cheaper than a
// client of grpc-go, which would take more of the shared cores than the server: it
// encodes requests beforehand, and writes many at once.
type grpcConn struct {
	load      *grpcLoad
	conn      net.Conn
	in        *bufio.Reader
	out       bytes.Buffer
	framer    *http2.Framer // reads from in and writes to out
	headers   *headerBlocks
	templates [forms]requestTemplate
	decoder   *hpack.Decoder

	streams    int // how many the server allows
	window     int // bytes of DATA that may be sent
	next       uint32
	open       map[uint32]*check
	cursor     int
	answers    int
	grpcStatus string // of the header block that is being read
}

// check is a Check in flight.
type check struct {
	owner    string // that the answer must name; empty: any
	verified bool
}

func dialGRPC(l *grpcLoad, cursor int) (*grpcConn, error) {
	headers, err := newHeaderBlocks()
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("unix", l.socket)
	if err != nil {
		return nil, err
	}
	c := &grpcConn{
		load: l, conn: conn, headers: headers, cursor: cursor, templates: l.templates,
		in:      bufio.NewReaderSize(conn, 64<<10),
		streams: l.streams, window: defaultWindow, next: 1,
		open: map[uint32]*check{},
	}
	for f := range c.templates {
		c.templates[f].message = bytes.Clone(c.templates[f].message)
	}
	c.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == "grpc-status" {
			c.grpcStatus = f.Value
		}
	})
	c.framer = http2.NewFramer(&c.out, c.in)
	c.framer.SetReuseFrames()
	c.out.WriteString(http2.ClientPreface)
	return c, errors.Join(
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}),
		c.framer.WriteWindowUpdate(0, maxWindow-defaultWindow),
	)
}

// run sends Checks until the deadline, and then waits for the missing answers.
func (c *grpcConn) run(deadline time.Time) error {
	defer c.conn.Close()
	if err := c.conn.SetDeadline(deadline.Add(drainTime)); err != nil {
		return err
	}
	// The server's first frame is its settings (RFC 9113 §3.4).
	if err := errors.Join(c.flush(), c.read()); err != nil {
		return err
	}
	for {
		sending := time.Now().Before(deadline)
		if sending {
			if err := c.send(); err != nil {
				return err
			}
		}
		if err := c.flush(); err != nil {
			return err
		}
		if len(c.open) == 0 && !sending {
			return nil
		}
		// Everything that was received is handled before the next write.
		for once := true; once || c.in.Buffered() >= 9; once = false {
			if err := c.read(); err != nil {
				return fmt.Errorf("%w (%d answers are missing)", err, len(c.open))
			}
		}
	}
}

func (c *grpcConn) flush() error {
	_, err := c.out.WriteTo(c.conn)
	return err
}

// send opens as many streams as allowed.
func (c *grpcConn) send() error {
	for len(c.open) < min(c.streams, c.load.streams) {
		f, credential, owner := c.load.credentials.at(c.cursor)
		template := c.templates[f]
		if len(template.message) > c.window {
			return nil
		}
		c.window -= len(template.message)
		copy(template.message[template.at:], credential)
		block := c.headers.first
		if c.next > 1 {
			block = c.headers.later[c.cursor%clients]
		}
		if err := errors.Join(
			c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.next, BlockFragment: block, EndHeaders: true}),
			c.framer.WriteData(c.next, true, template.message),
		); err != nil {
			return err
		}
		if !c.load.named {
			owner = ""
		}
		c.open[c.next] = &check{owner: owner}
		c.next += 2
		c.cursor++
	}
	return nil
}

// read reads one frame and handles it.
func (c *grpcConn) read() error {
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return fmt.Errorf("read a frame: %w", err)
	}
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		return c.readHeaders(f)
	case *http2.DataFrame:
		return c.readData(f)
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
			c.streams = int(min(n, 1<<20))
		}
		return c.framer.WriteSettingsAck()
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int(f.Increment)
		}
	default:
		return fmt.Errorf("unexpected frame: %v", frame.Header())
	}
	return nil
}

func (c *grpcConn) readHeaders(f *http2.HeadersFrame) error {
	if !f.HeadersEnded() {
		return errors.New("the server sent continued headers")
	}
	c.grpcStatus = ""
	_, err := c.decoder.Write(f.HeaderBlockFragment())
	if err = errors.Join(err, c.decoder.Close()); err != nil {
		return fmt.Errorf("read headers: %w", err)
	}
	if !f.StreamEnded() {
		return nil
	}
	k := c.open[f.StreamID]
	switch {
	case k == nil:
		return errors.New("an answer belongs to no Check")
	case c.grpcStatus != "0":
		return fmt.Errorf("the server answered with gRPC status %q", c.grpcStatus)
	case !k.verified:
		return errors.New("the server sent half an answer")
	}
	delete(c.open, f.StreamID)
	c.answers++
	return nil
}

// readData checks an answer. A server sends so short a one in a single frame. The
// window of the connection is larger than the answers of a slice.
func (c *grpcConn) readData(f *http2.DataFrame) error {
	k, data := c.open[f.StreamID], f.Data()
	if k == nil || len(data) < 5 || data[0] != 0 || int(binary.BigEndian.Uint32(data[1:])) != len(data)-5 {
		return errUnreadable
	}
	k.verified = true
	return checkAnswer(data[5:], k.owner)
}

// clients is the number of client addresses.
const clients = 256

// headerBlocks are the headers that Envoy 1.40 sends with a Check. Like Envoy, they
// put the fields into the connection's table once, and spell out the path.
type headerBlocks struct {
	first []byte   // of the first request: fills the table
	later [][]byte // of all others, by client
}

func newHeaderBlocks() (*headerBlocks, error) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encode := func(client int, indexed bool) ([]byte, error) {
		block.Reset()
		for _, field := range []hpack.HeaderField{
			{Name: ":method", Value: "POST"},
			{Name: ":path", Value: "/envoy.service.auth.v3.Authorization/Check", Sensitive: true},
			{Name: ":authority", Value: "tokengate"},
			{Name: ":scheme", Value: "http"},
			{Name: "te", Value: "trailers"},
			{Name: "grpc-timeout", Value: "2000m"},
			{Name: "content-type", Value: "application/grpc"},
			// Envoy puts each address into the table, and removes older fields. Spelling
			// it out, as Sensitive does, costs the server the same.
			{Name: "x-client-ip", Value: fmt.Sprintf("10.1.%d.%d", client%7, client), Sensitive: !indexed},
			{Name: "x-envoy-internal", Value: "true"},
			{Name: "x-forwarded-for", Value: "192.0.2.2"},
			{Name: "x-envoy-expected-rq-timeout-ms", Value: "250"},
		} {
			if err := encoder.WriteField(field); err != nil {
				return nil, fmt.Errorf("encode headers: %w", err)
			}
		}
		return bytes.Clone(block.Bytes()), nil
	}
	first, err := encode(0, true)
	blocks := &headerBlocks{first: first}
	for client := range clients {
		if err != nil {
			break
		}
		var later []byte
		later, err = encode(client, false)
		blocks.later = append(blocks.later, later)
	}
	return blocks, err
}
