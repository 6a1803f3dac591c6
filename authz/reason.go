package authz

import "net/http"

// Reason says why a request was decided as it was. Its text is a stable word:
// it stands in logs, metrics, explanations and tests.
//
// The zero Reason is no reason; a Decision that carries it is a refusal.
type Reason uint8

// The reasons, in the order of the decision table.
const (
	BadCheck            Reason = iota + 1 // the question was no HTTP request, or unreadable
	NoCredential                          // nothing here is ours to judge
	MalformedCredential                   // unreadable, or more than one credential
	PasswordBlocked                       // a password, where passwords are switched off
	Password                              // a password, let through
	OtherBearer                           // a Bearer credential that is no token of ours
	MalformedToken                        // it begins like a token, but is none
	UnknownToken                          // no such token, or a revoked one
	WrongSecret                           // the id exists, the secret is not its own
	WrongUser                             // Basic names somebody other than the owner
	Expired                               //
	Disabled                              //
	Pending                               // not approved yet
	NoClientAddress                       // the client's address is missing or unreadable
	DirectoryStale                        // what is known of users is too old
	OwnerInactive                         // the owner is unknown or inactive, or the name is another's by now
	OwnerNotPermitted                     // the owner may not use tokens
	AmbiguousPath                         // Jira might read the path otherwise than we do
	NetworkDenied                         // no token is good from this network
	NetworkNotAllowed                     // this token is not good from this network
	ManagementPath                        // a management token where it belongs
	WrongTokenType                        // a token on a path that is not for its kind
	PathNotAllowed                        // the path is not opened to tokens
	SessionKept                           // a token's logout, answered in Jira's place; no session is ended
	EndpointForbidden                     // the endpoint would let a token escape its limits
	ReadOnly                              // a read-only token, and the request may write
	RateLimited                           // the token has made too many requests
	TokenAllowed                          //
	reasonCount
)

// reasons says of each Reason its word, the status of a refusal, what the
// client is told, and whether the client has proved a token's secret. A client
// that has not learns nothing of any token.
var reasons = [reasonCount]struct {
	word   string
	status int
	proved bool
	text   string
}{
	0:                   {"undecided", http.StatusServiceUnavailable, false, "The request could not be checked. Try again later."},
	BadCheck:            {"bad_check", http.StatusServiceUnavailable, false, "The request could not be checked. Try again later."},
	NoCredential:        {"no_credential", http.StatusServiceUnavailable, false, ""},
	MalformedCredential: {"malformed_credential", http.StatusUnauthorized, false, "The credential cannot be read. Send exactly one: an Authorization header with Basic (user name and API token) or Bearer (API token)."},
	PasswordBlocked:     {"password_blocked", http.StatusForbidden, false, "Passwords are switched off here. Use an API token in place of the password. To get one, log in to Jira in the browser and create it there, or ask an administrator."},
	Password:            {"password", http.StatusServiceUnavailable, false, ""},
	OtherBearer:         {"other_bearer", http.StatusUnauthorized, false, "This Bearer credential is not an API token of this site, and others are not accepted. Use an API token."},
	MalformedToken:      {"malformed_token", http.StatusUnauthorized, false, "The API token is not valid. Copy it again."},
	UnknownToken:        {"unknown_token", http.StatusUnauthorized, false, unknownText},
	WrongSecret:         {"wrong_secret", http.StatusUnauthorized, false, unknownText},
	WrongUser:           {"wrong_user", http.StatusUnauthorized, true, "This API token does not belong to the user of this name. Send it with the user name of its owner, or as a Bearer credential. A management token has no owner, so it must be sent as a Bearer credential."},
	Expired:             {"expired", http.StatusUnauthorized, true, "This API token has expired. Rotate it or create another."},
	Disabled:            {"disabled", http.StatusUnauthorized, true, "This API token is disabled. An administrator can enable it again."},
	Pending:             {"pending", http.StatusUnauthorized, true, "This API token is not approved yet. Ask an administrator to approve it."},
	NoClientAddress:     {"no_client_address", http.StatusServiceUnavailable, true, "The client's address is not known, so the request could not be checked. An administrator can compare the setting clientAddress with the proxies in front of this one."},
	DirectoryStale:      {"directory_stale", http.StatusServiceUnavailable, true, "Whether the owner of this API token is still active could not be checked for a while, so no token is accepted now. Try again later, or tell an administrator."},
	OwnerInactive:       {"owner_inactive", http.StatusUnauthorized, true, "The owner of this API token is not an active user of this site, or the user name now belongs to another user. Ask an administrator."},
	OwnerNotPermitted:   {"owner_not_permitted", http.StatusForbidden, true, "The owner of this API token is in no group that may use tokens. An administrator can change the setting access.use."},
	AmbiguousPath:       {"ambiguous_path", http.StatusBadRequest, true, "The URL can be read in more than one way, so it could not be checked. Write its path plainly: without semicolons, empty or dot segments, and without escapes of letters, digits, dots or slashes."},
	NetworkDenied:       {"network_denied", http.StatusForbidden, true, "API tokens are not accepted from this network. An administrator can open it with the setting network.allow, unless network.deny closes it."},
	NetworkNotAllowed:   {"network_not_allowed", http.StatusForbidden, true, "This API token is not accepted from this network. Its owner or an administrator can change the networks of the token."},
	ManagementPath:      {"management_path", http.StatusServiceUnavailable, true, ""},
	WrongTokenType:      {"wrong_token_type", http.StatusForbidden, true, "This kind of API token is not accepted here: an ordinary token does not manage tokens, and a management token does nothing else."},
	PathNotAllowed:      {"path_not_allowed", http.StatusForbidden, true, "API tokens are not accepted on this path. An administrator can open it with the setting tokens.paths."},
	SessionKept:         {"session_kept", http.StatusNoContent, true, "An API token has no session, so there is nothing to end. The request does not reach Jira, and the token stays as it is."},
	EndpointForbidden:   {"endpoint_forbidden", http.StatusForbidden, true, "This endpoint is not open to API tokens, because it hands out credentials or changes who may do what. Log in to use it."},
	ReadOnly:            {"read_only", http.StatusForbidden, true, "This API token is read-only, and the request may write. Use GET, HEAD or OPTIONS, or a token that may write."},
	RateLimited:         {"rate_limited", http.StatusTooManyRequests, true, "This API token has made too many requests. Wait as many seconds as the Retry-After header says."},
	TokenAllowed:        {"allowed", http.StatusServiceUnavailable, true, ""},
}

// unknownText is the text of a token that does not exist and of one whose secret
// is wrong: a client that has proved nothing must not tell them apart.
const unknownText = "The API token is not valid: it was revoked or replaced, or it is not of this site. Create another, or ask its owner."

// Reasons returns every Reason there is.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := Reason(1); r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// String returns the stable word.
func (r Reason) String() string { return reasons[r.known()].word }

// Status returns the HTTP status of a refusal with this reason.
func (r Reason) Status() int { return reasons[r.known()].status }

// Text returns what a refused client is told.
func (r Reason) Text() string {
	if text := reasons[r.known()].text; text != "" {
		return text
	}
	return reasons[0].text
}

// SecretVerified reports whether the client has proved the secret of a token that
// exists, whatever came of it.
func (r Reason) SecretVerified() bool { return reasons[r.known()].proved }

// Outcomes returns what may happen to a request that is decided for this reason.
func (r Reason) Outcomes() []Outcome {
	switch r {
	case NoCredential, Password, ManagementPath:
		return []Outcome{PassThrough}
	case OtherBearer:
		return []Outcome{PassThrough, Denied}
	case TokenAllowed:
		return []Outcome{Allowed}
	}
	return []Outcome{Denied}
}

// known maps what is no Reason to the zero one, which refuses.
func (r Reason) known() Reason {
	if r >= reasonCount {
		return 0
	}
	return r
}

// PasswordUnknownUser is the word by which the daily totals count the requests with
// a password, let through or denied, that the record of password uses does not
// hold: the directory does not know the user, the credential is where the gate does
// not read it, or the record is full.
const PasswordUnknownUser = "password_unknown_user"
