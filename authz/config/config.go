// Package config holds the one configuration file: its shape, its defaults,
// and a strict reader whose errors name file, line and column.
//
// Default returns the defaults, Load and Parse put a file over them and check
// the whole. A key that the file leaves out keeps its default; an empty list
// is a list of nobody and nothing, not the default. A Config that Parse
// returned keeps every rule of this package, so its users need not check again.
package config

import (
	"net/netip"
	"time"
)

// Config is the configuration file. Every key is documented in
// testdata/config/full.yaml. The zero Config is none that Parse would return:
// it opens nothing.
type Config struct {
	PublicURL     string        `yaml:"publicURL"` // where users reach Jira, such as https://jira.example.com
	Listen        Listen        `yaml:"listen"`
	Store         Store         `yaml:"store"`
	Upstream      Upstream      `yaml:"upstream"`
	ClientAddress ClientAddress `yaml:"clientAddress"`
	Tokens        Tokens        `yaml:"tokens"`
	Access        Access        `yaml:"access"`
	Directory     Directory     `yaml:"directory"`
	Network       Network       `yaml:"network"`
	Passwords     Passwords     `yaml:"passwords"`
	Audit         Audit         `yaml:"audit"`
	Bearer        Bearer        `yaml:"bearer"`
	CORS          CORS          `yaml:"cors"`
	Log           Log           `yaml:"log"`
}

// Listen says where the server listens. There is no TLS in this version, so
// GRPC and HTTP are unix sockets or tcp on loopback, and Admin is a unix
// socket. Only Metrics may listen on any address.
type Listen struct {
	GRPC    Address `yaml:"grpc"`    // Envoy asks here
	HTTP    Address `yaml:"http"`    // management, behind Envoy
	Admin   Address `yaml:"admin"`   // the command line; a unix socket, mode 0600
	Metrics Address `yaml:"metrics"` // /metrics, /healthz, /readyz
}

// Address is a listening address: unix:///absolute/path or tcp://host:port.
// The two fields are what net.Listen takes. The zero Address is none.
type Address struct {
	Network string // "unix" or "tcp"
	Address string // a path, or host:port with an IP address or localhost as host
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
	Product     string   `yaml:"product"`     // a key of Products, such as jira
	URL         string   `yaml:"url"`         // scheme, host and port only, such as http://127.0.0.1:8080
	ContextPath string   `yaml:"contextPath"` // "" or such as "/jira"
	Identity    Identity `yaml:"identity"`
}

// Identity says how the upstream learns who is calling.
type Identity struct {
	Header string `yaml:"header"` // a request header; its value is the owner's name
}

// ClientAddress says where the client's address comes from. Exactly one is
// set: a file that gives the key replaces the default whole.
type ClientAddress struct {
	// TrustedHops is the number of HTTP proxies in front of Envoy, 0 to
	// MaxTrustedHops. Above 0 the address is read from X-Forwarded-For.
	TrustedHops int `yaml:"trustedHops"`

	Metadata string `yaml:"metadata"` // a gRPC metadata key that Envoy sets
	Source   bool   `yaml:"source"`   // attributes.source.address: the connection's peer
	Header   string `yaml:"header"`   // one header that Envoy overwrites, in lower case
}

// Tokens says where tokens are good, and how many a user may have.
type Tokens struct {
	Paths         []string `yaml:"paths"`         // path patterns, see policy.Paths
	ReadOnlyPaths []string `yaml:"readOnlyPaths"` // paths beyond /rest/ that read-only tokens reach
	DownloadPaths []string `yaml:"downloadPaths"` // paths beyond Paths that all tokens reach, by GET and HEAD
	ReadingPosts  []string `yaml:"readingPosts"`  // paths where a POST only reads, beyond the product's own
	MaxPerUser    int      `yaml:"maxPerUser"`    // live tokens of one owner, 1 to 10000
	// MaxOverlap bounds how long the secret before a rotation stays good: whole
	// seconds, 0 (it ends at once) to 90 days.
	MaxOverlap time.Duration `yaml:"maxOverlap"`
	// Retention is how long revoked and expired tokens are kept for the record;
	// at least a day.
	Retention      Lifetime `yaml:"retention"`
	MaxEnded       int      `yaml:"maxEnded"`       // revoked and expired tokens of one owner that are kept, 1 to 100000
	QueryParameter string   `yaml:"queryParameter"` // "" is off
}

// Access says who may do what. A list of groups names groups of the directory,
// compared without case, or is "*" alone: every active user.
type Access struct {
	Use             []string          `yaml:"use"`
	Create          []CreationPolicy  `yaml:"create"`
	CreateForOthers []ForOthersPolicy `yaml:"createForOthers"`
	Admin           []string          `yaml:"admin"`       // never "*"
	Writes          Rate              `yaml:"writes"`      // the changes of one person, refused ones included
	AdminWrites     Rate              `yaml:"adminWrites"` // those of one administrator, management token or user of the admin socket
}

// CreationPolicy says on what terms the members of some groups may create tokens.
type CreationPolicy struct {
	Groups      []string       `yaml:"groups"`
	MaxLifetime Lifetime       `yaml:"maxLifetime"`
	ReadOnly    bool           `yaml:"readOnly"` // every token is
	Approval    bool           `yaml:"approval"` // a token waits for an administrator
	Networks    NetworksPolicy `yaml:"networks"`
	Rate        Rate           `yaml:"rate"` // the most that a token may have
}

// NetworksPolicy says whether a token must name the networks that it is good
// from.
type NetworksPolicy string

// What a rule may say of networks.
const (
	NetworksOptional NetworksPolicy = "optional"
	NetworksRequired NetworksPolicy = "required"
)

// Rate is how many requests a token may make. The zero Rate is unlimited; in
// any other all three are above zero.
type Rate struct {
	Requests int           `yaml:"requests"` // per Per, 1 to 1000000
	Per      time.Duration `yaml:"per"`      // whole seconds, at most a day
	Burst    int           `yaml:"burst"`    // at once, 1 to Requests
}

// ForOthersPolicy says for whom the members of some groups may create tokens.
type ForOthersPolicy struct {
	Groups []string `yaml:"groups"`
	For    []string `yaml:"for"`
}

// Lifetime is a duration in the file's notation: 90d, 1d12h, unlimited. The
// zero Lifetime is over at once.
type Lifetime struct {
	Duration  time.Duration // whole seconds; 0 when Unlimited
	Unlimited bool          // no end
}

// Directory says where users and groups are looked up. At most one of its
// fields is set; the zero Directory is none: every user name is taken as it is,
// and there are no groups.
type Directory struct {
	Jira JiraDirectory `yaml:"jira"` // the upstream itself
	File string        `yaml:"file"` // the absolute path of a file that lists them
}

// JiraDirectory says how Jira is asked for users and groups.
type JiraDirectory struct {
	Credential string        `yaml:"credential"` // the absolute path of a file that holds it
	Refresh    time.Duration `yaml:"refresh"`    // how often; 10 seconds to an hour
	StaleAfter time.Duration `yaml:"staleAfter"` // no token is good on an older answer; two refreshes to a day
}

// Network is where tokens may be used from at all. Deny wins.
type Network struct {
	Allow []Prefix `yaml:"allow"`
	Deny  []Prefix `yaml:"deny"`
}

// Prefix is a network, or one address: 10.0.0.0/8, 2001:db8::/32, 192.0.2.7.
// It is masked and unmapped (::ffff:192.0.2.7 is kept as 192.0.2.7/32).
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
	AllowedUsers    []string     `yaml:"allowedUsers"` // user names, or "*" for everyone
	AllowedPaths    []string     `yaml:"allowedPaths"` // path patterns, see policy.Paths
	AllowedNetworks []Prefix     `yaml:"allowedNetworks"`
}

// Audit says how much of the audit log is kept. The oldest records go first.
type Audit struct {
	Retention Lifetime `yaml:"retention"` // at least a day
	MaxMiB    int      `yaml:"maxMiB"`    // size of the records, 1 to 1048576
}

// Bearer says what happens to a Bearer credential that is no token of ours.
type Bearer struct {
	Other OtherBearer `yaml:"other"`
}

// OtherBearer is pass or refuse.
type OtherBearer string

// What may happen to a Bearer credential of another issuer.
const (
	OtherBearerPass   OtherBearer = "pass"
	OtherBearerRefuse OtherBearer = "refuse"
)

// CORS says which browser applications of other origins may read refusals. What
// Jira itself answers is Jira's to say.
type CORS struct {
	// AllowedOrigins are origins as browsers send them (RFC 6454 §6.2), such as
	// https://app.example.com.
	AllowedOrigins []string `yaml:"allowedOrigins"`
}

// Log says how much is logged.
type Log struct {
	Level string `yaml:"level"` // debug, info, warn, error
}
