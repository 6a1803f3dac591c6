package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
)

// roleUpstream is the server behind Envoy: see playRole.
const roleUpstream = "upstream"

// bodyLength is the length of every answer's body.
const bodyLength = 512

// nobody is what the upstream calls a request without an identity.
const nobody = "nobody"

// serveUpstream serves until l fails. It stands for Jira, but answers at once,
// so that what is measured is what stands in front of it: it reads a request's
// head, and answers with the user that the identity header names. Requests have
// no body.
func serveUpstream(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			defer conn.Close()
			// A client that goes away, or sends what this is no server for,
			// loses its connection.
			_ = answerAll(conn)
		}()
	}
}

var errTooMuch = errors.New("a request has a body or an endless head")

func answerAll(conn io.ReadWriter) error {
	in := bufio.NewReaderSize(conn, 16<<10)
	answer := []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", bodyLength))
	head := len(answer)
	answer = append(answer, make([]byte, bodyLength)...)
	for {
		user, err := readHead(in)
		if err != nil {
			return err
		}
		n := head + copy(answer[head:], user)
		for i := n; i < len(answer); i++ {
			answer[i] = ' '
		}
		if _, err := conn.Write(answer); err != nil {
			return err
		}
	}
}

var (
	identityPrefix = []byte(identityHeader + ":")
	lengthPrefix   = []byte("content-length:")
	chunkedPrefix  = []byte("transfer-encoding:")
)

// readHead reads a request's head and returns the user in it. The result is
// good until the next read.
func readHead(in *bufio.Reader) (user []byte, err error) {
	user = []byte(nobody)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			return user, nil
		case hasPrefixFold(line, identityPrefix):
			user = bytes.Clone(bytes.TrimSpace(line[len(identityPrefix):]))
		case hasPrefixFold(line, lengthPrefix), hasPrefixFold(line, chunkedPrefix):
			return nil, errTooMuch
		}
	}
}

func hasPrefixFold(line, prefix []byte) bool {
	return len(line) >= len(prefix) && bytes.EqualFold(line[:len(prefix)], prefix)
}
