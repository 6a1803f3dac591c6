package wire_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tokengate/tokengate/envoy/wire"
)

type handler func(context.Context, *wire.Request) (*wire.Response, error)

func (h handler) Check(ctx context.Context, r *wire.Request) (*wire.Response, error) {
	return h(ctx, r)
}

// serve serves h on a real connection.
func serve(t *testing.T, h wire.Handler, options ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(options, grpc.ForceServerCodecV2(wire.Codec(addressHeader)))...)
	wire.Register(server, h)
	healthv1.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestServe(t *testing.T) {
	denial := newResponse(t, denied("", ""))
	var got reading
	conn := serve(t, handler(func(_ context.Context, r *wire.Request) (*wire.Response, error) {
		got = readingOf(r)
		got.Request.UserAgent = strings.Clone(r.UserAgent)
		return denial.WithMetadata(r.UserAgent, ""), nil
	}))
	answer, err := authv3.NewAuthorizationClient(conn).Check(context.Background(), trimmed())
	if err != nil {
		t.Fatal(err)
	}
	agent := trimmed().GetAttributes().GetRequest().GetHttp().GetHeaders()["user-agent"]
	if !got.HTTP || got.Request.UserAgent != agent {
		t.Errorf("the handler got %+v", got)
	}
	if !proto.Equal(answer, denied(agent, "")) {
		t.Errorf("the client got %v", answer)
	}
}

// Calls that reuse memory must not see each other's content.
func TestServeManyAtOnce(t *testing.T) {
	ok, denial, pass := newResponse(t, allowed("", "", "")), newResponse(t, denied("", "")), newResponse(t, passed())
	conn := serve(t, handler(func(_ context.Context, r *wire.Request) (*wire.Response, error) {
		switch r.Method {
		case "DENY":
			return denial.WithMetadata(r.UserAgent, r.RequestID), nil
		case "PASS":
			return pass, nil
		}
		return allow(ok, r.UserAgent, r.RequestID, r.Path), nil
	}), grpc.NumStreamWorkers(4))
	client := authv3.NewAuthorizationClient(conn)
	const callers, calls = 16, 60
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for j := range calls {
				id := fmt.Sprintf("%d-%d", i, j)
				user := strings.Repeat("u", 1+i*j%300) + id
				check := checkRequest(map[string]string{"x-request-id": id, "user-agent": user, "cookie": strings.Repeat("c", i*j%5000)})
				http := check.GetAttributes().GetRequest().GetHttp()
				http.Path = "/" + strings.Repeat("p", i*j%3000) + id
				want := allowed(user, id, http.Path)
				switch j % 3 {
				case 0:
					http.Method, want = "DENY", denied(user, id)
				case 1:
					http.Method, want = "PASS", passed()
				}
				answer, err := client.Check(context.Background(), check)
				if err != nil || !proto.Equal(want, answer) {
					t.Errorf("%s was answered %v, %v", id, answer, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestOtherServicesUseTheStandardCodec(t *testing.T) {
	conn := serve(t, handler(nil))
	answer, err := healthv1.NewHealthClient(conn).Check(context.Background(), &healthv1.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", answer, err)
	}
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[*reflectionv1.ServerReflectionRequest]string{
		{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}: authv3.Authorization_ServiceDesc.ServiceName,
		{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{
			FileContainingSymbol: authv3.Authorization_ServiceDesc.ServiceName,
		}}: "external_auth.proto",
	} {
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		if answer, err := stream.Recv(); err != nil || !strings.Contains(answer.String(), want) {
			t.Errorf("reflection: %v, %v", answer, err)
		}
	}
}

// A malformed frame and an empty answer are errors: Envoy takes an empty message
// for an OK.
func TestEmptyAnswersAreNotServed(t *testing.T) {
	pass := newResponse(t, passed())
	var answer *wire.Response
	var asked int
	h := handler(func(context.Context, *wire.Request) (*wire.Response, error) {
		asked++
		return answer, nil
	})
	ask := func(conn *grpc.ClientConn, frame []byte) ([]byte, error) {
		var reply []byte
		err := conn.Invoke(context.Background(), authv3.Authorization_Check_FullMethodName, &frame, &reply, grpc.ForceCodecV2(rawCodec{}))
		return reply, err
	}
	conn := serve(t, h)
	for name, r := range map[string]*wire.Response{"nil": nil, "zero": {}, "nobody": allow(newResponse(t, allowed("", "", "")), "", "", "")} {
		answer = r
		if reply, err := ask(conn, frameOf(full())); status.Code(err) != codes.Internal {
			t.Errorf("the %s answer was sent as %q, %v", name, reply, err)
		}
	}
	asked, answer = 0, pass
	for name, frame := range malformed {
		if reply, err := ask(conn, frame); status.Code(err) != codes.Internal || asked > 0 {
			t.Errorf("%s was answered %q, %v", name, reply, err)
		}
	}
	// A malformed frame does not affect the next call.
	got := new(authv3.CheckResponse)
	if reply, err := ask(conn, frameOf(full())); err != nil || proto.Unmarshal(reply, got) != nil || !proto.Equal(passed(), got) {
		t.Errorf("a good frame was answered %q, %v", reply, err)
	}
	// An interceptor would have to be called, and none is.
	conn = serve(t, h, grpc.UnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		return next(ctx, r)
	}))
	if reply, err := ask(conn, frameOf(full())); status.Code(err) != codes.Internal {
		t.Errorf("with an interceptor: %q, %v", reply, err)
	}
}

// rawCodec sends and receives bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func TestRegisterEqualsGeneratedCode(t *testing.T) {
	actual, generated := grpc.NewServer(), grpc.NewServer()
	wire.Register(actual, handler(nil))
	authv3.RegisterAuthorizationServer(generated, authv3.UnimplementedAuthorizationServer{})
	if diff := cmp.Diff(generated.GetServiceInfo(), actual.GetServiceInfo()); diff != "" {
		t.Errorf("-generated +actual:\n%s", diff)
	}
}

// A frame may arrive in several buffers, and no reference to them is kept.
func TestCodecCopiesFrames(t *testing.T) {
	frame := frameOf(full())
	want := decode(t, frame)
	for _, cut := range [][]int{{}, {1}, {700}, {0, 5, 5, 1000}} {
		var data mem.BufferSlice
		rest := append([]byte{}, frame...)
		whole := rest
		at := 0
		for _, end := range cut {
			data = append(data, mem.SliceBuffer(rest[:end-at]))
			rest, at = rest[end-at:], end
		}
		data = append(data, mem.SliceBuffer(rest))
		r := used(t)
		if err := wire.Codec(addressHeader).Unmarshal(data, r); err != nil {
			t.Fatal(err)
		}
		clear(whole)
		if diff := cmp.Diff(want, readingOf(r), cmp.Comparer(sameRequest)); diff != "" {
			t.Errorf("cut at %v, -want +got:\n%s", cut, diff)
		}
	}
	r := new(wire.Request)
	if err := wire.Decode(frame, r, addressHeader); err != nil {
		t.Fatal(err)
	}
	clear(frame)
	if diff := cmp.Diff(want, readingOf(r), cmp.Comparer(sameRequest)); diff != "" {
		t.Errorf("Decode kept the frame, -want +got:\n%s", diff)
	}
}

// A request's text does not outlive its call, even where a reference was kept.
func TestRequestsAreWiped(t *testing.T) {
	var method grpc.MethodDesc
	var kept []string
	pass := newResponse(t, passed())
	wire.Register(registrar(func(d *grpc.ServiceDesc) { method = d.Methods[0] }), handler(func(_ context.Context, r *wire.Request) (*wire.Response, error) {
		kept = append(kept, r.Path, r.Upgrade)
		return pass, nil
	}))
	data := mem.BufferSlice{mem.SliceBuffer(frameOf(rawHeaders(full(), "authorization", authorization, "upgrade", "a", "upgrade", "b")))}
	decode := func(v any) error { return wire.Codec("").Unmarshal(data, v) }
	if _, err := method.Handler(nil, context.Background(), decode, nil); err != nil {
		t.Fatal(err)
	}
	for _, text := range kept {
		if text == "" || strings.Trim(text, "\x00") != "" {
			t.Errorf("kept %q", text)
		}
	}
}

type registrar func(*grpc.ServiceDesc)

func (r registrar) RegisterService(d *grpc.ServiceDesc, _ any) { r(d) }

// The text that a decision decoded is wiped before its memory is reused.
func TestMemoryIsWiped(t *testing.T) {
	answer := newResponse(t, denied("", ""))
	var method grpc.MethodDesc
	var memory []byte
	wire.Register(registrar(func(d *grpc.ServiceDesc) { method = d.Methods[0] }), handler(func(_ context.Context, r *wire.Request) (*wire.Response, error) {
		r.Memory = append(r.Memory, "a secret, and more"...)
		memory = r.Memory[:cap(r.Memory)]
		r.Memory = r.Memory[:1] // as a panic may leave it
		return answer, nil
	}))
	codec, data := wire.Codec(""), mem.BufferSlice{mem.SliceBuffer(frameOf(full()))}
	if _, err := method.Handler(nil, t.Context(), func(v any) error { return codec.Unmarshal(data, v) }, nil); err != nil {
		t.Fatal(err)
	}
	if rest := bytes.Trim(memory, "\x00"); len(rest) > 0 {
		t.Errorf("%q is left", rest)
	}
}
