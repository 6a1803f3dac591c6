package envoy_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

const waitTime = 20 * time.Second

// With a certificate Envoy forwards what comes over TLS, uses a renewed certificate without
// a restart, and answers plain HTTP with a redirect alone.
func TestEnvoyWithTLS(t *testing.T) {
	dir := envoytest.Dir(t)
	first, second := envoytest.NewAuthority(t), envoytest.NewAuthority(t)
	// As Kubernetes mounts a secret: ..data is replaced by renaming.
	mount := func(a *envoytest.Authority, version string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		a.Write(filepath.Join(dir, version), "localhost")
		if err := errors.Join(os.Symlink(version, dir+"/next"), os.Rename(dir+"/next", dir+"/..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount(first, "1")
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink("..data/"+name, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	rig := newBootstrapRig(t, passThrough, false, func(c *config.Config, opts *envoy.BootstrapOptions) {
		c.PublicURL = "https://jira.example.com:8443"
		opts.ListenTLS, opts.Certificate, opts.Key, opts.Secrets = at, dir+"/tls.crt", dir+"/tls.key", dir
		files, err := envoy.Secrets(*c, *opts)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})

	get := func(a *envoytest.Authority, most uint16) (int, error) {
		secure := a.Client("localhost")
		secure.MaxVersion = most
		client := &http.Client{Timeout: waitTime, Transport: &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		response, err := client.Get("https://" + at + "/rest/api/2/myself")
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	if status, err := get(first, 0); err != nil || status != 200 {
		t.Fatalf("over TLS: %d, %v", status, err)
	}
	if got := rig.got(t); got.server != "jira" || got.header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("%s got %v", got.server, got.header)
	}
	if _, err := get(first, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
	mount(second, "2")
	for end := time.Now().Add(waitTime); ; {
		if status, err := get(second, 0); err == nil && status == 200 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("after the renewal: %d, %v", status, err)
		}
	}
	rig.got(t)

	for _, path := range []string{"/browse/X-1?a=b", "/plugins/servlet/api-tokens/healthz", "//other.example.com/"} {
		response := rig.send(t, path, "Authorization: Bearer unprotected")
		if want := "https://jira.example.com:8443" + path; response.StatusCode != 308 || response.Header.Get("Location") != want {
			t.Errorf("plain HTTP: %d to %s, want 308 to %s", response.StatusCode, response.Header.Get("Location"), want)
		}
	}
	rig.gotNothing(t)
	rig.send(t, "/browse/X-1", "Accept: */*") // without a credential
	rig.envoy.AccessLog(func(line map[string]any) bool {
		return line["client"] == "127.0.0.1" && line["status"] == 308. && strings.Contains(fmt.Sprint(line["message"]), "a credential came over plain HTTP")
	})
	if log := rig.envoy.Output(); strings.Contains(log, "unprotected") || strings.Contains(log, "X-1") {
		t.Errorf("the credential or the path is in the log: %s", log)
	}
	if n := rig.envoy.Stats()["http.redirect.plain_http_credentials"]; n != 3 {
		t.Errorf("%d credentials counted, want 3", n)
	}
}
