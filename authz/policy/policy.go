// Package policy is the configuration compiled for decisions: immutable, and
// swapped whole on a reload.
package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/config"
)

// Policy is what a decision consults beside the tokens. It is never changed
// once made. The zero Policy opens no path to any token.
type Policy struct {
	ContextPath       string
	QueryParameter    string // the query parameter that may carry a token; "" is off
	TokenPaths        Paths  // where tokens are good
	ReadOnlyPaths     Paths  // where read-only tokens are good beyond /rest
	DownloadPaths     Paths  // where every token is good for GET and HEAD
	ReadingPosts      Paths  // where a POST only reads, beyond Jira's own
	Allow, Deny       Networks
	Passwords         Passwords
	RefuseOtherBearer bool     // refuse Bearer credentials that are no tokens
	Origins           []string // whose browser applications may read refusals, as config.CORS has them
}

// Passwords is what happens to passwords on REST. Its zero value lets none
// through.
type Passwords struct {
	Mode            config.PasswordMode
	AllowedUsers    Users
	AllowedPaths    Paths
	AllowedNetworks Networks
}

// New compiles a checked configuration.
func New(c config.Config) *Policy {
	return &Policy{
		ContextPath:    c.Upstream.ContextPath,
		QueryParameter: c.Tokens.QueryParameter,
		TokenPaths:     NewPaths(c.Tokens.Paths),
		ReadOnlyPaths:  NewPaths(c.Tokens.ReadOnlyPaths),
		DownloadPaths:  NewPaths(c.Tokens.DownloadPaths),
		ReadingPosts:   NewPaths(c.Tokens.ReadingPosts),
		Allow:          networks(c.Network.Allow),
		Deny:           networks(c.Network.Deny),
		Passwords: Passwords{
			Mode:            c.Passwords.Mode,
			AllowedUsers:    users(c.Passwords.AllowedUsers),
			AllowedPaths:    NewPaths(c.Passwords.AllowedPaths),
			AllowedNetworks: networks(c.Passwords.AllowedNetworks),
		},
		RefuseOtherBearer: c.Bearer.Other != config.OtherBearerPass,
		Origins:           slices.Clone(c.CORS.AllowedOrigins),
	}
}

// Networks is a list of client networks. None contain nothing.
type Networks []netip.Prefix

// Contain reports whether one of them holds the address, which is unmapped
// and without a zone. The invalid address is in none.
func (ns Networks) Contain(a netip.Addr) bool {
	for _, n := range ns {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

func networks(prefixes []config.Prefix) Networks {
	ns := make(Networks, 0, len(prefixes))
	for _, p := range prefixes {
		ns = append(ns, p.Prefix)
	}
	return ns
}

// Users is a list of user names, compared without case; "*" is everyone.
type Users []string

// Contain reports whether the list names the user. The empty name is nobody.
func (us Users) Contain(name string) bool {
	return name != "" && slices.ContainsFunc(us, func(u string) bool {
		return u == "*" || strings.EqualFold(u, name)
	})
}

func users(names []string) Users { return slices.Clone(Users(names)) }
