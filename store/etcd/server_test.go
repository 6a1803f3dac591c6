package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
	"github.com/tokengate/tokengate/store/storetest"
)

// TestFull fills etcd up to its space quota: writes are refused with a clear text, and reads and the Watch go on.
func TestFull(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Args: []string{"--quota-backend-bytes=8388608"}})
	s := openConfig(t, configOf(c, "/full/"))
	defer s.Close()
	id := create(t, s, storetest.NewToken(1, "fred")).ID
	r := follow(t, s)
	raw := c.Client()
	for err := error(nil); !errors.Is(err, rpctypes.ErrNoSpace); {
		if _, err = raw.Put(t.Context(), "filler", strings.Repeat("x", 1<<20)); err != nil && !errors.Is(err, rpctypes.ErrNoSpace) {
			t.Fatal(err)
		}
	}
	_, err := s.Update(t.Context(), id, func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
		token.State, token.Revoked = store.Revoked, storetest.Epoch
		return audit(id), nil
	})
	if !errors.Is(err, store.ErrNoSpace) || !strings.Contains(err.Error(), "etcd's space quota is used up") {
		t.Errorf("update: error %v", err)
	}
	if err := s.AddUsage(t.Context(), map[string]store.Usage{id: {Count: 1}}); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("add usage: error %v", err)
	}
	if err := s.Health(t.Context()); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("health: error %v", err)
	}
	if token, err := s.Get(t.Context(), id); err != nil || token.State != store.Active {
		t.Errorf("get: %v, error %v", token.State, err)
	}
	r.waitFresh(time.Now())

	// An administrator does what the text says.
	now, err := raw.Get(t.Context(), "filler")
	if err == nil {
		_, err = raw.Compact(t.Context(), now.Header.Revision)
	}
	if err == nil {
		_, err = raw.Defragment(t.Context(), c.Nodes[0].Endpoint)
	}
	if err == nil {
		_, err = raw.AlarmDisarm(t.Context(), &clientv3.AlarmMember{})
	}
	if err != nil {
		t.Fatal(err)
	}
	revoke(t, s, id)
	r.waitState(id, store.Revoked)
}

// TestRestored replaces etcd's data by an older copy. The store then refuses to work, because its memory has
// changes that etcd does not know, such as revocations.
func TestRestored(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	node := c.Nodes[0]
	s := openConfig(t, configOf(c, "/restored/"))
	defer s.Close()
	create(t, s, storetest.NewToken(1, "fred"))
	node.Stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(node.Dir())); err != nil {
		t.Fatal(err)
	}
	node.Start()
	node.Wait()
	waitFor(t, "a revocation", func() bool {
		_, err := s.Update(t.Context(), "test00000001", func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
			token.State, token.Revoked = store.Revoked, storetest.Epoch
			return audit(token.ID), nil
		})
		return err == nil
	})
	r := follow(t, s)
	r.waitFresh(time.Now())
	node.Kill()
	if err := errors.Join(os.RemoveAll(node.Dir()), os.CopyFS(node.Dir(), os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	node.Start()
	node.Wait()
	for !r.hasEnded() {
		<-r.more
	}
	if !strings.Contains(r.err.Error(), "restored from a backup") {
		t.Errorf("Watch has ended with: %v", r.err)
	}
	if _, err := s.Get(t.Context(), "test00000001"); err == nil || !strings.Contains(err.Error(), "restored from a backup") {
		t.Errorf("get: error %v", err)
	}
	again := openConfig(t, configOf(c, "/restored/"))
	defer again.Close()
	if token, err := again.Get(t.Context(), "test00000001"); err != nil || token.State != store.Active {
		t.Errorf("after a start: %v, error %v", token.State, err)
	}
}

type logLevel = slog.Level

// authority signs certificates in a directory.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = a.sign("ca", a.cert)
	return a
}

// sign writes NAME.pem and NAME.key.
func (a *authority) sign(name string, template *x509.Certificate) *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	a.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	return key
}

func (a *authority) write(name string, data []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.file(name), data, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// TestSecured uses etcd with TLS, certificates of clients, and users.
func TestSecured(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.sign("server", &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"etcd.example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	a.sign("client", &x509.Certificate{
		SerialNumber: big.NewInt(3), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	c := etcdtest.Start(t, etcdtest.Options{Scheme: "https", Args: []string{
		"--cert-file", a.file("server.pem"), "--key-file", a.file("server.key"), "--client-cert-auth", "--trusted-ca-file", a.file("ca.pem"),
		"--auth-token-ttl", "1", // seconds
	}})
	config := configOf(c, "/secured/")
	config.TLS = etcd.TLS{CA: a.file("ca.pem"), Cert: a.file("client.pem"), Key: a.file("client.key"), ServerName: "etcd.example.com"}
	s := openConfig(t, config)
	create(t, s, storetest.NewToken(1, "fred"))
	s.Close()

	administrator(t, config)
	const password = "correct horse battery staple"
	a.write("password", []byte(password+"\n"))
	config.User, config.PasswordFile = "tokengate", a.file("password")
	s = openConfig(t, config)
	defer s.Close()
	r := follow(t, s)
	create(t, s, storetest.NewToken(2, "fred"))
	r.waitState("test00000002", store.Active)
	r.waitFresh(time.Now())
	if err := s.Health(t.Context()); err != nil {
		t.Error(err)
	}

	refused := func(what, text string, change func(*etcd.Config)) {
		t.Helper()
		other := *config
		change(&other)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		opened, err := other.Open(ctx, store.OpenOptions{Log: func(logLevel, string) {}})
		if err == nil {
			opened.Close()
			t.Errorf("%s: no error", what)
		} else if !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: error %v, want one with %q", what, err, text)
		}
	}
	refused("another prefix", "refuses access to keys that begin with", func(c *etcd.Config) { c.Prefix = "/other/" })
	refused("no user", "refuses access to keys", func(c *etcd.Config) { c.User, c.PasswordFile = "", "" })
	a.write("wrong", []byte("wrong horse\n"))
	refused("a wrong password", "authentication failed", func(c *etcd.Config) { c.PasswordFile = a.file("wrong") })
	a.write("empty", nil)
	refused("an empty password", "is empty", func(c *etcd.Config) { c.PasswordFile = a.file("empty") })
	refused("no password", "no such file", func(c *etcd.Config) { c.PasswordFile = a.file("none") })
	refused("no CA", "certificate", func(c *etcd.Config) { c.TLS.CA = a.file("password") })
	refused("no certificate of the client", "deadline", func(c *etcd.Config) { c.TLS.Cert, c.TLS.Key = "", "" })
	refused("another name of the server", "deadline", func(c *etcd.Config) { c.TLS.ServerName = "other.example.com" })

	// The client's login has ended meanwhile, and it logs in again.
	create(t, s, storetest.NewToken(3, "fred"))
	r.waitState("test00000003", store.Active)
	follow(t, s).waitFresh(time.Now())
}

// administrator makes a user with access to the prefix only, and turns users on.
func administrator(t *testing.T, config *etcd.Config) {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(config.TLS.Cert, config.TLS.Key)
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	data, err := os.ReadFile(config.TLS.CA)
	if err != nil || !authorities.AppendCertsFromPEM(data) {
		t.Fatal("no authority", err)
	}
	raw, err := clientv3.New(clientv3.Config{
		Endpoints: config.Endpoints, Logger: zap.NewNop(), TLS: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: authorities},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	ctx := t.Context()
	for _, step := range []func() error{
		func() error { _, err := raw.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := raw.RoleAdd(ctx, "root"); return err },
		func() error { _, err := raw.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := raw.UserAdd(ctx, "tokengate", "correct horse battery staple"); return err },
		func() error { _, err := raw.RoleAdd(ctx, "tokengate"); return err },
		func() error {
			_, err := raw.RoleGrantPermission(ctx, "tokengate", config.Prefix, clientv3.GetPrefixRangeEnd(config.Prefix), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := raw.UserGrantRole(ctx, "tokengate", "tokengate"); return err },
		func() error { _, err := raw.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSchema checks that keys of another program or version are refused.
func TestSchema(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	opened, err := configOf(c, "/mine/").Open(t.Context(), store.OpenOptions{})
	if err != nil || !opened.New || opened.Dir != "" {
		t.Fatalf("the first start: new %v, dir %q, error %v", opened.New, opened.Dir, err)
	}
	opened.Close()
	if opened, err = configOf(c, "/mine/").Open(t.Context(), store.OpenOptions{}); err != nil || opened.New {
		t.Errorf("the second start: new %v, error %v", opened.New, err)
	}
	opened.Close()
	for key, value := range map[string]string{"/theirs/x": "1", "/later/m/schema": "2"} {
		if _, err := c.Client().Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
		prefix := key[:strings.Index(key[1:], "/")+2]
		if _, err := configOf(c, prefix).Open(t.Context(), store.OpenOptions{}); !errors.Is(err, etcd.ErrSchema) {
			t.Errorf("%s: error %v", prefix, err)
		}
	}
}

// TestWaits checks that a start waits for etcd, with a warning, until its context ends.
func TestWaits(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	c.Nodes[0].Stop()
	config := configOf(c, "/waits/")
	config.Timeout = time.Second
	warned := make(chan string, 100)
	options := store.OpenOptions{Log: func(_ logLevel, message string) { warned <- message }}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-warned
		cancel()
	}()
	if _, err := config.Open(ctx, options); !errors.Is(err, context.Canceled) {
		t.Errorf("a start that is ended: error %v", err)
	}
	go func() {
		if message := <-warned; !strings.HasPrefix(message, "waiting for etcd: ") {
			t.Errorf("the log says %q", message)
		}
		c.Nodes[0].Start()
	}()
	opened, err := config.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	opened.Close()
}

// TestLostAnswers loses the answer to a write, or its connection before it is sent. The write succeeds, and it is carried
// out once.
func TestLostAnswers(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	proxy := etcdtest.NewProxy(t, c.Nodes[0])
	for name, fail := range map[string]func(){
		"answer":     proxy.Lose,
		"connection": func() { proxy.Cut(); proxy.Forward() },
	} {
		t.Run(name, func(t *testing.T) {
			config := configOf(c, prefixOf("lost "+name))
			config.Endpoints = []string{proxy.Endpoint}
			s := openConfig(t, config)
			defer s.Close()
			calls := 0
			lost := func(action string) (store.Audit, error) {
				if calls++; calls == 1 {
					fail()
				}
				return store.Audit{Time: storetest.Epoch, Action: action, TokenID: "test00000001"}, nil
			}
			_, err := s.Create(t.Context(), storetest.NewToken(1, "fred"), func([]store.Token) (store.Audit, error) { return lost("create") })
			if err != nil || calls != 1 {
				t.Fatalf("create: %d calls, error %v", calls, err)
			}
			calls = 0
			updated, err := s.Update(t.Context(), "test00000001", func(token *store.Token, _ store.LiveFunc) (store.Audit, error) {
				token.Name += "!"
				return lost("rename")
			})
			if err != nil || calls != 1 || updated.Name != "token 1!" {
				t.Errorf("update: name %q, %d calls, error %v", updated.Name, calls, err)
			}
			if got, err := s.Get(t.Context(), "test00000001"); err != nil || got.Revision != updated.Revision {
				t.Errorf("the update has revision %d, stored is %d, error %v", updated.Revision, got.Revision, err)
			}
			fail()
			if err := s.AppendAudit(t.Context(), store.Audit{Time: storetest.Epoch, Action: "refused"}); err != nil {
				t.Errorf("append an audit record: %v", err)
			}
			want := []string{"create", "rename", "refused"}
			records, err := s.AuditLog(t.Context(), 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range slices.Backward(records) {
				got = append(got, a.Action)
			}
			if !slices.Equal(got, want) {
				t.Errorf("audit records %v, want %v", got, want)
			}
		})
	}
}

// TestElection kills the leader of three nodes. The next write waits for the new one.
func TestElection(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{Nodes: 3})
	s := openConfig(t, configOf(c, "/election/"))
	defer s.Close()
	create(t, s, storetest.NewToken(1, "fred"))
	leader := c.Leader()
	leader.Kill()
	create(t, s, storetest.NewToken(2, "fred"))
	leader.Start()
	leader.Wait()
	c.Leader().Kill()
	if _, err := s.Get(t.Context(), "test00000002"); err != nil {
		t.Error(err)
	}
}

// TestSlowCreates creates a token at a server with a slow way to etcd, while another server creates one after the other.
func TestSlowCreates(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	fast := openConfig(t, configOf(c, "/slow/"))
	defer fast.Close()
	proxy := etcdtest.NewProxy(t, c.Nodes[0])
	config := configOf(c, "/slow/")
	config.Endpoints = []string{proxy.Endpoint}
	slow := openConfig(t, config)
	defer slow.Close()
	proxy.Slow(100 * time.Millisecond)

	created := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		_, err := slow.Create(ctx, storetest.NewToken(0, "wilma"), func([]store.Token) (store.Audit, error) { return audit("test00000000"), nil })
		created <- err
	}()
	for n := 1; ; n++ {
		select {
		case err := <-created:
			if err != nil {
				t.Errorf("the slow server cannot create a token beside %d of another: %v", n, err)
			}
			return
		default:
			create(t, fast, storetest.NewToken(n, "fred"))
			revoke(t, fast, storetest.NewToken(n, "fred").ID)
		}
	}
}

// TestProbesRemain checks that a server whose probes cannot be removed leaves one key.
func TestProbesRemain(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	proxy := etcdtest.NewProxy(t, c.Nodes[0])
	config := configOf(c, "/probes/")
	config.Endpoints = []string{proxy.Endpoint}
	s := openConfig(t, config)
	defer s.Close()
	for failed := 0; failed < 3; {
		proxy.Lose() // the answer to the write, unless the client notices that the last connection is gone
		if s.Health(t.Context()) != nil {
			failed++
		}
	}
	left, err := c.Client().Get(t.Context(), "/probes/h/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || left.Count > 1 {
		t.Errorf("%d keys of probes are left, want at most 1; error %v", left.Count, err)
	}
}
