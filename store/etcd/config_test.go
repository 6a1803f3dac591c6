package etcd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/store/etcd"
)

func TestCheck(t *testing.T) {
	secure := []string{"https://etcd-1.example.com:2379", "https://[2001:db8::1]:2379"}
	tests := []struct {
		name   string
		change func(*etcd.Config)
		want   string // the only problem; empty: none
	}{
		{"https", func(c *etcd.Config) { c.Endpoints = secure }, ""},
		{"loopback", func(c *etcd.Config) {
			c.Endpoints = []string{"http://127.0.0.1:2379", "http://[::1]:2379", "http://localhost:2379"}
		}, ""},
		{"everything", func(c *etcd.Config) {
			c.Endpoints, c.User, c.PasswordFile = secure, "tokengate", "/etc/password"
			c.TLS = etcd.TLS{CA: "/etc/ca", Cert: "/etc/cert", Key: "/etc/key", ServerName: "etcd.example.com"}
		}, ""},
		{"no endpoints", func(*etcd.Config) {}, "endpoints: is empty"},
		{"no scheme", func(c *etcd.Config) { c.Endpoints = []string{"etcd-1.example.com:2379"} }, "endpoints[0]: must be a URL"},
		{"no port", func(c *etcd.Config) { c.Endpoints = []string{"https://etcd-1.example.com"} }, "endpoints[0]: must be a URL"},
		{"a path", func(c *etcd.Config) { c.Endpoints = []string{"https://etcd-1.example.com:2379/x"} }, "endpoints[0]: must be a URL"},
		{"a password", func(c *etcd.Config) { c.Endpoints = []string{"https://u:secret@etcd-1.example.com:2379"} }, "endpoints[0]: must not contain a user"},
		{"http elsewhere", func(c *etcd.Config) { c.Endpoints = []string{"http://etcd-1.example.com:2379"} }, "endpoints[0]: must use https"},
		{"both schemes", func(c *etcd.Config) { c.Endpoints = append(secure, "http://127.0.0.1:2379") }, "endpoints: has http and https"},
		{"tls without https", func(c *etcd.Config) {
			c.Endpoints, c.TLS.CA = []string{"http://127.0.0.1:2379"}, "/etc/ca"
		}, "tls: is only for endpoints"},
		{"no key", func(c *etcd.Config) { c.Endpoints, c.TLS.Cert = secure, "/etc/cert" }, "tls: has only one of cert and key"},
		{"no password file", func(c *etcd.Config) { c.Endpoints, c.User = secure, "tokengate" }, "user: user and passwordFile belong together"},
		{"a relative file", func(c *etcd.Config) { c.Endpoints, c.TLS.CA = secure, "ca.pem" }, `tls.ca: "ca.pem": must be the absolute path`},
		{"no prefix", func(c *etcd.Config) { c.Endpoints, c.Prefix = secure, "/" }, `prefix: "/": must begin and end with a slash`},
		{"half a prefix", func(c *etcd.Config) { c.Endpoints, c.Prefix = secure, "/tokengate" }, `must begin and end with a slash`},
		{"a part that is too short", func(c *etcd.Config) { c.Endpoints, c.Prefix = secure, "/tokengate/t/" }, `each part between slashes`},
		{"a prefix with a space", func(c *etcd.Config) { c.Endpoints, c.Prefix = secure, "/token gate/" }, `each part between slashes`},
		{"no time", func(c *etcd.Config) { c.Endpoints, c.Timeout = secure, 0 }, "timeout: 0s: must be from 1s to 1m0s"},
	}
	for _, test := range tests {
		c := etcd.DefaultConfig()
		test.change(c)
		var problems []string
		c.Check(func(key, format string, args ...any) {
			problems = append(problems, key+": "+fmt.Sprintf(format, args...))
		})
		all := strings.Join(problems, "\n")
		if test.want == "" && all != "" || test.want != "" && (len(problems) != 1 || !strings.Contains(all, test.want)) || strings.Contains(all, "secret") {
			t.Errorf("%s: problems %q, want %q", test.name, problems, test.want)
		}
	}
}
