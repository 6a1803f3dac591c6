package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/envoytest"
	"github.com/tokengate/tokengate/store"
)

// now is the tests' time. Jira's is the real one.
var now = time.Now()

// fixture is an installation without processes: files, a Jira-shaped server, and the answers of
// tokengate's server.
type fixture struct {
	dir         string
	options     Options
	status      web.Status
	tokens      []web.Token
	connections web.UpstreamConnections
}

// newFixture makes one in which nothing is wrong. It uses etcd over TLS and personal access
// tokens, and does not know Envoy's socket.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{dir: envoytest.Dir(t)}
	l, err := net.Listen("unix", f.dir+"/a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := os.Chmod(f.dir+"/a", 0o600); err != nil {
		t.Fatal(err)
	}
	jira := httptest.NewServer(jiratest.New(jiratest.Options{}))
	t.Cleanup(jira.Close)
	f.write(t, "key", "0123456789abcdefghijklmnopqrstuv")
	f.certificate(t, "ca.crt", now.AddDate(1, 0, 0))
	f.certificate(t, "tls.crt", now.AddDate(1, 0, 0))
	f.write(t, "tokengate.yaml", `
publicURL: https://jira.example.com
listen: {admin: "unix://`+f.dir+`/a", grpc: "tcp://127.0.0.1:9001", http: "tcp://127.0.0.1:9002", metrics: {address: "tcp://127.0.0.1:9464", tls: {certificate: `+f.dir+`/tls.crt, key: `+f.dir+`/tls.key}}}
store: {etcd: {endpoints: ["https://127.0.0.1:2379"], tls: {ca: `+f.dir+`/ca.crt}}}
upstream: {url: "`+jira.URL+`", identity: {pat: {sealKeys: [`+f.dir+`/key]}}}
directory: {upstream: {credential: `+f.dir+`/credential}}
`)
	f.status = web.Status{Started: now.UnixMilli(), TokensFresh: true, UsersFresh: true, Envoy: string(envoy.ConfigurationCurrent),
		File: contentOf(filepath.Join(f.dir, "tokengate.yaml"))}
	f.used("alice", "10.0.0.5")
	f.used("alice", "10.0.0.5")
	f.used("bob", "192.0.2.7")
	f.connections.Connections = []web.UpstreamConnection{{State: store.UpstreamActive.String(), ExpiresAt: new(now.AddDate(0, 0, 60).UnixMilli())}}
	f.options = Options{File: filepath.Join(f.dir, "tokengate.yaml"), EnvoyAdmin: f.dir + "/nowhere", Now: func() time.Time { return now }, Ask: f.ask}
	return f
}

func (f *fixture) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// certificate writes one that ends at a time.
func (f *fixture) certificate(t *testing.T, name string, end time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.AddDate(-2, 0, 0), NotAfter: end}
	encoded, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, name, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: encoded})))
}

// used adds a token that was used an hour ago.
func (f *fixture) used(owner, address string) {
	f.tokens = append(f.tokens, web.Token{User: owner, State: "active", LastAddress: &address, LastAccessed: new(now.Add(-time.Hour).UnixMilli())})
}

func (f *fixture) ask(_ context.Context, _, path string, _ url.Values, answer any) error {
	switch into := answer.(type) {
	case *web.Status:
		*into = f.status
	case *web.UpstreamConnections:
		*into = f.connections
	case *struct {
		Values []web.Token `json:"values"`
	}:
		into.Values = f.tokens
	default:
		return errors.New("no such path: " + path)
	}
	return nil
}

// Each mistake is found, and nothing else; without one, nothing.
func TestChecks(t *testing.T) {
	for _, m := range []struct {
		name    string
		plant   func(t *testing.T, f *fixture)
		id      string
		verdict Verdict
		found   string
	}{
		{"none", func(*testing.T, *fixture) {}, "", OK, ""},
		{"a sealing key that all may read", func(t *testing.T, f *fixture) {
			if err := os.Chmod(f.dir+"/key", 0o644); err != nil {
				t.Fatal(err)
			}
		}, "sealing-keys", Error, "key"},
		{"no sealing key", func(t *testing.T, f *fixture) {
			if err := os.Remove(f.dir + "/key"); err != nil {
				t.Fatal(err)
			}
		}, "sealing-keys", Error, "no such file"},
		{"a certificate that is past", func(t *testing.T, f *fixture) { f.certificate(t, "tls.crt", now.Add(-time.Minute)) },
			"certificates", Error, "listen.metrics.tls.certificate"},
		{"a certificate that ends soon", func(t *testing.T, f *fixture) { f.certificate(t, "ca.crt", now.AddDate(0, 0, 20).Add(time.Minute)) },
			"certificates", Warning, "store.etcd.tls.ca"},
		{"no certificate", func(t *testing.T, f *fixture) { f.write(t, "tls.crt", "none") }, "certificates", Error, "has no certificate"},
		{"an intermediate that is past", func(t *testing.T, f *fixture) {
			f.certificate(t, "old.crt", now.Add(-time.Minute))
			f.write(t, "tls.crt", f.read(t, "tls.crt")+f.read(t, "old.crt"))
		}, "certificates", Error, "listen.metrics.tls.certificate"},
		{"an old authority in a bundle", func(t *testing.T, f *fixture) {
			f.certificate(t, "old.crt", now.Add(-time.Minute))
			f.write(t, "ca.crt", f.read(t, "ca.crt")+f.read(t, "old.crt"))
		}, "", OK, ""},
		{"another file", func(t *testing.T, f *fixture) { f.status.File = "0" }, "config-applied", Warning, "another configuration file"},
		{"a store that fails", func(t *testing.T, f *fixture) { f.status.Store = "disk full" }, "store", Error, "disk full"},
		{"a silent store", func(t *testing.T, f *fixture) { f.status.TokensFresh = false }, "store", Error, "every token is refused"},
		{"old users", func(t *testing.T, f *fixture) { f.status.UsersFresh = false }, "users", Error, "too old"},
		{"a refused credential", func(t *testing.T, f *fixture) { f.status.Users = "it is refused" }, "users", Error, "it is refused"},
		{"unknown groups", func(t *testing.T, f *fixture) { f.status.MissingGroups = []string{"staf"} }, "users", Warning, "staf"},
		{"a broken connection", func(t *testing.T, f *fixture) { f.connections.Connections[0].State = store.UpstreamBroken.String() },
			"connections", Error, "1 broken"},
		{"a connection that ends", func(t *testing.T, f *fixture) {
			f.connections.Connections[0].ExpiresAt = new(now.AddDate(0, 0, 10).UnixMilli())
		}, "connections", Warning, "1 ending"},
		{"a load balancer's address", func(t *testing.T, f *fixture) { f.tokens[2].LastAddress = f.tokens[0].LastAddress },
			"client-addresses", Warning, "10.0.0.5"},
		{"an office's address", func(t *testing.T, f *fixture) {
			for i := range f.tokens {
				f.tokens[i].LastAddress = new("192.0.2.7")
			}
		}, "", OK, ""},
		{"a clock that is ahead", func(t *testing.T, f *fixture) { f.options.Now = func() time.Time { return now.Add(time.Hour) } },
			"clock", Error, "ahead"},
		{"a clock that is behind", func(t *testing.T, f *fixture) { f.options.Now = func() time.Time { return now.Add(-time.Hour) } },
			"clock", Error, "behind"},
		{"an Envoy of other settings", func(t *testing.T, f *fixture) { f.status.Envoy = string(envoy.ConfigurationOutdated) },
			"envoy-outdated", Error, "other settings"},
		{"no Envoy", func(t *testing.T, f *fixture) { f.status.Envoy = string(envoy.ConfigurationUnknown) }, "envoy-asks", Error, "no Envoy"},
		{"a name that does not exist", func(t *testing.T, f *fixture) { f.options.Jira = []string{"http://jira.invalid:8080"} },
			"upstream-around", Error, "jira.invalid"},
	} {
		t.Run(m.name, func(t *testing.T) {
			f := newFixture(t)
			m.plant(t, f)
			var got []string
			for _, found := range Run(context.Background(), f.options) {
				if found.Verdict != Error && found.Verdict != Warning {
					continue
				}
				got = append(got, found.ID)
				if found.ID == m.id && (found.Verdict != m.verdict || !strings.Contains(found.Found, m.found)) {
					t.Errorf("%+v", found)
				}
			}
			if want := strings.Fields(m.id); !slices.Equal(got, want) {
				t.Errorf("found %v, want %v", got, want)
			}
		})
	}
}

// The names that are counted are all unusual ones of owners, and only those for which the
// application answered are said to be right.
func TestNames(t *testing.T) {
	jira := jiratest.New(jiratest.Options{})
	jira.Put(jiratest.User{Name: "one@example.com", Active: true})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-User") == "two@example.com" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		jira.ServeHTTP(w, r)
	}))
	defer server.Close()
	p := config.Products["jira"]
	client, err := p.Connect(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{product: p, client: client, believed: true, config: config.Default()}
	for _, name := range []string{"alice", "one@example.com", "two@example.com", "3@", "4@", "5@", "6@", "7@"} {
		if !strings.HasSuffix(name, "@") {
			s.tokens = append(s.tokens, web.Token{User: name, State: "active"})
			continue
		}
		jira.Put(jiratest.User{Name: name, Active: true})
		s.tokens = append(s.tokens, web.Token{User: name, State: "active"}, web.Token{User: name, State: "active"})
	}
	if got, want := checkNames(t.Context(), s), right("7 owners of tokens have unusual names; seen as they are: 4"); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
