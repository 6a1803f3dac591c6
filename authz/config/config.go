// Package config reads the configuration file: its structure, its defaults, and a
// strict reader whose errors name file, line and column. Start with Config and
// Parse.
//
// A key that the file leaves out keeps its default; an empty list is not the
// default. A Config returned by Parse or Load is valid.
package config

import (
	"net/netip"
	"time"

	"github.com/tokengate/tokengate/store/open"
)

// Config is the configuration file. testdata/config/full.yaml documents every key.
// The zero Config is not valid and opens nothing.
type Config struct {
	PublicURL     string        `yaml:"publicURL"` // where users reach the application, such as https://jira.example.com
	Listen        Listen        `yaml:"listen"`
	Store         open.Config   `yaml:"store"`
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
	Envoy         Envoy         `yaml:"envoy"`
	Log           Log           `yaml:"log"`
}

// Listen says where the server listens. GRPC and HTTP trust their clients like
// Envoy, so they are reachable from other machines only with TLS.ClientCA. Admin is a
// unix socket.
type Listen struct {
	GRPC    Listener `yaml:"grpc"`    // ext_authz, for Envoy
	HTTP    Listener `yaml:"http"`    // the management paths, behind Envoy
	Admin   Address  `yaml:"admin"`   // for the command line; mode 0600
	Metrics Listener `yaml:"metrics"` // /metrics, /healthz, /readyz

	Replicas Replicas `yaml:"replicas"` // for the Envoys of other servers on the same store
}

// Replicas says where the Envoys of other servers on the same store reach this one, and
// its own Envoy the others, while their own does not answer. All servers have the same
// ports. The zero Replicas is none.
type Replicas struct {
	GRPC Address     `yaml:"grpc"` // as listen.grpc, tcp
	HTTP Address     `yaml:"http"` // as listen.http, tcp
	Host string      `yaml:"host"` // a DNS name with the addresses of all servers; their certificates are for it
	TLS  ReplicasTLS `yaml:"tls"`
}

// ReplicasTLS names the PEM files of servers and Envoys by their absolute paths, for
// server and client.
type ReplicasTLS struct {
	Certificate string `yaml:"certificate"` // and its intermediates
	Key         string `yaml:"key"`
	CA          string `yaml:"ca"` // the certificate authorities of the others
}

// Listeners returns the listeners of grpc and http.
func (r Replicas) Listeners() (grpc, http Listener) {
	tls := TLS{Certificate: r.TLS.Certificate, Key: r.TLS.Key, ClientCA: r.TLS.CA}
	return Listener{Address: r.GRPC, TLS: tls}, Listener{Address: r.HTTP, TLS: tls}
}

// Listener is an address and its TLS. In the file it may be the address alone.
type Listener struct {
	Address Address `yaml:"address"`
	TLS     TLS     `yaml:"tls"` // for tcp only
}

// TLS names the PEM files of a listener's TLS by their absolute paths. The zero TLS
// is none.
type TLS struct {
	Certificate string `yaml:"certificate"` // the server's, and its intermediates
	Key         string `yaml:"key"`
	// ClientCA has the certificate authorities of clients, which must then present a
	// certificate. "" accepts every client.
	ClientCA string `yaml:"clientCA"`
}

// Address is a listening address: unix:///absolute/path or tcp://host:port. The
// fields are the arguments of net.Listen. The zero Address is none.
type Address struct {
	Network string // "unix" or "tcp"
	Address string // a path, or host:port with an IP address or localhost as host
}

// Upstream is the application behind Envoy.
type Upstream struct {
	Product     string   `yaml:"product"`     // a key of Products, such as jira
	URL         string   `yaml:"url"`         // scheme, host and port only, such as http://127.0.0.1:8080
	ContextPath string   `yaml:"contextPath"` // "" or such as "/jira"
	Identity    Identity `yaml:"identity"`
}

// Identity says how the upstream learns who sent a request with a token. Exactly one
// field is set: a file with this key replaces the whole default.
type Identity struct {
	Header string      `yaml:"header"` // a request header; its value is the owner's user name
	PAT    PATIdentity `yaml:"pat"`    // a credential of the upstream's own
}

// PATIdentity says how requests carry a personal access token of the owner, which the
// upstream made. The zero PATIdentity is none.
type PATIdentity struct {
	// SealKeys are the absolute paths of files of 32 bytes. The first seals the
	// credentials in the store, the others only open them.
	SealKeys []string `yaml:"sealKeys"`
	// RenewAt is the part of a credential's life, in percent, after which it is renewed; 10
	// to 95.
	RenewAt int `yaml:"renewAt"`
	// Probe is how often the upstream is asked whether it still accepts a credential;
	// five minutes to a day.
	Probe time.Duration `yaml:"probe"`
	// Administration opens the upstream's administration to tokens.
	Administration bool `yaml:"administration"`
}

// ClientAddress says where the client's address comes from. Exactly one field is
// set: a file with this key replaces the whole default.
type ClientAddress struct {
	// TrustedHops is the number of HTTP proxies in front of Envoy, 0 to
	// MaxTrustedHops. Above 0 the address is read from X-Forwarded-For.
	TrustedHops int `yaml:"trustedHops"`

	Metadata string `yaml:"metadata"` // a gRPC metadata key that Envoy sets
	Source   bool   `yaml:"source"`   // attributes.source.address: the connection's peer
	Header   string `yaml:"header"`   // one header that Envoy overwrites, in lower case
}

// Tokens says where tokens are accepted, and how many a user may have.
type Tokens struct {
	Paths         []string `yaml:"paths"`         // path patterns, see policy.Paths
	ReadOnlyPaths []string `yaml:"readOnlyPaths"` // open to read-only tokens, in addition to the REST API
	DownloadPaths []string `yaml:"downloadPaths"` // open to all tokens for GET and HEAD, in addition to Paths
	ReadingPosts  []string `yaml:"readingPosts"`  // where a POST only reads, in addition to the product's own
	MaxPerUser    int      `yaml:"maxPerUser"`    // live tokens of one owner, 1 to 10000
	// MaxOverlap is the longest time for which the previous secret stays valid after
	// a rotation: whole seconds, 0 to 90 days.
	MaxOverlap time.Duration `yaml:"maxOverlap"`
	// Retention is how long revoked and expired tokens are kept; at least a day.
	Retention      Lifetime `yaml:"retention"`
	MaxEnded       int      `yaml:"maxEnded"`       // revoked and expired tokens kept of one owner, 1 to 100000
	QueryParameter string   `yaml:"queryParameter"` // "" is off
}

// Access says who may do what. A list of groups contains names of groups, compared
// without case, or only "*": every active user.
type Access struct {
	Use             []string          `yaml:"use"`
	Create          []CreationPolicy  `yaml:"create"`
	CreateForOthers []ForOthersPolicy `yaml:"createForOthers"`
	Admin           []string          `yaml:"admin"`       // never "*"
	Writes          Rate              `yaml:"writes"`      // changes by one user, including denied ones
	AdminWrites     Rate              `yaml:"adminWrites"` // by one administrator, management token or user of the admin socket
}

// CreationPolicy says on what terms the members of some groups may create tokens.
type CreationPolicy struct {
	Groups      []string       `yaml:"groups"`
	MaxLifetime Lifetime       `yaml:"maxLifetime"`
	ReadOnly    bool           `yaml:"readOnly"` // every token must be
	Approval    bool           `yaml:"approval"` // an administrator must approve each token
	Networks    NetworksPolicy `yaml:"networks"`
	Rate        Rate           `yaml:"rate"` // the maximum rate of a token
}

// NetworksPolicy says whether a token must list the networks from which it is
// accepted.
type NetworksPolicy string

// The networks policies.
const (
	NetworksOptional NetworksPolicy = "optional"
	NetworksRequired NetworksPolicy = "required"
)

// Rate is how many requests a token may make. The zero Rate is unlimited; in any
// other, all fields are positive.
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

// Lifetime is a duration in the file's notation: 90d, 1d12h, unlimited.
type Lifetime struct {
	Duration  time.Duration // whole seconds; 0 when Unlimited
	Unlimited bool          // no end
}

// Directory says where users and groups are looked up. At most one field is set.
// With the zero Directory, every user name is valid and there are no groups.
type Directory struct {
	Upstream UpstreamDirectory `yaml:"upstream"` // the application itself
	File     string            `yaml:"file"`     // the absolute path of a file with the users
}

// UpstreamDirectory says how users and groups are read from the application.
type UpstreamDirectory struct {
	Credential string        `yaml:"credential"` // the absolute path of its file
	Refresh    time.Duration `yaml:"refresh"`    // how often; 10 seconds to an hour
	StaleAfter time.Duration `yaml:"staleAfter"` // tokens are denied if the last answer is older; two refreshes to a day
}

// Network says from which networks tokens are accepted. Deny takes precedence.
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
	PasswordsObserve PasswordMode = "observe" // forward, and report what block would deny
	PasswordsBlock   PasswordMode = "block"
)

// Passwords says whether passwords are accepted, and the exemptions from a block: a
// request that matches any of them is forwarded.
type Passwords struct {
	Mode            PasswordMode `yaml:"mode"`
	AllowedUsers    []string     `yaml:"allowedUsers"` // user names, or "*" for everyone
	AllowedPaths    []string     `yaml:"allowedPaths"` // path patterns, see policy.Paths
	AllowedNetworks []Prefix     `yaml:"allowedNetworks"`
}

// Audit says how much of the audit log is kept. The oldest records are removed
// first.
type Audit struct {
	Retention Lifetime `yaml:"retention"` // at least a day
	MaxMiB    int      `yaml:"maxMiB"`    // size of the records, 1 to 1048576
}

// Bearer says how Bearer credentials that are not tokens are treated.
type Bearer struct {
	Other OtherBearer `yaml:"other"`
}

// Envoy has the settings of the generated Envoy configuration.
type Envoy struct {
	Bypass bool `yaml:"bypass"` // Envoy forwards requests without a credential itself
}

// OtherBearer is pass or refuse.
type OtherBearer string

// The treatments of Bearer credentials of other issuers.
const (
	OtherBearerPass   OtherBearer = "pass"
	OtherBearerRefuse OtherBearer = "refuse"
)

// CORS says which browser applications of other origins may read denials. The
// upstream decides about its own answers.
type CORS struct {
	// AllowedOrigins are origins as browsers send them (RFC 6454 §6.2), such as
	// https://app.example.com.
	AllowedOrigins []string `yaml:"allowedOrigins"`
}

// Log says what is logged.
type Log struct {
	Level string `yaml:"level"` // debug, info, warn, error
}
