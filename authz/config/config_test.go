package config_test

import (
	"bytes"
	"encoding"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/open"
)

const publicURL = "publicURL: https://jira.example.com\n"

// comparePrefixes compares networks as Go compares them.
var comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})

// parse reads a valid file.
func parse(t *testing.T, text string) config.Config {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatalf("Parse: %v\nof:\n%s", err, text)
	}
	return c
}

// withURL returns the defaults and the required publicURL.
func withURL() config.Config {
	c := config.Default()
	c.PublicURL = "https://jira.example.com"
	return c
}

func TestExamplesAreTheDefaults(t *testing.T) {
	for _, name := range []string{"full.yaml", "minimal.yaml"} {
		c, err := config.Load(filepath.Join(testdata, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(withURL(), c, comparePrefixes); diff != "" {
			t.Errorf("%s (-defaults +got):\n%s", name, diff)
		}
	}
}

// The defaults are those listed here.
func TestDefault(t *testing.T) {
	want := config.Config{
		Listen: config.Listen{
			GRPC:    at("unix", "/run/tokengate/authz.sock"),
			HTTP:    at("unix", "/run/tokengate/http.sock"),
			Admin:   config.Address{Network: "unix", Address: "/run/tokengate-admin/admin.sock"},
			Metrics: at("tcp", "127.0.0.1:9464"),
		},
		Store:         open.Config{Kind: "badger", Settings: &badger.Config{Dir: "/var/lib/tokengate"}},
		Upstream:      config.Upstream{Product: "jira", URL: "http://127.0.0.1:8080", Identity: config.Identity{Header: "X-Forwarded-User"}},
		ClientAddress: config.ClientAddress{Metadata: "x-client-ip"},
		Tokens: config.Tokens{Paths: []string{"/rest/"}, ReadOnlyPaths: []string{},
			DownloadPaths: []string{"/secure/attachment/", "/secure/thumbnail/", "/secure/useravatar", "/secure/projectavatar", "/secure/viewavatar"}, ReadingPosts: []string{}, MaxPerUser: 50, MaxOverlap: 7 * day, Retention: config.Lifetime{Duration: 365 * day}, MaxEnded: 1000},
		Access: config.Access{
			Use:             []string{"*"},
			Create:          []config.CreationPolicy{{Groups: []string{"*"}, MaxLifetime: config.Lifetime{Duration: 365 * day}, Networks: "optional"}},
			CreateForOthers: []config.ForOthersPolicy{},
			Admin:           []string{},
			Writes:          config.Rate{Requests: 600, Per: time.Hour, Burst: 60},
			AdminWrites:     config.Rate{Requests: 10000, Per: time.Hour, Burst: 5000},
		},
		Network: config.Network{
			Allow: []config.Prefix{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}, {Prefix: netip.MustParsePrefix("::/0")}},
			Deny:  []config.Prefix{},
		},
		Passwords: config.Passwords{
			Mode:            config.PasswordsAllow,
			AllowedUsers:    []string{},
			AllowedPaths:    []string{"/rest/usermanagement/*"},
			AllowedNetworks: []config.Prefix{},
		},
		Audit:  config.Audit{Retention: config.Lifetime{Duration: 730 * day}, MaxMiB: 256},
		Bearer: config.Bearer{Other: config.OtherBearerPass},
		CORS:   config.CORS{AllowedOrigins: []string{}},
		Log:    config.Log{Level: "info"},
	}
	if diff := cmp.Diff(want, config.Default(), comparePrefixes); diff != "" {
		t.Errorf("Default (-want +got):\n%s", diff)
	}
}

// A file changes the keys that it contains and no others.
func TestGiven(t *testing.T) {
	prefixes := func(texts ...string) []config.Prefix {
		list := []config.Prefix{}
		for _, text := range texts {
			list = append(list, config.Prefix{Prefix: netip.MustParsePrefix(text)})
		}
		return list
	}
	tests := []struct {
		name   string
		text   string
		change func(*config.Config)
	}{
		{"nothing", "", func(*config.Config) {}},
		{"an empty mapping", "listen: {}\nstore: {badger: {}}\npasswords: {}\n", func(*config.Config) {}},
		{"empty lists", "tokens: {paths: []}\naccess: {use: [], create: []}\nnetwork: {allow: []}\npasswords: {allowedPaths: []}\n", func(c *config.Config) {
			c.Tokens.Paths = []string{}
			c.Access.Use = []string{}
			c.Access.Create = []config.CreationPolicy{}
			c.Network.Allow = prefixes()
			c.Passwords.AllowedPaths = []string{}
		}},
		{"one key of a mapping", "listen: {metrics: 'unix:///run/m.sock'}\nnetwork: {deny: [10.0.0.0/8]}\n", func(c *config.Config) {
			c.Listen.Metrics = at("unix", "/run/m.sock")
			c.Network.Deny = prefixes("10.0.0.0/8")
		}},
		{"tcp on loopback", "listen: {grpc: 'tcp://[::1]:9001', http: 'tcp://localhost:9002', metrics: 'tcp://[::ffff:127.0.0.9]:9001'}\n", func(c *config.Config) {
			c.Listen.GRPC = at("tcp", "[::1]:9001")
			c.Listen.HTTP = at("tcp", "localhost:9002")
			c.Listen.Metrics = at("tcp", "127.0.0.9:9001")
		}},
		{"TLS", "listen: {grpc: {address: 'tcp://0.0.0.0:9001', tls: {certificate: /c, key: /k, clientCA: /ca}}, " +
			"http: {address: 'unix:///run/h.sock', tls: none}, metrics: {address: 'tcp://[::]:9464', tls: {certificate: /c, key: /c}}}\n", func(c *config.Config) {
			c.Listen.GRPC = at("tcp", "0.0.0.0:9001")
			c.Listen.GRPC.TLS = config.TLS{Certificate: "/c", Key: "/k", ClientCA: "/ca"}
			c.Listen.HTTP = at("unix", "/run/h.sock")
			c.Listen.Metrics = at("tcp", "[::]:9464")
			c.Listen.Metrics.TLS = config.TLS{Certificate: "/c", Key: "/c"}
		}},
		{"source", "clientAddress: {source: true}\n", func(c *config.Config) {
			c.ClientAddress = config.ClientAddress{Source: true}
		}},
		{"header", "clientAddress: {header: X-Envoy-External-Address}\n", func(c *config.Config) {
			c.ClientAddress = config.ClientAddress{Header: "x-envoy-external-address"}
		}},
		{"header of its own", "clientAddress: {header: X-Real-IP, metadata: '', source: false}\n", func(c *config.Config) {
			c.ClientAddress = config.ClientAddress{Header: "x-real-ip"}
		}},
		{"networks", "network: {allow: ['::ffff:10.1.0.0/112', 192.0.2.7, 'fd00::/8', '::1', '::ffff:192.0.2.8']}\n", func(c *config.Config) {
			c.Network.Allow = prefixes("10.1.0.0/16", "192.0.2.7/32", "fd00::/8", "::1/128", "192.0.2.8/32")
		}},
		{"block style", "access:\n  create:\n    - groups:\n        - \"*\"\n      maxLifetime: 1d12h # comment\n    - groups: []\n      maxLifetime: unlimited\n", func(c *config.Config) {
			c.Access.Create = []config.CreationPolicy{
				{Groups: []string{"*"}, MaxLifetime: config.Lifetime{Duration: 36 * time.Hour}, Networks: "optional"},
				{Groups: []string{}, MaxLifetime: config.Lifetime{Unlimited: true}, Networks: "optional"},
			}
		}},
		{"terms", "access:\n  create:\n    - {groups: [], maxLifetime: 1d, readOnly: true, approval: true, networks: required, rate: {requests: 600, per: 1m, burst: 100}}\n" +
			"    - {groups: [], maxLifetime: 1d, readOnly: false, networks: optional, rate: {per: 1d, requests: 1000000}}\n    - {groups: [], maxLifetime: 1d, rate: unlimited}\n", func(c *config.Config) {
			oneDay := config.Lifetime{Duration: day}
			c.Access.Create = []config.CreationPolicy{
				{
					Groups: []string{}, MaxLifetime: oneDay, ReadOnly: true, Approval: true, Networks: config.NetworksRequired,
					Rate: config.Rate{Requests: 600, Per: time.Minute, Burst: 100},
				},
				{
					Groups: []string{}, MaxLifetime: oneDay, Networks: config.NetworksOptional,
					Rate: config.Rate{Requests: 1_000_000, Per: day, Burst: 1_000_000},
				},
				{Groups: []string{}, MaxLifetime: oneDay, Networks: config.NetworksOptional},
			}
		}},
		{"no directory", "directory: none\n", func(*config.Config) {}},
		{"the upstream as the directory", "directory: {upstream: {credential: /etc/jira}}\n", func(c *config.Config) {
			c.Directory.Upstream = config.UpstreamDirectory{Credential: "/etc/jira", Refresh: time.Minute, StaleAfter: 15 * time.Minute}
		}},
		{"the upstream's longest times", "directory: {upstream: {credential: /etc/jira, refresh: 1h, staleAfter: 24h}}\n", func(c *config.Config) {
			c.Directory.Upstream = config.UpstreamDirectory{Credential: "/etc/jira", Refresh: time.Hour, StaleAfter: day}
		}},
		{"Jira's shortest times", "directory:\n  upstream:\n    credential: /etc/jira\n    refresh: 10s\n    staleAfter: 20s\n", func(c *config.Config) {
			c.Directory.Upstream = config.UpstreamDirectory{Credential: "/etc/jira", Refresh: 10 * time.Second, StaleAfter: 20 * time.Second}
		}},
		{"a file as the directory", "directory: {file: /etc/users.yaml}\n", func(c *config.Config) { c.Directory.File = "/etc/users.yaml" }},
		{"groups", "directory: {file: /u}\naccess: {use: [jira-users], create: [{groups: ['a b', Größe, \"" + strings.Repeat("ü", 255) + "\"], maxLifetime: 1d}], " +
			"createForOthers: [{groups: [jira-users], for: ['*']}], admin: [Admins]}\n", func(c *config.Config) {
			c.Directory.File = "/u"
			writes, adminWrites := c.Access.Writes, c.Access.AdminWrites
			defer func() { c.Access.Writes, c.Access.AdminWrites = writes, adminWrites }()
			c.Access = config.Access{
				Use: []string{"jira-users"},
				Create: []config.CreationPolicy{{
					Groups: []string{"a b", "Größe", strings.Repeat("ü", 255)}, MaxLifetime: config.Lifetime{Duration: day}, Networks: "optional",
				}},
				CreateForOthers: []config.ForOthersPolicy{{Groups: []string{"jira-users"}, For: []string{"*"}}},
				Admin:           []string{"Admins"},
			}
		}},
		{"no overlap, and nothing pruned", "tokens: {maxOverlap: 0s, retention: unlimited}\n", func(c *config.Config) {
			c.Tokens.MaxOverlap = 0
			c.Tokens.Retention = config.Lifetime{Unlimited: true}
		}},
		{"the bounds of overlap and record", "tokens: {maxOverlap: 90d, retention: 1d}\n", func(c *config.Config) {
			c.Tokens.MaxOverlap = 90 * day
			c.Tokens.Retention = config.Lifetime{Duration: day}
		}},
		{"others", "access: {createForOthers: [{groups: ['*'], for: []}]}\n", func(c *config.Config) {
			c.Access.CreateForOthers = []config.ForOthersPolicy{{Groups: []string{"*"}, For: []string{}}}
		}},
		{"user names", "passwords: {mode: block, allowedUsers: [\"*\", 'o''neill@example.com', 'jane doe']}\n", func(c *config.Config) {
			c.Passwords.Mode = config.PasswordsBlock
			c.Passwords.AllowedUsers = []string{"*", "o'neill@example.com", "jane doe"}
		}},
		{"paths", "tokens: {paths: ['/', '/*', '/a b/*.json', /rest/api-tokensX]}\n", func(c *config.Config) {
			c.Tokens.Paths = []string{"/", "/*", "/a b/*.json", "/rest/api-tokensX"}
		}},
		{"tokens", "tokens: {maxPerUser: 10000, queryParameter: access_token}\nbearer: {other: refuse}\nlog: {level: debug}\n", func(c *config.Config) {
			c.Tokens.MaxPerUser = 10000
			c.Tokens.QueryParameter = "access_token"
			c.Bearer.Other = config.OtherBearerRefuse
			c.Log.Level = "debug"
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := withURL()
			test.change(&want)
			if diff := cmp.Diff(want, parse(t, publicURL+test.text), comparePrefixes); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestByteOrderMark(t *testing.T) {
	if diff := cmp.Diff(withURL(), parse(t, "\ufeff"+publicURL), comparePrefixes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestContextPath(t *testing.T) {
	c := parse(t, "publicURL: https://[2001:db8::1]:8443/a/jira-8.x~_\nupstream: {contextPath: /a/jira-8.x~_, url: 'https://my_jira'}\n")
	if c.Upstream.ContextPath != "/a/jira-8.x~_" || c.Upstream.URL != "https://my_jira" {
		t.Errorf("upstream is %+v", c.Upstream)
	}
}

// These invalid bytes are here and not in a YAML file of the repository.
func TestBadBytes(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"no UTF-8", publicURL + "log: {level: \xff}\n", "test.yaml:2:14: the file is not plain UTF-8 text: it contains the byte 0xff here"},
		{"no UTF-8 after other letters", "# \u00fc\u20ac\xc3(\n", "test.yaml:1:5: the file is not plain UTF-8 text: it contains the byte 0xc3 here"},
		{"NUL", publicURL + "\x00\nlog: {level: debug}\n", "test.yaml:2:1: the file is not plain UTF-8 text: it contains the control character U+0000 here"},
		{"DEL", "# \x7f\n", "test.yaml:1:3: the file is not plain UTF-8 text: it contains the control character U+007F here"},
		{"too large", publicURL + strings.Repeat("#", config.MaxSize), "test.yaml:1:1: the file is larger than 1 MiB; no configuration needs that"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.Parse("test.yaml", []byte(test.data))
			if !errors.Is(err, config.ErrInvalid) || err.Error() != test.want {
				t.Errorf("error %v\nwant  %s", err, test.want)
			}
		})
	}
	exact := append([]byte(publicURL), bytes.Repeat([]byte("#"), config.MaxSize-len(publicURL))...)
	if _, err := config.Parse("test.yaml", exact); err != nil {
		t.Errorf("a file of exactly 1 MiB: %v", err)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#"), config.MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(large); !errors.Is(err, config.ErrInvalid) || err.Error() != large+":1:1: the file is larger than 1 MiB; no configuration needs that" {
		t.Errorf("a large file: error %v", err)
	}
	if _, err := config.Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, config.ErrInvalid) {
		t.Errorf("no file: error %v", err)
	}
	if _, err := config.Load(dir); err == nil || errors.Is(err, config.ErrInvalid) {
		t.Errorf("a directory: error %v", err)
	}
}

func TestProblem(t *testing.T) {
	_, err := config.Parse("/etc/tokengate.yaml", []byte(publicURL+"log: {level: loud}\n"))
	var p *config.Problem
	if !errors.As(err, &p) {
		t.Fatalf("error %v contains no Problem", err)
	}
	want := config.Problem{
		File: "/etc/tokengate.yaml", Line: 2, Column: 14, Key: "log.level",
		Message: `"loud" is not one of debug, info, warn, error`,
	}
	if diff := cmp.Diff(want, *p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Errors do not repeat a password in a URL.
func TestNoSecretInErrors(t *testing.T) {
	for _, bad := range []string{"https://u:hunter2@h", "https://u:hunter2@h:x/", "https://u:hunter2@h?%", "u:hunter2@h"} {
		for _, key := range []string{"publicURL: %", publicURL + "upstream: {url: '%'}"} {
			_, err := config.Parse("test.yaml", []byte(strings.Replace(key, "%", bad, 1)))
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: error %v", bad, err)
			}
		}
	}
}

// at returns a listener without TLS.
func at(network, address string) config.Listener {
	return config.Listener{Address: config.Address{Network: network, Address: address}}
}

// Two servers cannot listen on overlapping addresses, in either order.
func TestListenOverlap(t *testing.T) {
	tests := []struct {
		a, b    string
		overlap bool
	}{
		{"unix:///run/a", "unix:///run/a", true},
		{"unix:///run/a", "unix:///run/b", false},
		{"tcp://127.0.0.1:1", "unix:///run/b", false},
		{"tcp://127.0.0.1:1", "tcp://127.0.0.1:1", true},
		{"tcp://127.0.0.1:1", "tcp://127.0.0.1:2", false},
		{"tcp://127.0.0.1:1", "tcp://127.0.0.2:1", false},
		{"tcp://127.0.0.1:1", "tcp://[::1]:1", false},
		{"tcp://127.0.0.1:1", "tcp://localhost:1", true},
		{"tcp://[::1]:1", "tcp://localhost:1", true},
		{"tcp://localhost:1", "tcp://localhost:1", true},
	}
	for _, test := range tests {
		for _, pair := range [][2]string{{test.a, test.b}, {test.b, test.a}} {
			text := publicURL + "listen: {grpc: '" + pair[0] + "', http: '" + pair[1] + "'}\n"
			_, err := config.Parse("test.yaml", []byte(text))
			if (err != nil) != test.overlap {
				t.Errorf("%s and %s: error %v", pair[0], pair[1], err)
			}
		}
	}
	for _, everywhere := range []string{"0.0.0.0", "[::]"} {
		for _, test := range []struct {
			port    string
			overlap bool
		}{{"1", true}, {"2", false}} {
			text := publicURL + "listen: {grpc: 'tcp://127.0.0.1:1', metrics: 'tcp://" + everywhere + ":" + test.port + "'}\n"
			if _, err := config.Parse("test.yaml", []byte(text)); (err != nil) != test.overlap {
				t.Errorf("port 1 of loopback and port %s of %s: error %v", test.port, everywhere, err)
			}
		}
	}
}

func TestReservedHeader(t *testing.T) {
	for _, name := range []string{
		"authorization", "Authorization", "COOKIE", "host", "content-length", "transfer-encoding", "connection", "upgrade",
		"x-request-id", "x-forwarded-for", "X-Forwarded-Proto", "x-forwarded-host", "X-Envoy-External-Address", "x-envoy-", "X-Tokengate-Client-IP",
	} {
		if !config.ReservedHeader(name) {
			t.Errorf("%s is not reserved", name)
		}
	}
	for _, name := range []string{"", "X-Forwarded-User", "Remote-User", "x-client-ip", "x-real-ip", "x-envoy", "x-token-auth"} {
		if config.ReservedHeader(name) {
			t.Errorf("%q is reserved", name)
		}
	}
}

// The lists that this package copies from authz, which it cannot import, agree
// with it.
func TestListsAgree(t *testing.T) {
	for _, name := range authz.Headers {
		if !config.ReservedHeader(name) || !config.ReservedHeader(strings.ToUpper(name)) {
			t.Errorf("a decision reads %s, and it is not reserved", name)
		}
	}
	for _, path := range config.ManagementPaths {
		for _, below := range []string{"", "/", "/x", "*"} {
			text := publicURL + "tokens: {paths: [\"" + path + below + "\"]}\n"
			if _, err := config.Parse("test.yaml", []byte(text)); !errors.Is(err, config.ErrInvalid) {
				t.Errorf("tokens.paths may hold %s%s, a management path", path, below)
			}
		}
	}
}

// leaves calls visit with each key that has a value and is not a mapping. Keys in
// lists are visited once, below the list.
func leaves(v reflect.Value, key string, visit func(key string, v reflect.Value)) {
	if c, ok := v.Interface().(open.Config); ok {
		leaves(reflect.ValueOf(c.Settings).Elem(), key+"."+c.Kind, visit)
		return
	}
	_, text := v.Addr().Interface().(encoding.TextUnmarshaler)
	_, word := v.Interface().(interface{ MarshalYAML() (any, error) })
	if v.Kind() != reflect.Struct || text || word {
		visit(key, v)
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct {
			leaves(reflect.New(v.Type().Elem()).Elem(), key, func(inner string, v reflect.Value) {
				if inner != key {
					visit(inner, v)
				}
			})
		}
		if !word {
			return
		}
	}
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("yaml")
		if key != "" {
			name = key + "." + name
		}
		leaves(v.Field(i), name, visit)
	}
}
