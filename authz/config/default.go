package config

import (
	"net/netip"
	"time"

	"github.com/tokengate/tokengate/authz/product"
)

// Default returns the configuration of an empty file. One key has no default and
// must be given: publicURL. No list in it is nil.
func Default() Config { return defaults(defaultProduct) }

// defaults returns the configuration of a file that names only the product.
func defaults(p *product.Product) Config {
	return Config{
		Listen: Listen{
			GRPC:    Address{Network: "unix", Address: "/run/tokengate/authz.sock"},
			HTTP:    Address{Network: "unix", Address: "/run/tokengate/http.sock"},
			Admin:   Address{Network: "unix", Address: "/run/tokengate-admin/admin.sock"},
			Metrics: Address{Network: "tcp", Address: "127.0.0.1:9464"},
		},
		Store: Store{Badger: Badger{Dir: "/var/lib/tokengate"}},
		Upstream: Upstream{
			Product:  p.Name,
			URL:      "http://127.0.0.1:8080",
			Identity: Identity{Header: p.IdentityHeader},
		},
		ClientAddress: ClientAddress{Metadata: "x-client-ip"},
		Tokens: Tokens{
			Paths:         []string{p.API + "/"},
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

// texts returns a copy of a list, never nil.
func texts(list []string) []string { return append([]string{}, list...) }
