package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"time"
)

// h1conn is one HTTP/1.1 connection of the end to end load.
type h1conn struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

func dialH1(address string) (*h1conn, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &h1conn{conn: conn, in: bufio.NewReaderSize(conn, 8<<10)}, nil
}

// send sends a script's request with a credential.
func (c *h1conn) send(credential []byte) error {
	c.out = append(c.out[:0], "GET "+askedPath+" HTTP/1.1\r\nHost: "+askedHost+"\r\n"+
		"User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: application/json\r\n"+
		"Connection: keep-alive\r\nAuthorization: "...)
	c.out = append(c.out, credential...)
	c.out = append(c.out, "\r\n\r\n"...)
	_, err := c.conn.Write(c.out)
	return err
}

// receive reads the answer. The upstream must have seen this user.
func (c *h1conn) receive(user []byte) error {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("an answer is %q", bytes.TrimSpace(line))
	}
	length := -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return fmt.Errorf("read an answer: %w", err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if hasPrefixFold(line, lengthPrefix) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(lengthPrefix):]))); err != nil {
				return fmt.Errorf("read an answer: %w", err)
			}
		}
	}
	if length != bodyLength {
		return fmt.Errorf("an answer has a body of %d bytes", length)
	}
	body, err := c.in.Peek(bodyLength)
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	if !bytes.HasPrefix(body, user) || body[len(user)] != ' ' {
		return fmt.Errorf("the upstream saw %q, not %q", body[:nameLength], user)
	}
	_, err = c.in.Discard(bodyLength)
	return err
}

// close ends the connection. What has not been read of an answer is lost.
func (c *h1conn) close() { _ = c.conn.Close() }
