// Package config holds the one configuration file: its shape, its defaults,
// and a strict reader whose errors name file, line and column.
package config

import (
	"net/netip"
	"time"
)

// Config is the configuration file. Every key is documented in
// testdata/config/full.yaml.
type Config struct {
	PublicURL     string        `yaml:"publicURL"` // where users reach Jira, such as https://jira.example.com
	Listen        Listen        `yaml:"listen"`
	Store         Store         `yaml:"store"`
	Upstream      Upstream      `yaml:"upstream"`
	ClientAddress ClientAddress `yaml:"clientAddress"`
	Tokens        Tokens        `yaml:"tokens"`
	Access        Access        `yaml:"access"`
	Directory     string        `yaml:"directory"` // only "none" in this version
	Network       Network       `yaml:"network"`
	Passwords     Passwords     `yaml:"passwords"`
	Bearer        Bearer        `yaml:"bearer"`
	Log           Log           `yaml:"log"`
}

// Listen says where the server listens. Only GRPC may be reached by Envoy
// across machines, and a tcp address off loopback is refused in this version
// for all but Metrics.
type Listen struct {
	GRPC    Address `yaml:"grpc"`    // Envoy asks here
	HTTP    Address `yaml:"http"`    // management, behind Envoy
	Admin   Address `yaml:"admin"`   // the command line; a unix socket, mode 0600
	Metrics Address `yaml:"metrics"` // /metrics, /healthz, /readyz
}

// Address is a listening address: unix:///absolute/path or tcp://host:port.
type Address struct {
	Network string // "unix" or "tcp"
	Address string // a path, or host:port
}

// Store says where tokens are kept.
type Store struct {
	Badger Badger `yaml:"badger"`
}

// Badger is the embedded store.
type Badger struct {
	Dir string `yaml:"dir"` // on a local disk
}

// Upstream is the application behind Envoy.
type Upstream struct {
	Product     string   `yaml:"product"` // only "jira" in this version
	URL         string   `yaml:"url"`
	ContextPath string   `yaml:"contextPath"` // "" or such as "/jira"
	Identity    Identity `yaml:"identity"`
}

// Identity says how the upstream learns who is calling.
type Identity struct {
	Header string `yaml:"header"`
}

// ClientAddress says where the client's address comes from. Exactly one is set.
type ClientAddress struct {
	Metadata string `yaml:"metadata"` // a gRPC metadata key that Envoy sets
	Source   bool   `yaml:"source"`   // attributes.source.address: the connection's peer
	Header   string `yaml:"header"`   // one header that Envoy overwrites
}

// Tokens says where tokens are good, and how many a user may have.
type Tokens struct {
	Paths          []string `yaml:"paths"`          // path patterns, see policy.Paths
	ReadOnlyPaths  []string `yaml:"readOnlyPaths"`  // paths beyond /rest/ that read-only tokens reach
	MaxPerUser     int      `yaml:"maxPerUser"`     // live tokens of one owner
	QueryParameter string   `yaml:"queryParameter"` // "" is off
}

// Access says who may do what. Without a directory the only group is "*".
type Access struct {
	Use             []string       `yaml:"use"`
	Create          []CreateRule   `yaml:"create"`
	CreateForOthers []ForOtherRule `yaml:"createForOthers"`
	Admin           []string       `yaml:"admin"`
}

// CreateRule says on what terms the members of some groups may create tokens.
type CreateRule struct {
	Groups      []string `yaml:"groups"`
	MaxLifetime Lifetime `yaml:"maxLifetime"`
}

// ForOtherRule says for whom the members of some groups may create tokens.
type ForOtherRule struct {
	Groups []string `yaml:"groups"`
	For    []string `yaml:"for"`
}

// Lifetime is a duration in the file's notation: 90d, 12h, unlimited.
type Lifetime struct {
	Duration  time.Duration
	Unlimited bool
}

// Network is where tokens may be used from at all. Deny wins.
type Network struct {
	Allow []Prefix `yaml:"allow"`
	Deny  []Prefix `yaml:"deny"`
}

// Prefix is a network, or one address: 10.0.0.0/8, 2001:db8::/32, 192.0.2.7.
type Prefix struct{ netip.Prefix }

// PasswordMode says what happens to passwords on REST.
type PasswordMode string

// The password modes.
const (
	PasswordsAllow   PasswordMode = "allow"
	PasswordsObserve PasswordMode = "observe" // let through, and say what block would refuse
	PasswordsBlock   PasswordMode = "block"
)

// Passwords says whether passwords are good, and the exemptions from a block:
// a request that matches any one of them is let through.
type Passwords struct {
	Mode            PasswordMode `yaml:"mode"`
	AllowedUsers    []string     `yaml:"allowedUsers"`
	AllowedPaths    []string     `yaml:"allowedPaths"` // path patterns, see policy.Paths
	AllowedNetworks []Prefix     `yaml:"allowedNetworks"`
}

// Bearer says what happens to a Bearer credential that is no token of ours.
type Bearer struct {
	Foreign ForeignBearer `yaml:"foreign"`
}

// ForeignBearer is pass or refuse.
type ForeignBearer string

// What may happen to a foreign Bearer credential.
const (
	ForeignPass   ForeignBearer = "pass"
	ForeignRefuse ForeignBearer = "refuse"
)

// Log says how much is logged.
type Log struct {
	Level string `yaml:"level"` // debug, info, warn, error
}
