package app

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// Changed files are used once they are the same in two checks, and unusable ones never.
// The minimum version and the demand for a client certificate outlive every change.
func TestCertificatesReload(t *testing.T) {
	first, second, foreign := envoytest.NewAuthority(t), envoytest.NewAuthority(t), envoytest.NewAuthority(t)
	dir := mount(t, envoytest.Dir(t), first)
	files := filesIn(dir)
	core, logs := observer.New(zapcore.InfoLevel)
	end := prometheus.NewGauge(prometheus.GaugeOpts{Name: "end"})
	c, err := newCertificates(files, "h2", zap.New(core), end)
	if err != nil {
		t.Fatal(err)
	}
	server := c.config()
	write := func(name, content string) func() {
		return func() {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		name   string
		change func()
		want   *envoytest.Authority // of server and clients, from the second check on
		logged string               // by the second check
	}{
		{"nothing", func() {}, first, ""},
		{"another authority", func() { second.Write(dir, "localhost") }, second, "the certificate files were reloaded"},
		{"no key", write("tls.key", ""), second, "failed to find any PEM data in key input"},
		{"no authority", func() { second.Write(dir, "localhost"); c.reloadNow(); logs.TakeAll(); write("ca.crt", "none")() }, second, "there is no PEM certificate in it"},
		{"another's key", func() {
			key, err := os.ReadFile(files.Key)
			if err != nil {
				t.Fatal(err)
			}
			first.Write(dir, "localhost")
			write("tls.key", string(key))()
		}, second, "private key does not match public key"},
		{"no file", func() {
			if err := os.Remove(filepath.Join(dir, "tls.crt")); err != nil {
				t.Fatal(err)
			}
		}, second, "no such file"},
		{"an open key", func() {
			mount(t, dir, first)
			if err := os.Chmod(files.Key, 0o644); err != nil {
				t.Fatal(err)
			}
		}, second, "its mode is 0644; set it to 0640"},
		{"a closed key", func() {
			if err := os.Chmod(files.Key, 0o640); err != nil {
				t.Fatal(err)
			}
		}, first, "the certificate files were reloaded"},
		{"a swapped directory", func() { mount(t, dir, second) }, second, "the certificate files were reloaded"},
	} {
		step.change()
		before := c.current.Load()
		c.check()
		if c.current.Load() != before || logs.Len() != 0 {
			t.Errorf("%s: used or refused at the first check: %v", step.name, logs.TakeAll())
		}
		c.check()
		c.check() // refuses nothing twice
		var logged []string
		for _, line := range logs.TakeAll() {
			logged = append(logged, line.Message+" "+fmtError(line))
		}
		if step.logged == "" && len(logged) != 0 || step.logged != "" && (len(logged) != 1 || !strings.Contains(logged[0], step.logged)) {
			t.Errorf("%s: logged %q, want %q", step.name, logged, step.logged)
		}
		for _, a := range []*envoytest.Authority{first, second, foreign} {
			client := step.want.Client("localhost")
			client.GetClientCertificate = a.Client("localhost").GetClientCertificate
			client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for range 2 {
				state, err := handshake(t, server, client)
				if good := a == step.want; good != (err == nil) {
					t.Errorf("%s: a client of authority %p, want %p: error %v", step.name, a, step.want, err)
				} else if good && (state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" || state.DidResume) {
					t.Errorf("%s: %+v", step.name, state)
				} else if got := testutil.ToFloat64(end); good && got != float64(state.PeerCertificates[0].NotAfter.Unix()) {
					t.Errorf("%s: the metric says that the certificate ends at %.0f, want %v", step.name, got, state.PeerCertificates[0].NotAfter)
				}
			}
		}
		old := step.want.Client("localhost")
		old.MaxVersion = tls.VersionTLS12
		if _, err := handshake(t, server, old); err == nil {
			t.Errorf("%s: TLS 1.2 is accepted", step.name)
		}
		unknown := step.want.Client("localhost")
		unknown.GetClientCertificate = nil
		if _, err := handshake(t, server, unknown); err == nil {
			t.Errorf("%s: a client without a certificate is accepted", step.name)
		}
	}
}

// Without clientCA every client is accepted, and unusable files prevent a start.
func TestCertificatesAtTheStart(t *testing.T) {
	authority := envoytest.NewAuthority(t)
	dir := mount(t, envoytest.Dir(t), authority)
	files := filesIn(dir)
	files.ClientCA = ""
	c, err := newCertificates(files, "http/1.1", zap.NewNop(), newCertificateEnd().WithLabelValues("x"))
	if err != nil {
		t.Fatal(err)
	}
	server, client := c.config(), authority.Client("localhost")
	client.GetClientCertificate = nil
	if _, err := handshake(t, server, client); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*config.TLS){
		"certificate": func(f *config.TLS) { f.Certificate = dir + "/none" },
		"key":         func(f *config.TLS) { f.Key = dir + "/none" },
		"clientCA":    func(f *config.TLS) { f.ClientCA = dir + "/none" },
	} {
		files := filesIn(dir)
		change(&files)
		if _, err := newCertificates(files, "h2", zap.NewNop(), newCertificateEnd().WithLabelValues("x")); err == nil || !strings.Contains(err.Error(), dir+"/none") {
			t.Errorf("no %s: error %v", name, err)
		}
	}
}

// Connections without a finished handshake make room before those of clients with a
// certificate, and one failure a minute is logged.
func TestBoundListenerWithTLS(t *testing.T) {
	authority, foreign := envoytest.NewAuthority(t), envoytest.NewAuthority(t)
	c, err := newCertificates(filesIn(mount(t, envoytest.Dir(t), authority)), "h2", zap.NewNop(), newCertificateEnd().WithLabelValues("x"))
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("unix", envoytest.Dir(t)+"/s")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	s := newServer("", config.Default(), Options{})
	s.log = zap.New(core)
	l := s.bound("grpc", inner, 2, c.config())
	defer l.Close()
	deadline := time.Now().Add(waitTime)
	inner.(*net.UnixListener).SetDeadline(deadline)
	open := func() (client, server net.Conn) {
		t.Helper()
		client, err := net.Dial("unix", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		if server, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		client.SetDeadline(deadline)
		server.SetDeadline(deadline)
		return client, server
	}
	// Both ends finish the handshake and exchange a byte.
	greet := func(client, server net.Conn) error {
		go server.Write([]byte("x"))
		_, err := client.Read(make([]byte, 1))
		return err
	}
	client, server := open()
	known := tls.Client(client, authority.Client("localhost"))
	if err := greet(known, server); err != nil {
		t.Fatal(err)
	}
	silent, _ := open()
	open() // in place of silent, although known has been idle longer
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error("the connection without a handshake was kept")
	}
	if err := greet(known, server); err != nil {
		t.Errorf("the connection with a certificate was closed: %v", err)
	}
	for range 2 {
		client, server := open()
		if err := greet(tls.Client(client, foreign.Client("localhost")), server); err == nil {
			t.Error("a certificate of another authority is accepted")
		}
	}
	if failed := logs.FilterMessageSnippet("handshake failed"); failed.Len() != 1 {
		t.Errorf("the log says %v", logs.All())
	}
}

// filesIn returns the TLS files that mount puts into a directory.
func filesIn(dir string) config.TLS {
	return config.TLS{Certificate: dir + "/tls.crt", Key: dir + "/tls.key", ClientCA: dir + "/ca.crt"}
}

// mount puts an authority and its certificate for localhost into a directory as Kubernetes
// mounts a secret: the files are links through ..data, which is replaced by renaming.
func mount(t *testing.T, dir string, a *envoytest.Authority) string {
	t.Helper()
	version, err := os.MkdirTemp(dir, "..")
	if err != nil {
		t.Fatal(err)
	}
	a.Write(version, "localhost")
	link := func(target, name string) {
		next := filepath.Join(dir, "..next")
		if err := os.Symlink(target, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link(filepath.Base(version), "..data")
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			link("..data/"+name, name)
		}
	}
	return dir
}

// handshake connects a client to a server.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			conn.SetDeadline(time.Now().Add(waitTime))
			conn.Write([]byte("x"))
			conn.Close()
		}
	}()
	dialer := &net.Dialer{Deadline: time.Now().Add(waitTime)}
	conn, err := tls.DialWithDialer(dialer, "tcp", l.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	conn.SetDeadline(dialer.Deadline)
	_, err = conn.Read(make([]byte, 1)) // a refusal of the client's certificate comes after its handshake
	return conn.ConnectionState(), err
}

func fmtError(line observer.LoggedEntry) string {
	text, _ := line.ContextMap()["error"].(string)
	return text
}
