// Package policy compiles the configuration into immutable values that a reload
// replaces as a whole: Policy for decisions about requests, and Access for what
// users may do with tokens. Start with these two.
package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product"
)

// Policy is the configuration that a decision reads. It is never changed once
// made. The zero Policy accepts no token.
type Policy struct {
	Product              product.Product
	ContextPath          string
	QueryParameter       string // the query parameter that may carry a token; "" is off
	TokenPaths           Paths  // tokens.paths
	ReadOnlyPaths        Paths  // open to read-only tokens, in addition to Product.API
	DownloadPaths        Paths  // open to all tokens for GET and HEAD
	UsualDownloads       Paths  // the default of DownloadPaths
	ReadingPosts         Paths  // where a POST only reads
	Allow, Deny          Networks
	Passwords            Passwords
	AdministrationClosed bool     // no token administers the application
	UpstreamCredential   bool     // requests are forwarded with a credential of the owner
	RefuseOtherBearer    bool     // refuse Bearer credentials that are not tokens
	Origins              []string // cors.allowedOrigins
}

// Passwords says how requests with passwords are decided. The zero Passwords denies
// all of them.
type Passwords struct {
	Mode            config.PasswordMode
	AllowedUsers    Users
	AllowedPaths    Paths
	AllowedNetworks Networks
}

// New compiles a checked configuration. An unknown product gives the zero Policy.
func New(c config.Config) *Policy {
	p := config.Products[c.Upstream.Product]
	if p == nil {
		return &Policy{}
	}
	paths := func(lists ...[]string) Paths { return NewPaths(slices.Concat(lists...), p) }
	return &Policy{
		Product:        *p,
		ContextPath:    c.Upstream.ContextPath,
		QueryParameter: c.Tokens.QueryParameter,
		TokenPaths:     paths(c.Tokens.Paths),
		ReadOnlyPaths:  paths(c.Tokens.ReadOnlyPaths),
		DownloadPaths:  paths(c.Tokens.DownloadPaths),
		UsualDownloads: paths(p.DownloadPaths),
		ReadingPosts:   paths(p.ReadingPosts, c.Tokens.ReadingPosts),
		Allow:          networks(c.Network.Allow),
		Deny:           networks(c.Network.Deny),
		Passwords: Passwords{
			Mode:            c.Passwords.Mode,
			AllowedUsers:    users(c.Passwords.AllowedUsers),
			AllowedPaths:    paths(c.Passwords.AllowedPaths),
			AllowedNetworks: networks(c.Passwords.AllowedNetworks),
		},
		AdministrationClosed: c.Upstream.Identity.HasPAT() && !c.Upstream.Identity.PAT.Administration,
		UpstreamCredential:   c.Upstream.Identity.HasPAT(),
		RefuseOtherBearer:    c.Bearer.Other != config.OtherBearerPass,
		Origins:              slices.Clone(c.CORS.AllowedOrigins),
	}
}

// RemovesParameter reports whether a query parameter with this decoded name is removed from
// requests with a token: those of logins, and where requests are forwarded with a credential
// also those of OAuth 1.0 (RFC 5849 §3.5.3), with which a client could be another user.
func (p *Policy) RemovesParameter(name string) bool {
	return p.Product.IsLoginParameter(name) ||
		p.UpstreamCredential && (strings.HasPrefix(name, "oauth_") || name == "xoauth_requestor_id")
}

// Networks is a list of client networks.
type Networks []netip.Prefix

// Contain reports whether a network contains the address, which is unmapped and
// has no zone. The invalid address is in none.
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

// Users is a list of user names, compared without case; "*" matches all.
type Users []string

// Contain reports whether the list contains the user. It never contains "".
func (us Users) Contain(name string) bool {
	return name != "" && slices.ContainsFunc(us, func(u string) bool {
		return u == "*" || strings.EqualFold(u, name)
	})
}

func users(names []string) Users { return slices.Clone(Users(names)) }
