package etcdtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

// CallProxy is a proxy of gRPC calls between clients and a node, which can be slow, and can lose the answers to
// watches. It needs http.
type CallProxy struct {
	Endpoint string // URL for clients

	node *grpc.ClientConn

	mu     sync.Mutex
	delay  time.Duration
	silent bool
}

// NewCallProxy starts a proxy of a node, which ends with the test.
func NewCallProxy(t testing.TB, n *Node) *CallProxy {
	t.Helper()
	u, err := url.Parse(n.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const maxMessage = 64 << 20
	p := &CallProxy{Endpoint: "http://" + l.Addr().String()}
	p.node, err = grpc.NewClient("passthrough:///"+u.Host, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second}}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(messages{}), grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(messages{}), grpc.UnknownServiceHandler(p.forward), grpc.MaxRecvMsgSize(maxMessage),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Stop()
		p.node.Close()
		<-done
	})
	return p
}

// Slow delays each request of clients.
func (p *CallProxy) Slow(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = by
}

// Silence loses the answers to watches until Speak. A watch that has lost one stays silent.
func (p *CallProxy) Silence() { p.setSilent(true) }

// Speak ends Silence.
func (p *CallProxy) Speak() { p.setSilent(false) }

func (p *CallProxy) setSilent(silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = silent
}

func (p *CallProxy) state() (delay time.Duration, silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay, p.silent
}

// forward forwards one call.
func (p *CallProxy) forward(_ any, client grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(client)
	header, _ := metadata.FromIncomingContext(client.Context())
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(client.Context(), header))
	defer cancel()
	node, err := p.node.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	var requests sync.WaitGroup
	defer requests.Wait()
	defer cancel()
	requests.Go(func() {
		for {
			var m []byte
			if err := client.RecvMsg(&m); err != nil {
				_ = node.CloseSend() // the call ends with the client's context if this is no io.EOF
				return
			}
			delay, _ := p.state()
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return
			}
			if err := node.SendMsg(&m); err != nil {
				return // RecvMsg below has the reason
			}
		}
	})
	watch, lost := strings.HasSuffix(method, ".Watch/Watch"), false
	for {
		var m []byte
		err := node.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			client.SetTrailer(node.Trailer())
			return nil
		}
		if err != nil {
			return err
		}
		if _, silent := p.state(); watch && silent {
			lost = true
		}
		if lost {
			continue
		}
		if err := client.SendMsg(&m); err != nil {
			return err
		}
	}
}

// messages is a codec that leaves messages as they are.
type messages struct{}

func (messages) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (messages) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func (messages) Name() string { return "proto" }
