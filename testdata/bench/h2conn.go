package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/http2/hpack"
)

// drainTime bounds the wait for the last answers of a slice.
const drainTime = 10 * time.Second

// h2conn is one HTTP/2 connection with a number of Checks under way at any
// time. It is cheap, because it runs on the cores of the server that it
// measures: frames are made beforehand, many go out in one write.
type h2conn struct {
	load    *h2load
	conn    net.Conn
	in      *bufio.Reader
	out     []byte
	buffer  []byte
	headers *headerBlocks
	decoder *hpack.Decoder

	streams    int    // how many may be under way
	window     int    // bytes of DATA that may be sent
	next       uint32 // the stream of the next Check
	open       map[uint32]*asked
	free       []*asked
	going      bool // the server wants no more streams
	received   int  // bytes of DATA not given back as window yet
	cursor     int  // the next credential
	answers    int
	grpcStatus string // of the header block that is being read
}

// asked is a Check under way.
type asked struct {
	owner    uint32
	message  []byte // what has come of the answer, with gRPC's 5 bytes in front
	verified bool
}

// dialH2 connects and says what a client says first.
func dialH2(l *h2load, cursor int) (*h2conn, error) {
	headers, err := newHeaderBlocks()
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("unix", l.socket)
	if err != nil {
		return nil, err
	}
	c := &h2conn{
		load: l, conn: conn, headers: headers, cursor: cursor,
		in:      bufio.NewReaderSize(conn, 64<<10),
		buffer:  make([]byte, maxFrame),
		streams: l.streams, window: defaultWindow, next: 1,
		open: make(map[uint32]*asked, l.streams),
	}
	c.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == "grpc-status" {
			c.grpcStatus = f.Value
		}
	})
	for range l.streams {
		c.free = append(c.free, new(asked))
	}
	c.out = append(c.out, clientPreface...)
	c.out = appendFrameHeader(c.out, 6, frameSettings, 0, 0)
	c.out = appendSetting(c.out, settingWindow, 1<<20)
	c.out = appendWindowUpdate(c.out, 0, maxWindow-defaultWindow)
	return c, nil
}

// run asks until the deadline and then waits for the answers that are due. It
// ends before the deadline if the server wants the connection to end.
func (c *h2conn) run(deadline time.Time) error {
	defer c.conn.Close()
	if err := c.conn.SetDeadline(deadline.Add(drainTime)); err != nil {
		return err
	}
	// The server's first frame are its settings (RFC 9113 §3.4), which say how
	// much it takes at once.
	if err := errors.Join(c.flush(), c.read()); err != nil {
		return err
	}
	asking := true
	for {
		if asking = asking && !c.going && time.Now().Before(deadline); asking {
			c.ask()
		}
		if err := c.flush(); err != nil {
			return err
		}
		if len(c.open) == 0 && !asking {
			return nil
		}
		// Everything that has come is worked through before the next write.
		for once := true; once || c.in.Buffered() >= frameHeaderLength; once = false {
			if err := c.read(); err != nil {
				return c.missing(err)
			}
		}
	}
}

func (c *h2conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return c.missing(err)
}

// missing says how much an error has lost.
func (c *h2conn) missing(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (%d answers are missing)", err, len(c.open))
}

// ask opens streams until there are as many as there may be.
func (c *h2conn) ask() {
	for len(c.open) < min(c.streams, c.load.streams) {
		f, credential, owner := c.load.credentials.at(c.cursor)
		question := &c.load.questions[f]
		size := len(question.frame) - frameHeaderLength
		if size > c.window {
			return
		}
		c.window -= size
		headers := c.headers.first
		if c.next > 1 {
			headers = c.headers.later[c.cursor%clients]
		}
		at := len(c.out)
		c.out = append(c.out, headers...)
		setStream(c.out[at:], c.next)
		at = len(c.out)
		c.out = append(c.out, question.frame...)
		setStream(c.out[at:], c.next)
		copy(c.out[at+question.at:], credential)

		a := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		*a = asked{owner: owner, message: a.message[:0]}
		c.open[c.next] = a
		c.next += 2
		c.cursor++
	}
}

// read reads one frame and does what it asks for.
func (c *h2conn) read() error {
	f, err := readFrame(c.in, c.buffer)
	if err != nil {
		return err
	}
	switch f.kind {
	case frameHeaders:
		return c.readHeaders(f)
	case frameData:
		return c.readData(f)
	case frameSettings:
		return c.readSettings(f)
	case framePing:
		if !f.has(flagAck) {
			c.out = appendFrameHeader(c.out, len(f.payload), framePing, flagAck, 0)
			c.out = append(c.out, f.payload...)
		}
	case frameWindowUpdate:
		if f.stream == 0 && len(f.payload) == 4 {
			c.window += int(binary.BigEndian.Uint32(f.payload) & maxWindow)
		}
	case frameGoAway:
		c.going = true
	case frameReset:
		return fmt.Errorf("the server reset a stream: %x", f.payload)
	default:
		return fmt.Errorf("the server sent a frame of kind %d", f.kind)
	}
	return nil
}

func (c *h2conn) readHeaders(f frame) error {
	if f.has(flagPadded|flagPriority) || !f.has(flagEndHeaders) {
		return errors.New("the server sent headers in a form that this client does not read")
	}
	c.grpcStatus = ""
	if _, err := c.decoder.Write(f.payload); err != nil {
		return fmt.Errorf("read headers: %w", err)
	}
	if err := c.decoder.Close(); err != nil {
		return fmt.Errorf("read headers: %w", err)
	}
	if !f.has(flagEndStream) {
		return nil
	}
	a := c.open[f.stream]
	switch {
	case a == nil:
		return errors.New("the server answered what was not asked")
	case c.grpcStatus != "0":
		return fmt.Errorf("the server answered with gRPC status %q", c.grpcStatus)
	case !a.verified:
		return errors.New("the server sent half an answer")
	}
	delete(c.open, f.stream)
	c.free = append(c.free, a)
	c.answers++
	return nil
}

func (c *h2conn) readData(f frame) error {
	a := c.open[f.stream]
	if a == nil || f.has(flagPadded) || f.has(flagEndStream) {
		return errors.New("the server sent data where none was due")
	}
	if c.received += len(f.payload); c.received > maxWindow/2 {
		c.out = appendWindowUpdate(c.out, 0, uint32(c.received))
		c.received = 0
	}
	a.message = append(a.message, f.payload...)
	if len(a.message) < 5 {
		return nil
	}
	length := int(binary.BigEndian.Uint32(a.message[1:]))
	switch {
	case a.message[0] != 0 || len(a.message)-5 > length:
		return errUnreadable
	case len(a.message)-5 < length:
		return nil
	}
	var owner []byte
	if c.load.named {
		owner = c.load.credentials.name(a.owner)
	}
	a.verified = true
	return checkAnswer(a.message[5:], owner)
}

func (c *h2conn) readSettings(f frame) error {
	if f.has(flagAck) {
		return nil
	}
	for b := f.payload; len(b) >= 6; b = b[6:] {
		value := binary.BigEndian.Uint32(b[2:])
		switch binary.BigEndian.Uint16(b) {
		case settingMaxStreams:
			c.streams = int(min(value, 1<<20))
		case settingWindow:
			if value < maxFrame {
				return fmt.Errorf("the server's window of %d bytes is too small for this client", value)
			}
		case settingTableSize:
			if value < 4096 {
				return fmt.Errorf("the server's header table of %d bytes is too small for this client", value)
			}
		}
	}
	c.out = appendFrameHeader(c.out, 0, frameSettings, flagAck, 0)
	return nil
}
