package main

import (
	"fmt"
	"net/netip"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
)

// decideCase is a request that is decided for one reason.
type decideCase struct {
	name    string // beside the reason, where there are several
	reason  authz.Reason
	request authz.Request

	// credential makes the Authorization value of token i in an index of the
	// given size; nil: the request's own.
	credential func(i, size int) (string, error)
	kind       kind // of the tokens that are sent

	configure func(*config.Config) // nil: the defaults
	noPolicy  bool
	stale     bool // what is known of owners is too old
}

// The names of the cases that have marks.
const (
	asBearer = "Bearer"
	asBasic  = "Basic"
)

// decideCases are the decision table by example, in its order.
func decideCases() []decideCase {
	client := netip.MustParseAddr("10.1.2.3")
	get := authz.Request{Method: "GET", Path: askedPath, Client: client, RequestID: "e319af8f-85a6-4d3d-af89-aef9d5d2deb9", UserAgent: "python-requests/2.32.3"}
	with := func(change func(*authz.Request)) authz.Request {
		r := get
		change(&r)
		return r
	}
	to := func(path string) authz.Request { return with(func(r *authz.Request) { r.Path = path }) }
	sending := func(header string) authz.Request {
		return with(func(r *authz.Request) { r.Authorization = header })
	}
	password := sending(authorization(basic, "fred", "yabba-dabba"))
	return []decideCase{
		{reason: authz.BadCheck, request: get, noPolicy: true},
		{reason: authz.NoCredential, request: to("/secure/Dashboard.jspa?selectPageId=10100")},
		{reason: authz.MalformedCredential, request: get, credential: func(i, _ int) (string, error) {
			text, err := sendBasic(i, 0)
			return text + "," + text, err
		}},
		{reason: authz.PasswordBlocked, request: password, configure: func(c *config.Config) { c.Passwords.Mode = config.PasswordsBlock }},
		{reason: authz.Password, request: password},
		{reason: authz.OtherBearer, request: sending("Bearer MDEyMzQ1Njc4OTo6bXNhZmVndWFyZA==")},
		{reason: authz.MalformedToken, request: get, credential: func(i, _ int) (string, error) {
			text, err := sendBearer(i, 0)
			return text[:len(text)-1] + "-", err
		}},
		{reason: authz.UnknownToken, request: get, credential: func(i, size int) (string, error) { return sendBearer(i+size, 0) }},
		{reason: authz.WrongSecret, request: get, credential: sendWrongSecret},
		{reason: authz.WrongUser, request: get, credential: func(i, _ int) (string, error) {
			value, err := valueOf(i)
			return authorization(basic, ownerOf(i+1), value.Reveal()), err
		}},
		{reason: authz.Expired, request: get, credential: sendBearer, kind: expired},
		{reason: authz.Disabled, request: get, credential: sendBearer, kind: disabled},
		{reason: authz.Pending, request: get, credential: sendBearer, kind: pending},
		{reason: authz.NoClientAddress, request: with(func(r *authz.Request) { r.Client = netip.Addr{} }), credential: sendBearer},
		{reason: authz.DirectoryStale, request: get, credential: sendBearer, stale: true},
		{reason: authz.OwnerInactive, request: get, credential: sendBearer, kind: gone},
		{reason: authz.OwnerNotPermitted, request: get, credential: sendBearer, kind: banned},
		{reason: authz.AmbiguousPath, request: to("/rest/api/2/issue/OPS-1;jsessionid=6A0C1D1B"), credential: sendBearer},
		{reason: authz.NetworkDenied, request: get, credential: sendBearer, configure: func(c *config.Config) {
			c.Network.Deny = []config.Prefix{{Prefix: netip.MustParsePrefix("10.1.0.0/16")}}
		}},
		{reason: authz.NetworkNotAllowed, request: with(func(r *authz.Request) { r.Client = netip.MustParseAddr("203.0.113.7") }), credential: sendBearer, kind: networked},
		{reason: authz.ManagementPath, request: to("/rest/api-tokens/latest/tokens"), credential: sendManagement, kind: management},
		{reason: authz.WrongTokenType, request: to("/rest/api-tokens/latest/tokens"), credential: sendBearer},
		{reason: authz.PathNotAllowed, request: to("/secure/Dashboard.jspa"), credential: sendBearer},
		{reason: authz.SessionKept, request: with(func(r *authz.Request) { r.Method, r.Path = "DELETE", "/rest/auth/1/session" }), credential: sendBearer},
		{reason: authz.EndpointForbidden, request: to("/rest/pat/latest/tokens"), credential: sendBearer},
		{reason: authz.ReadOnly, request: with(func(r *authz.Request) { r.Method, r.Path = "POST", "/rest/api/2/issue" }), credential: sendBearer, kind: readOnly},
		{reason: authz.RateLimited, request: get, credential: sendBearer, kind: limited},
		{name: asBearer, reason: authz.TokenAllowed, request: get, credential: sendBearer},
		{name: asBasic, reason: authz.TokenAllowed, request: get, credential: sendBasic},
		{name: "its network", reason: authz.TokenAllowed, request: get, credential: sendBearer, kind: networked},
		{name: "old secret in an overlap", reason: authz.TokenAllowed, request: get, credential: sendBearer, kind: rotated},
	}
}

func sendBearer(i, _ int) (string, error) {
	value, err := valueOf(i)
	return authorization(bearer, "", value.Reveal()), err
}

func sendManagement(i, _ int) (string, error) {
	value, err := managementValueOf(i)
	return authorization(bearer, "", value.Reveal()), err
}

func sendBasic(i, _ int) (string, error) {
	value, err := valueOf(i)
	return authorization(basic, ownerOf(i), value.Reveal()), err
}

func sendWrongSecret(i, _ int) (string, error) {
	value, err := valueOf(i)
	if err != nil {
		return "", err
	}
	other, err := token.Remint(token.Ordinary, value.ID(), randomOf(i, "bench wrong secret"))
	return authorization(bearer, "", other.Reveal()), err
}

// label is what the table calls the case.
func (c decideCase) label() string {
	if c.name == "" {
		return c.reason.String()
	}
	return c.reason.String() + ", " + c.name
}

// policy compiles the case's configuration.
func (c decideCase) policy() *policy.Policy {
	if c.noPolicy {
		return nil
	}
	settings := config.Default()
	if c.configure != nil {
		c.configure(&settings)
	}
	return policy.New(settings)
}

// wrong says what came instead of the case's reason.
func (c decideCase) wrong(found authz.Reason) error {
	return fmt.Errorf("a request for %s was decided as %v", c.label(), found)
}
