package authz

import (
	"net/http"
	"strings"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// check is a step of the decision. The order is the decision table's: what is
// tried later presumes what was tried before.
type check uint8

const (
	credentialCheck check = iota
	passwordCheck
	bearerCheck
	tokenCheck
	stateCheck
	clientCheck
	directoryCheck
	ownerCheck
	pathCheck
	networkCheck
	tokenTypeCheck
	endpointCheck
	methodCheck
	rateCheck
	allowCheck
	checkCount
)

// checkNames say what each rule asks, for explanations.
var checkNames = [checkCount]string{
	credentialCheck: "at most one credential, and readable",
	passwordCheck:   "passwords are allowed here",
	bearerCheck:     "Bearer credentials of other issuers",
	tokenCheck:      "token exists, secret and user match",
	stateCheck:      "token is active",
	clientCheck:     "client address is known",
	directoryCheck:  "user directory is fresh",
	ownerCheck:      "owner is active and may use tokens",
	pathCheck:       "URL is unambiguous",
	networkCheck:    "network is allowed",
	tokenTypeCheck:  "token type fits the path",
	endpointCheck:   "path is open to tokens",
	methodCheck:     "scope allows the request",
	rateCheck:       "rate limit",
	allowCheck:      "no check denies it",
}

// decidedBy tries one rule and reports whether it decided. The switch, rather
// than a table of functions, keeps the evaluation off the heap.
func (e *evaluation) decidedBy(r check) bool {
	switch r {
	case credentialCheck:
		return e.checkCredential()
	case passwordCheck:
		return e.checkPassword()
	case bearerCheck:
		return e.checkOtherBearer()
	case tokenCheck:
		return e.identify()
	case stateCheck:
		return e.checkState()
	case clientCheck:
		return !e.request.Client.IsValid() && e.deny(NoClientAddress)
	case directoryCheck:
		return e.hasOwner() && !e.ownerIsFresh() && e.deny(DirectoryStale)
	case ownerCheck:
		return e.hasOwner() && e.checkOwner()
	case pathCheck:
		return e.checkPath()
	case networkCheck:
		return e.checkNetwork()
	case tokenTypeCheck:
		return e.checkTokenType()
	case endpointCheck:
		return e.checkEndpoint()
	case methodCheck:
		return e.checkMethod()
	case rateCheck:
		return e.checkRate()
	case allowCheck:
		return e.allow()
	}
	return e.deny(0)
}

// evaluation is one request on its way through the rules.
type evaluation struct {
	request *Request
	view    View
	assumed string // the id of a token that is to be taken for sent and right; empty: none

	path       string // raw, before the first `?`
	query      queryFacts
	login      bool // a login over REST, maybe: see logsIn
	credential credential
	entry      store.Entry
	target     target
	mayWrite   bool

	decision Decision
}

func (e *evaluation) memory() *memory { return (*memory)(&e.request.Memory) }

func (e *evaluation) deny(reason Reason) bool {
	e.decision.Outcome, e.decision.Reason = Denied, reason
	e.decision.WouldBlock = false // nothing was let through
	return true
}

// denyFor refuses with a finer reason; 0 is none.
func (e *evaluation) denyFor(reason Reason, detail Detail) bool {
	e.decision.Detail = detail
	return e.deny(reason)
}

func (e *evaluation) pass(reason Reason) bool {
	e.decision.Outcome, e.decision.Reason = PassThrough, reason
	return true
}

// checkCredential finds the one credential of the request: rows 2 and 3.
func (e *evaluation) checkCredential() bool {
	if e.view.Policy == nil || e.view.Index == nil || e.view.Now.IsZero() {
		return e.deny(BadCheck)
	}
	path, query, _ := strings.Cut(e.request.Path, "?")
	e.path = path
	e.credential = parseAuthorization(e.memory(), e.request.Authorization)
	e.query = parseQuery(e.memory(), query, e.view.Policy)
	e.login = e.mayLogIn()
	e.decision.Basic = e.credential.basic

	sent := e.credential.kind
	switch {
	case sent == malformedCredential:
		return e.denyFor(MalformedCredential, e.credential.detail)
	case e.query.misplaced:
		return e.denyFor(MalformedCredential, TokenInQuery)
	case holdsToken(e.memory(), path):
		return e.denyFor(MalformedCredential, TokenInPath)
	case e.request.headersHoldToken():
		return e.denyFor(MalformedCredential, TokenInHeader)
	case e.checkLogin():
		return true
	case e.query.tokens > 1, e.query.tokens == 1 && sent != noCredential,
		e.query.password && (sent == passwordCredential || sent == otherBearerCredential):
		return e.denyFor(MalformedCredential, TwoCredentials)
	case e.assumed != "":
		e.credential = credential{kind: tokenCredential}
		return false
	case e.query.tokens == 1:
		e.credential = credential{kind: tokenCredential, text: e.query.token}
		return false
	case e.query.empty && sent != tokenCredential: // beside a token, os_* is removed
		return e.denyFor(MalformedCredential, EmptyPassword)
	case sent != noCredential && sent != otherCredential, e.query.password, e.login:
		return false
	}
	return e.pass(NoCredential)
}

// mayLogIn reports whether the request may be a login over REST, with a password
// in its body.
func (e *evaluation) mayLogIn() bool {
	harmless := isReadMethod(e.request.Method) || e.request.Method == http.MethodDelete
	return (!harmless || overridesMethod(e.request, e.query)) && isSessionLogin(e.memory(), e.path, e.view.Policy.Product.Session)
}

// checkPassword decides requests without a token that carry a password: rows
// 4 and 5.
func (e *evaluation) checkPassword() bool {
	sent := e.credential.kind
	if sent == tokenCredential || sent == otherBearerCredential && !e.login {
		return false
	}
	e.decision.ClaimedUser = e.claimedUser()
	if !e.isExempt() {
		switch e.view.Policy.Passwords.Mode {
		case config.PasswordsAllow:
		case config.PasswordsObserve:
			e.decision.WouldBlock = true
		default:
			if e.login {
				return e.denyFor(PasswordBlocked, LoginBlocked)
			}
			return e.deny(PasswordBlocked)
		}
	}
	if sent == otherBearerCredential {
		return false // a login beside it; whether the Bearer may come is the next rule's
	}
	return e.pass(Password)
}

// claimedUser returns the user name that comes with a password; "" where there
// is none, or several, or where it stands in the body of a login.
func (e *evaluation) claimedUser() string {
	switch {
	case e.login:
		return ""
	case e.query.users == 1:
		return e.query.user
	}
	return e.credential.user
}

// isExempt reports whether a password is good here even where passwords are
// blocked. A path that is ambiguous or rewritten by Jira matches no exemption,
// and neither does a login whose user stands in a body we do not see.
func (e *evaluation) isExempt() bool {
	exempt := &e.view.Policy.Passwords
	if exempt.AllowedUsers.Contain(e.decision.ClaimedUser) {
		return true
	}
	t := parseTarget(e.memory(), e.path, e.view.Policy)
	if !t.ambiguous && !t.outside && !t.static && exempt.AllowedPaths.Match(t.path) {
		return true
	}
	return exempt.AllowedNetworks.Contain(e.request.Client)
}

// checkOtherBearer decides Bearer credentials that are no tokens: row 6.
func (e *evaluation) checkOtherBearer() bool {
	if e.credential.kind != otherBearerCredential {
		return false
	}
	if e.view.Policy.RefuseOtherBearer {
		return e.deny(OtherBearer)
	}
	return e.pass(OtherBearer)
}

// identify finds the token and checks its secret and user: row 7.
func (e *evaluation) identify() bool {
	if e.assumed != "" {
		return e.assume()
	}
	value, err := token.Parse(e.credential.text)
	if err != nil {
		e.decision.Length = len(e.credential.text)
		return e.denyFor(MalformedToken, diagnose(e.credential.text, err))
	}
	e.decision.TokenID = value.ID()
	entry, found := e.view.Index.Lookup(e.decision.TokenID.String())
	if !found || kinds[entry.Kind] != value.Kind() {
		return e.deny(UnknownToken)
	}
	if !value.Matches(entry.Secret.Salt, entry.Secret.Hash) {
		previous := &entry.Previous
		if !e.view.Now.Before(previous.Until) || !value.Matches(previous.Secret.Salt, previous.Secret.Hash) {
			return e.deny(WrongSecret)
		}
	}
	e.entry = entry
	e.decision.User = entry.Owner
	if e.credential.basic && !strings.EqualFold(e.credential.user, entry.Owner) {
		switch {
		case e.credential.user == "":
			return e.denyFor(WrongUser, NoUserName)
		case strings.Contains(e.credential.user, "@"):
			return e.denyFor(WrongUser, EmailAsUser)
		}
		return e.deny(WrongUser)
	}
	return false
}

// assume takes a token for sent, with the right secret and user.
func (e *evaluation) assume() bool {
	id, err := token.ParseID(e.assumed)
	if err != nil {
		return e.deny(MalformedToken)
	}
	e.decision.TokenID = id
	entry, found := e.view.Index.Lookup(e.assumed)
	if !found {
		return e.deny(UnknownToken)
	}
	e.entry, e.decision.User = entry, entry.Owner
	return false
}

// kinds are what the values of the store's kinds of token look like.
var kinds = [...]token.Kind{store.Ordinary: token.Ordinary, store.Management: token.Management}

// checkState refuses tokens that are not in force: row 8.
func (e *evaluation) checkState() bool {
	switch {
	case e.entry.Expired(e.view.Now):
		return e.deny(Expired)
	case e.entry.State == store.Pending:
		return e.deny(Pending)
	case e.entry.State != store.Active:
		return e.deny(Disabled)
	}
	return false
}

// hasOwner reports whether the token acts as somebody.
func (e *evaluation) hasOwner() bool { return e.entry.Kind != store.Management }

// ownerIsFresh reports whether what is known of the owner is fresh enough: row 10.
func (e *evaluation) ownerIsFresh() bool {
	return e.view.Index.IsFresh(e.view.Now) && e.entry.OwnerStatus != store.OwnerUnknown
}

// checkOwner refuses tokens whose owner has gone, or may not use tokens: row
// 11.
func (e *evaluation) checkOwner() bool {
	switch e.entry.OwnerStatus {
	case store.OwnerPermitted:
		return false
	case store.OwnerNotPermitted:
		return e.deny(OwnerNotPermitted)
	}
	return e.deny(OwnerInactive)
}

// checkPath refuses URLs that Jira might read otherwise than we do: row 12. A
// query that loses a parameter must also go out as it came, which only visible
// ASCII is sure to do.
func (e *evaluation) checkPath() bool {
	e.target = parseTarget(e.memory(), e.path, e.view.Policy)
	switch {
	case e.target.ambiguous:
		return e.denyFor(AmbiguousPath, e.target.detail)
	case e.query.disguised:
		return e.denyFor(AmbiguousPath, HiddenName)
	}
	if e.query.strip {
		if !showsEveryByte(e.request) {
			return e.denyFor(AmbiguousPath, OddByte)
		}
		e.decision.Path = stripQuery(e.memory(), e.request.Path, e.view.Policy)
	}
	return false
}

// showsEveryByte reports whether a path stands in the request as the client
// sent it. Envoy shows a byte that is no UTF-8 as `!`, which HTTP/1 cannot carry,
// but HTTP/2 can.
func showsEveryByte(r *Request) bool {
	visible := !strings.ContainsFunc(r.Path, func(c rune) bool { return c < '!' || c > '~' })
	return visible && (strings.HasPrefix(r.Protocol, "HTTP/1.") || !strings.Contains(r.Path, "!"))
}

// checkNetwork holds the client's address against the networks of all tokens
// and of this one: row 13.
func (e *evaluation) checkNetwork() bool {
	client := e.request.Client
	if e.view.Policy.Deny.Contain(client) || !e.view.Policy.Allow.Contain(client) {
		return e.deny(NetworkDenied)
	}
	if own := policy.Networks(e.entry.Networks); len(own) > 0 && !own.Contain(client) {
		return e.deny(NetworkNotAllowed)
	}
	return false
}

// checkTokenType keeps management tokens to the paths that Envoy routes to
// tokengate, and other tokens off them: rows 14 and 15. A path that is only
// another spelling of one of them goes to Jira, so no token is accepted on it.
// The server of the management paths checks the token again.
func (e *evaluation) checkTokenType() bool {
	management := e.entry.Kind == store.Management
	switch {
	case management != e.target.isOurs, management != e.target.isManagement():
		return e.deny(WrongTokenType)
	case management:
		e.decision.Path = "" // it goes on as it came
		return e.pass(ManagementPath)
	}
	return false
}

// checkEndpoint keeps tokens to the paths opened to them, and off the
// endpoints by which they would escape their limits: row 16.
func (e *evaluation) checkEndpoint() bool {
	t, p := &e.target, e.view.Policy
	overridden := overridesMethod(e.request, e.query) || e.request.Upgrade != ""
	reads := !overridden && isReadMethod(e.request.Method)
	downloads := reads && e.request.Method != http.MethodOptions
	e.mayWrite = !reads && (overridden || e.request.Method != http.MethodPost || !p.ReadingPosts.Match(t.path))
	switch {
	case t.outside:
		return e.denyFor(PathNotAllowed, OutsideContext)
	case t.static:
		return e.denyFor(PathNotAllowed, StaticPath)
	case p.TokenPaths.Match(t.path):
	case downloads && isDownload(t.path, p.DownloadPaths):
	case isDownload(t.path, p.DownloadPaths):
		return e.denyFor(PathNotAllowed, DownloadOnly)
	case downloads && isDownload(t.path, p.UsualDownloads):
		return e.denyFor(PathNotAllowed, DownloadClosed)
	case e.entry.ReadOnly && reads && !t.isREST:
		return e.denyFor(PathNotAllowed, BeyondREST)
	default:
		return e.deny(PathNotAllowed)
	}
	if isClosedMethod(e.request.Method) {
		return e.denyFor(EndpointForbidden, MethodRefused)
	}
	if !overridden && e.request.Method == http.MethodDelete && p.Product.IsSession(t.path) {
		return e.deny(SessionKept)
	}
	// What the configuration calls a reading POST opens no forbidden endpoint.
	if e.isForbidden(!reads) {
		return e.deny(EndpointForbidden)
	}
	return false
}

// checkMethod keeps read-only tokens to reading, and to paths where reading
// requests are known to read: row 17.
func (e *evaluation) checkMethod() bool {
	if !e.entry.ReadOnly {
		return false
	}
	p := e.view.Policy
	switch {
	case overridesMethod(e.request, e.query), e.request.Upgrade != "":
		return e.denyFor(ReadOnly, MethodOverride)
	case e.mayWrite && e.request.Method == http.MethodPost && e.target.isREST:
		return e.denyFor(ReadOnly, PostMayWrite)
	case e.mayWrite:
		return e.deny(ReadOnly)
	case e.target.isREST, p.ReadOnlyPaths.Match(e.target.path), isDownload(e.target.path, p.DownloadPaths):
		return false
	}
	return e.denyFor(ReadOnly, ReadOnlyPath)
}

// checkRate refuses a token that has made too many requests: row 18. It does not
// count this one.
func (e *evaluation) checkRate() bool {
	if wait := e.entry.Limiter.Wait(e.view.Now); wait > 0 {
		e.decision.Wait = wait
		return e.deny(RateLimited)
	}
	return false
}

// allow lets the request through as the token's owner: row 19.
func (e *evaluation) allow() bool {
	e.decision.Outcome, e.decision.Reason = Allowed, TokenAllowed
	e.decision.Write = e.mayWrite
	e.decision.limiter = e.entry.Limiter
	return true
}
