package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
)

// measureReplicas is row g: servers on etcd.
func measureReplicas(ctx context.Context, sizes scale, r *report) {
	n := must(startEtcd(ctx))
	defer func() { try(n.close()) }()
	try(n.fill(ctx, sizes.shared))
	measureSpread(ctx, sizes, n, r)
	measureStores(ctx, sizes, n, r)
	if r.quick {
		return
	}
	try(n.fill(ctx, sizes.tokens))
	s := must(startEtcdServer(ctx, n, sizes.tokens))
	defer func() { try(s.close()) }()
	starts := []float64{s.ready.Seconds()}
	for range sizes.starts - 1 {
		try(s.restart(ctx))
		starts = append(starts, s.ready.Seconds())
	}
	r.atMost("start to ready at "+count(sizes.tokens)+" tokens in etcd", 10, "s", spreadOf(starts...))
}

// measureSpread measures how soon a server knows what another has acknowledged.
func measureSpread(ctx context.Context, sizes scale, n *etcdNode, r *report) {
	a := must(startEtcdServer(ctx, n, sizes.shared))
	defer func() { try(a.close()) }()
	b := must(startEtcdServer(ctx, n, sizes.shared))
	defer func() { try(b.close()) }()
	first, second := must(newAsker(a.check)), must(newAsker(b.check))
	defer func() { try(errors.Join(first.close(), second.close())) }()

	loaded, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	loadErrors := make(chan error, 2)
	for _, asked := range []*asker{first, second} {
		load.Go(func() {
			if err := asked.ask(loaded, sizes.shared); err != nil {
				loadErrors <- err
			}
		})
	}
	var creates, revokes samples
	for i := range sizes.spreads {
		value := must(createToken(ctx, a.admin, fmt.Sprintf("spread%05d", i)))
		creates = append(creates, must(second.until(ctx, value, "allowed")))
		try(revokeToken(ctx, a.admin, value.ID().String()))
		revokes = append(revokes, must(second.until(ctx, value, "unknown_token")))
	}
	stop()
	load.Wait()
	select {
	case err := <-loadErrors:
		try(err)
	default:
	}
	table := r.add(fmt.Sprintf("(g) Two servers on one etcd, %s tokens", count(sizes.shared)), "from the answer of one server to the first at the other", "p50 ms", "p99 ms")
	for _, kind := range []struct {
		name  string
		times samples
	}{{"create to its first success", creates}, {"revoke to its first refusal", revokes}} {
		p50, p99 := kind.times.quantile(0.50), kind.times.quantile(0.99)
		table.line(kind.name, number(micros(p50)/1000), number(micros(p99)/1000))
		r.atMost(kind.name+" at another server, p99", 20, "ms", spreadOf(micros(p99)/1000))
	}
	table.note("%d of each, one at a time, beside %d checks a second on each server. The other server is asked again and again; the time is that until its answer has come.", sizes.spreads, int(time.Second/askEvery))
}

// measureStores compares a server on etcd with one on Badger.
func measureStores(ctx context.Context, sizes scale, n *etcdNode, r *report) {
	table := r.add(fmt.Sprintf("(g) A decision by the store, %s tokens", count(sizes.shared)), "", "ns per decision", "allocations", "server CPU µs/request", "÷ Badger")
	local := must(openStore(ctx, sizes.shared))
	defer func() { try(local.close()) }()
	shared := must(n.config(sizes.shared).Open(ctx, store.OpenOptions{}))
	defer func() { try(shared.Close()) }()
	following, stop := context.WithCancel(ctx)
	defer stop()
	tokens := must(cached.New(following, shared.Store))
	c := must(newCredentials(sizes.shared))
	views := []authz.View{local.view, permitAll(tokens.Index())}
	var decide []variant[testing.BenchmarkResult]
	for i, name := range []string{"Badger", "etcd"} {
		views[i].Now = time.Now() // etcd's state is fresh now
		decide = append(decide, variant[testing.BenchmarkResult]{name, decideBenchmark(views[i], searchPath, c.of(bearer), authz.TokenAllowed)})
	}
	decided := must(alternate(ctx, sizes.rounds, decide))

	onBadger := must(startServer(ctx, sizes.shared, "127.0.0.1:1"))
	defer func() { try(onBadger.close()) }()
	onEtcd := must(startEtcdServer(ctx, n, sizes.shared))
	defer func() { try(onEtcd.close()) }()
	var checks []variant[loadResult]
	for i, s := range []*server{onBadger, onEtcd} {
		load := must(newGRPCLoad(s.check, full, true, c))
		try(s.pause())
		checks = append(checks, variant[loadResult]{decide[i].name, func(ctx context.Context) (result loadResult, err error) {
			cpu, err := s.during(func() (err error) {
				result, err = load.run(ctx, sizes.check)
				return err
			})
			result.server = cpu
			return result, errors.Join(err, s.trimLog())
		}})
	}
	checked := must(alternate(ctx, sizes.rounds, checks))
	try(errors.Join(onBadger.resume(), onEtcd.resume()))
	base := each(checked[0], loadResult.serverMicros)
	var allocations [2][]float64
	for i, v := range decide {
		ns := each(decided[i], func(b testing.BenchmarkResult) float64 { return float64(b.T) / float64(b.N) })
		allocations[i] = each(decided[i], func(b testing.BenchmarkResult) float64 { return float64(b.AllocsPerOp()) })
		cpu := each(checked[i], loadResult.serverMicros)
		table.line(v.name, spreadOf(ns...).String(), spreadOf(allocations[i]...).String(), spreadOf(cpu...).String(), ratios(cpu, base).String())
		if i == 1 {
			r.atMost("allocations of Decide on etcd", spreadOf(allocations[0]...).median, "", spreadOf(allocations[1]...))
			r.atMost("server CPU per request, etcd ÷ Badger", 1.10, "×", ratios(cpu, base))
		}
	}
}

// asker asks a server one question at a time, as Envoy does.
type asker struct {
	conn   *grpc.ClientConn
	checks authv3.AuthorizationClient
}

func newAsker(socket string) (*asker, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &asker{conn, authv3.NewAuthorizationClient(conn)}, nil
}

func (a *asker) close() error { return a.conn.Close() }

// check returns the reason of the answer.
func (a *asker) check(ctx context.Context, value token.Value) (string, error) {
	headers := map[string]string{"authorization": "Bearer " + value.Reveal()}
	answer, err := a.checks.Check(metadata.AppendToOutgoingContext(ctx, "x-client-ip", "10.1.2.3"),
		&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: searchPath, Protocol: "HTTP/1.1", Headers: headers},
		}}})
	return answer.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), err
}

// until asks until the answer has a reason, and returns how long that took.
func (a *asker) until(ctx context.Context, value token.Value, reason string) (time.Duration, error) {
	began := time.Now()
	for {
		got, err := a.check(ctx, value)
		if took := time.Since(began); err != nil || got == reason {
			return took, err
		} else if took > startTime {
			return took, fmt.Errorf("after %v the answer is %s, want %s", took, got, reason)
		}
	}
}

// askEvery is the pace of the load.
const askEvery = 2 * time.Millisecond

// ask asks about the first size tokens in random order until ctx ends.
func (a *asker) ask(ctx context.Context, size int) error {
	again := time.NewTicker(askEvery)
	defer again.Stop()
	picked := pickAmong(size, size, reads)
	for i := 0; ; i++ {
		value, err := valueOf(picked[i%len(picked)])
		if err != nil {
			return err
		}
		got, err := a.check(ctx, value)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case got != "allowed":
			return fmt.Errorf("a token of the load gets %s", got)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// createToken creates a token over the admin socket.
func createToken(ctx context.Context, admin *http.Client, user string) (token.Value, error) {
	body, err := json.Marshal(map[string]string{"label": "bench", "user": user})
	if err != nil {
		return token.Value{}, err
	}
	answer, err := manageTokens(ctx, admin, http.MethodPost, "", body)
	if err != nil {
		return token.Value{}, err
	}
	var created struct{ PasswordValue string }
	if err := json.Unmarshal(answer, &created); err != nil {
		return token.Value{}, err
	}
	return token.Parse(created.PasswordValue)
}

func revokeToken(ctx context.Context, admin *http.Client, id string) error {
	_, err := manageTokens(ctx, admin, http.MethodDelete, "/"+id, nil)
	return err
}

// manageTokens sends a request to the management API.
func manageTokens(ctx context.Context, admin *http.Client, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://tokengate/rest/api-tokens/latest"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := admin.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s of a token: status %s: %s", method, response.Status, token.Redact(string(answer)))
	}
	return answer, err
}
