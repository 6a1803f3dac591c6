package authz

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// check is a step of the decision. The order is that of the decision table:
// later checks rely on the results of earlier ones.
type check uint8

const (
	credentialCheck check = iota
	passwordCheck
	bearerCheck
	formCheck
	indexCheck
	tokenCheck
	stateCheck
	clientCheck
	directoryCheck
	ownerCheck
	upstreamCheck
	pathCheck
	networkCheck
	tokenTypeCheck
	endpointCheck
	methodCheck
	rateCheck
	allowCheck
	checkCount
)

// checkNames say in explanations what each check requires.
var checkNames = [checkCount]string{
	credentialCheck: "at most one credential, and readable",
	passwordCheck:   "passwords are allowed here",
	bearerCheck:     "Bearer of other issuers is accepted",
	formCheck:       "token is well formed",
	indexCheck:      "tokens are fresh",
	tokenCheck:      "token exists, secret and user match",
	stateCheck:      "token is active",
	clientCheck:     "client address is known",
	directoryCheck:  "user directory is fresh",
	ownerCheck:      "owner is active and may use tokens",
	upstreamCheck:   "owner is connected",
	pathCheck:       "URL is unambiguous",
	networkCheck:    "network is allowed",
	tokenTypeCheck:  "token type fits the path",
	endpointCheck:   "path is open to tokens",
	methodCheck:     "scope allows the request",
	rateCheck:       "rate is within its limit",
	allowCheck:      "no check denies it",
}

// decidedBy runs one check and reports whether it decided. A switch, unlike a
// table of functions, keeps the evaluation off the heap.
func (e *evaluation) decidedBy(c check) bool {
	switch c {
	case credentialCheck:
		return e.checkCredential()
	case passwordCheck:
		return e.checkPassword()
	case bearerCheck:
		return e.checkOtherBearer()
	case formCheck:
		return e.parseToken()
	case indexCheck:
		return !e.view.Index.TokensFresh(e.view.Now) && e.deny(IndexStale)
	case tokenCheck:
		return e.findToken()
	case stateCheck:
		return e.checkState()
	case clientCheck:
		return !e.request.Client.IsValid() && e.deny(NoClientAddress)
	case directoryCheck:
		return e.hasOwner() && !e.ownerIsFresh() && e.deny(DirectoryStale)
	case ownerCheck:
		return e.hasOwner() && e.checkOwner()
	case upstreamCheck:
		return e.view.Policy.UpstreamCredential && e.hasOwner() && e.checkUpstream()
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

// evaluation is the state of one request during the checks.
type evaluation struct {
	request *Request
	view    View
	assumed string // the id of the token to evaluate without a credential; empty: none

	path       string // raw, before the first `?`
	query      queryFacts
	login      bool // may be a login with a password in the body
	credential credential
	value      token.Value
	entry      index.Entry
	target     target
	mayWrite   bool

	decision Decision
}

func (e *evaluation) memory() *memory { return (*memory)(&e.request.Memory) }

func (e *evaluation) deny(reason Reason) bool {
	e.decision.Outcome, e.decision.Reason = Denied, reason
	e.decision.WouldBlock = false // nothing is forwarded
	return true
}

// denyFor denies with a Detail, which may be 0.
func (e *evaluation) denyFor(reason Reason, detail Detail) bool {
	e.decision.Detail = detail
	return e.deny(reason)
}

func (e *evaluation) pass(reason Reason) bool {
	e.decision.Outcome, e.decision.Reason = PassThrough, reason
	return true
}

// checkCredential finds the single credential of the request.
func (e *evaluation) checkCredential() bool {
	if e.view.Policy == nil || e.view.Policy.Product.Name == "" || e.view.Index == nil || e.view.Now.IsZero() {
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
	case e.query.empty && sent != tokenCredential: // with a token, login parameters are removed
		return e.denyFor(MalformedCredential, EmptyPassword)
	case sent != noCredential && sent != otherCredential, e.query.password, e.login:
		return false
	}
	return e.pass(NoCredential)
}

// mayLogIn reports whether the request may be a login with a password in its
// body.
func (e *evaluation) mayLogIn() bool {
	harmless := isReadMethod(e.request.Method) || e.request.Method == http.MethodDelete
	return (!harmless || overridesMethod(e.request, e.query)) && isSessionLogin(e.memory(), e.path, e.view.Policy.Product.Session.Pattern())
}

// emptyPassword matches the JSON of a login with an empty password, which the
// application counts as a failed login. A quote inside a password is escaped.
var emptyPassword = regexp.MustCompile(`"password"\s*:\s*""`)

// checkLogin denies tokens in the body of a login, which the application would
// count as a failed login, and logins whose body Envoy did not hand over.
func (e *evaluation) checkLogin() bool {
	switch {
	case e.request.Body != "" && bodyHoldsToken(e.memory(), e.request.Body):
		return e.denyFor(MalformedCredential, TokenInLogin)
	case e.assumed != "" || !e.login:
		return false
	case !e.view.Policy.Product.Session.IsPlain(e.path):
		return e.denyFor(MalformedCredential, OddLogin)
	case e.request.Body == "":
		return e.denyFor(MalformedCredential, NoLoginBody)
	case emptyPassword.MatchString(e.request.Body):
		return e.denyFor(MalformedCredential, EmptyPassword)
	}
	return false
}

// checkPassword decides requests that carry a password and no token.
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
		return false // the next check decides about the Bearer credential
	}
	return e.pass(Password)
}

// claimedUser returns the user name sent with a password. It is "" without one,
// with several, and for a login, whose body is not parsed.
func (e *evaluation) claimedUser() string {
	switch {
	case e.login:
		return ""
	case e.query.users == 1:
		return e.query.user
	}
	return e.credential.user
}

// isExempt reports whether a password is accepted although passwords are
// blocked. A path that is ambiguous or rewritten by the application matches no
// exemption.
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

// checkOtherBearer decides Bearer credentials that are not tokens.
func (e *evaluation) checkOtherBearer() bool {
	if e.credential.kind != otherBearerCredential {
		return false
	}
	if e.view.Policy.RefuseOtherBearer {
		return e.deny(OtherBearer)
	}
	return e.pass(OtherBearer)
}

// parseToken reads the token or the id of the assumed one.
func (e *evaluation) parseToken() bool {
	if e.assumed != "" {
		id, err := token.ParseID(e.assumed)
		if err != nil {
			return e.deny(MalformedToken)
		}
		e.decision.TokenID = id
		return false
	}
	value, err := token.Parse(e.credential.text)
	if err != nil {
		e.decision.Length = len(e.credential.text)
		return e.denyFor(MalformedToken, diagnose(e.credential.text, err))
	}
	e.value, e.decision.TokenID = value, value.ID()
	return false
}

// findToken looks up the token and checks its secret and user, which count as right for the assumed token.
func (e *evaluation) findToken() bool {
	entry, found := e.view.Index.Lookup(e.decision.TokenID.String())
	if found && e.assumed != "" {
		e.entry, e.decision.User = entry, entry.Owner
		return false
	}
	value := &e.value
	if !found || ValueKinds[entry.Kind] != value.Kind() {
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

// ValueKinds are the kinds of values by the kinds of tokens.
var ValueKinds = [...]token.Kind{store.Ordinary: token.Ordinary, store.Management: token.Management}

// checkState denies tokens that are expired, pending or disabled.
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

// hasOwner reports whether the token acts as a user.
func (e *evaluation) hasOwner() bool { return e.entry.Kind != store.Management }

// ownerIsFresh reports whether the owner's status is recent enough.
func (e *evaluation) ownerIsFresh() bool {
	return e.view.Index.OwnersFresh(e.view.Now) && e.entry.OwnerStatus != index.OwnerUnknown
}

// checkOwner denies tokens of owners who are inactive or may not use tokens.
func (e *evaluation) checkOwner() bool {
	switch e.entry.OwnerStatus {
	case index.OwnerPermitted:
		return false
	case index.OwnerNotPermitted:
		return e.deny(OwnerNotPermitted)
	}
	return e.deny(OwnerInactive)
}

// checkUpstream denies tokens of owners without a working upstream credential.
func (e *evaluation) checkUpstream() bool {
	switch e.entry.Upstream {
	case nil:
		return e.deny(NoUpstreamCredential)
	case index.BrokenUpstream:
		return e.deny(UpstreamCredentialBroken)
	}
	return false
}
