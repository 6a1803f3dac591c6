package config

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/store/open"
)

// Products are the applications that upstream.product may name. Only tests change
// it.
var Products = map[string]*product.Product{
	jira.Product.Name: &jira.Product,
}

// defaultProduct is the product of a file that names none.
var defaultProduct = &jira.Product

// product returns the application, or the default product if its name is unknown.
func (u Upstream) product() *product.Product { return cmp.Or(Products[u.Product], defaultProduct) }

// productNames returns the known products for a message.
func productNames() string { return strings.Join(slices.Sorted(maps.Keys(Products)), ", ") }

// productOf returns the product that a file names, or else the default product.
func productOf(root ast.Node) *product.Product {
	name, _ := textOf(valueOf(valueOf(root, "upstream"), "product"))
	return Upstream{Product: name}.product()
}

// valueOf returns the value of a mapping's key, or nil.
func valueOf(n ast.Node, key string) ast.Node {
	if m, ok := n.(*ast.MappingNode); ok {
		for _, pair := range m.Values {
			if nameOf(pair.Key) == key {
				return pair.Value
			}
		}
	}
	return nil
}

// Default returns the configuration of an empty file. One key has no default and
// must be given: publicURL. No list in it is nil.
func Default() Config { return defaults(defaultProduct) }

// defaults returns the configuration of a file that names only the product.
func defaults(p *product.Product) Config {
	paths := []string{}
	if p.API != "" {
		paths = append(paths, p.API+"/")
	}
	return Config{
		Listen: Listen{
			GRPC:    Listener{Address: Address{Network: "unix", Address: "/run/tokengate/authz.sock"}},
			HTTP:    Listener{Address: Address{Network: "unix", Address: "/run/tokengate/http.sock"}},
			Admin:   Address{Network: "unix", Address: "/run/tokengate-admin/admin.sock"},
			Metrics: Listener{Address: Address{Network: "tcp", Address: "127.0.0.1:9464"}},
		},
		Store: open.Default(),
		Upstream: Upstream{
			Product:  p.Name,
			URL:      "http://127.0.0.1:8080",
			Identity: Identity{Header: p.IdentityHeader},
		},
		ClientAddress: ClientAddress{Metadata: "x-client-ip"},
		Tokens: Tokens{
			Paths:         paths,
			ReadOnlyPaths: []string{},
			DownloadPaths: texts(p.DownloadPaths),
			ReadingPosts:  []string{},
			MaxPerUser:    50,
			MaxOverlap:    7 * day,
			Retention:     Lifetime{Duration: 365 * day},
			MaxEnded:      1000,
		},
		Access: Access{
			Use: []string{everyone},
			Create: []CreationPolicy{
				{Groups: []string{everyone}, MaxLifetime: Lifetime{Duration: 365 * day}, Networks: NetworksOptional},
			},
			CreateForOthers: []ForOthersPolicy{},
			Admin:           []string{},
			Writes:          Rate{Requests: 600, Per: time.Hour, Burst: 60},
			AdminWrites:     Rate{Requests: 10_000, Per: time.Hour, Burst: 5000},
		},
		Network: Network{
			Allow: []Prefix{
				{netip.PrefixFrom(netip.IPv4Unspecified(), 0)},
				{netip.PrefixFrom(netip.IPv6Unspecified(), 0)},
			},
			Deny: []Prefix{},
		},
		Passwords: Passwords{
			Mode:            PasswordsAllow,
			AllowedUsers:    []string{},
			AllowedPaths:    texts(p.PasswordPaths),
			AllowedNetworks: []Prefix{},
		},
		Audit:  Audit{Retention: Lifetime{Duration: 2 * 365 * day}, MaxMiB: 256},
		Bearer: Bearer{Other: OtherBearerPass},
		CORS:   CORS{AllowedOrigins: []string{}},
		Log:    Log{Level: "info"},
	}
}

// texts returns a copy that is never nil.
func texts(list []string) []string { return append([]string{}, list...) }

// restartKeys are the keys that a reload cannot change, because Envoy's
// configuration contains them too or because they are used only at startup.
var restartKeys = []string{
	"publicURL", "listen.grpc", "listen.http", "listen.admin", "listen.metrics", "listen.replicas", "store",
	"upstream.product", "upstream.url", "upstream.contextPath", "upstream.identity",
	"clientAddress", "tokens.queryParameter", "directory", "envoy.bypass",
}

// FixedKeysChanged returns the keys that differ between two configurations and
// need a restart to change, in the order of the file.
func FixedKeysChanged(old, new Config) []string {
	var changed []string
	for _, key := range restartKeys {
		before, after := reflect.ValueOf(old), reflect.ValueOf(new)
		for name := range strings.SplitSeq(key, ".") {
			before, after = fieldOf(before, name), fieldOf(after, name)
		}
		if !reflect.DeepEqual(before.Interface(), after.Interface()) {
			changed = append(changed, key)
		}
	}
	return changed
}
