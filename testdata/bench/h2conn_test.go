// These tests put load on servers for a moment, and want a machine that is not
// busy with others: make test-long runs them.

//go:build long

package main

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tokengate/tokengate/envoy/envoytest"
)

// plainH2 serves HTTP/2 by another implementation than gRPC's, one that ends
// connections whose client sends more than it may.
func plainH2(t *testing.T, handler http.HandlerFunc) (socket string) {
	t.Helper()
	socket = filepath.Join(envoytest.Dir(t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:   handler,
		Protocols: new(http.Protocols),
		HTTP2:     &http.HTTP2Config{MaxReceiveBufferPerConnection: defaultWindow + 1, MaxReceiveBufferPerStream: defaultWindow},
	}
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return socket
}

// answer writes a gRPC answer: a message that is said to be as long as length.
func answer(w http.ResponseWriter, message []byte, length int) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(length)), message...))
	w.Header().Set("Grpc-Status", "0")
}

// 64 questions with full headers are more than the connection's first window.
// This server gives none of it back before as many have come as fit.
func TestConnectionKeepsToTheWindow(t *testing.T) {
	allowed, err := proto.Marshal(plainAllow())
	if err != nil {
		t.Fatal(err)
	}
	question, err := newQuestion(full, basic)
	if err != nil {
		t.Fatal(err)
	}
	var fit sync.WaitGroup
	fit.Add(defaultWindow / len(question.frame))
	var mu sync.Mutex
	waiting := defaultWindow / len(question.frame)
	load := newLoad(t, plainH2(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if waiting > 0 {
			waiting--
			fit.Done()
		}
		mu.Unlock()
		fit.Wait()
		io.Copy(io.Discard, r.Body) // gives the window back
		answer(w, allowed, len(allowed))
	}), full)
	load.conns = 1
	result, err := load.run(t.Context(), short)
	if err != nil {
		t.Fatal(err)
	}
	if result.answers < defaultWindow/len(question.frame) {
		t.Errorf("%d answers came", result.answers)
	}
}

func TestConnectionSeesHalfAnAnswer(t *testing.T) {
	load := newLoad(t, plainH2(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		answer(w, []byte{0x0a, 0x00}, 100)
	}), trimmed)
	if _, err := load.run(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "half an answer") {
		t.Errorf("the load says %v", err)
	}
}
