package authz

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/tokengate/tokengate/authz/config"
)

// Reason says why a request was decided as it was. Its String is a stable word of
// logs, metrics and explanations. The zero Reason is none; a Decision with it is a
// denial.
type Reason uint8

// The reasons, in the order of the decision table.
const (
	BadCheck                 Reason = iota + 1 // the question is not an HTTP request, or unreadable
	NoCredential                               // no password, and no Basic or Bearer credential
	MalformedCredential                        // unreadable, or more than one credential
	PasswordBlocked                            // a password, and passwords are blocked
	Password                                   // a password, forwarded
	OtherBearer                                // a Bearer credential that is not a token
	MalformedToken                             // it begins like a token, but is not well formed
	IndexStale                                 // what is known of the tokens is too old
	UnknownToken                               // no such token, or revoked
	WrongSecret                                // the id exists, but with another secret
	WrongUser                                  // Basic names a user other than the owner
	Expired                                    //
	Disabled                                   //
	Pending                                    // not yet approved
	NoClientAddress                            // the client's address is missing or unreadable
	DirectoryStale                             // the user directory is too old
	OwnerInactive                              // the owner is unknown or inactive, or the name belongs to another user now
	OwnerNotPermitted                          // the owner may not use tokens
	NoUpstreamCredential                       // the owner has not connected with the application
	UpstreamCredentialBroken                   // the application does not accept the owner's credential any more
	AmbiguousPath                              // the application might interpret the path in another way
	NetworkDenied                              // the configuration accepts no token from this network
	NetworkNotAllowed                          // the token is not accepted from this network
	ManagementPath                             // a management token on a management path
	WrongTokenType                             // a path for tokens of another kind
	PathNotAllowed                             // the path is not open to tokens
	SessionKept                                // a logout with a token, answered by tokengate; no session ends
	EndpointForbidden                          // a token could escape its limits through this endpoint
	ReadOnly                                   // a read-only token, and the request may write
	RateLimited                                // the token has made too many requests
	TokenAllowed                               //
	reasonCount
)

// reasons has the word of each Reason, the status of a denial, whether the
// client has proved a token's secret, and the text for the client. Without that
// proof, the text reveals nothing about any token.
var reasons = [reasonCount]struct {
	word   string
	status int
	proved bool
	text   string
}{
	0:                        {"undecided", http.StatusServiceUnavailable, false, "The request could not be checked. Try again later."},
	BadCheck:                 {"bad_check", http.StatusServiceUnavailable, false, "The request could not be checked. Try again later."},
	NoCredential:             {"no_credential", http.StatusServiceUnavailable, false, ""},
	MalformedCredential:      {"malformed_credential", http.StatusUnauthorized, false, "The credential cannot be read. Send exactly one: an Authorization header with Basic (user name and API token) or Bearer (API token)."},
	PasswordBlocked:          {"password_blocked", http.StatusForbidden, false, "Passwords are switched off here. Use an API token in place of the password. To get one, log in to this site in the browser and create it there, or ask an administrator."},
	Password:                 {"password", http.StatusServiceUnavailable, false, ""},
	OtherBearer:              {"other_bearer", http.StatusUnauthorized, false, "This Bearer credential is not an API token of this site, and others are not accepted. Use an API token."},
	MalformedToken:           {"malformed_token", http.StatusUnauthorized, false, "The API token is not valid. Copy it again."},
	IndexStale:               {"index_stale", http.StatusServiceUnavailable, false, "Whether this API token is still valid could not be checked for a while, so no token is accepted now. Try again later, or tell an administrator."},
	UnknownToken:             {"unknown_token", http.StatusUnauthorized, false, unknownText},
	WrongSecret:              {"wrong_secret", http.StatusUnauthorized, false, unknownText},
	WrongUser:                {"wrong_user", http.StatusUnauthorized, true, "This API token does not belong to the user of this name. Send it with the user name of its owner, or as a Bearer credential. A management token has no owner, so it must be sent as a Bearer credential."},
	Expired:                  {"expired", http.StatusUnauthorized, true, "This API token has expired. Rotate it or create another."},
	Disabled:                 {"disabled", http.StatusUnauthorized, true, "This API token is disabled. An administrator can enable it again."},
	Pending:                  {"pending", http.StatusUnauthorized, true, "This API token is not approved yet. Ask an administrator to approve it."},
	NoClientAddress:          {"no_client_address", http.StatusServiceUnavailable, true, "The client's address is not known, so the request could not be checked. An administrator can compare the setting clientAddress with the proxies in front of this one."},
	DirectoryStale:           {"directory_stale", http.StatusServiceUnavailable, true, "Whether the owner of this API token is still active could not be checked for a while, so no token is accepted now. Try again later, or tell an administrator."},
	OwnerInactive:            {"owner_inactive", http.StatusUnauthorized, true, "The owner of this API token is not an active user of this site, or the user name now belongs to another user. Ask an administrator."},
	OwnerNotPermitted:        {"owner_not_permitted", http.StatusForbidden, true, "The owner of this API token is in no group that may use tokens. An administrator can change the setting access.use."},
	NoUpstreamCredential:     {"no_upstream_credential", http.StatusForbidden, true, "The owner of this API token is not connected with this site. The owner connects once, on the page " + connectionPage + " of this site, or an administrator does (tokengate upstream set)."},
	UpstreamCredentialBroken: {"upstream_credential_broken", http.StatusServiceUnavailable, true, "This site does not accept the owner's connection any more, so the request was not sent as the owner. The owner of this API token connects again, on the page " + connectionPage + " of this site, or an administrator does (tokengate upstream set)."},
	AmbiguousPath:            {"ambiguous_path", http.StatusBadRequest, true, "The URL can be read in more than one way, so it could not be checked. Write its path plainly: without semicolons, empty or dot segments, and without escapes of letters, digits, dots or slashes."},
	NetworkDenied:            {"network_denied", http.StatusForbidden, true, "API tokens are not accepted from this network. An administrator can open it with the setting network.allow, unless network.deny closes it."},
	NetworkNotAllowed:        {"network_not_allowed", http.StatusForbidden, true, "This API token is not accepted from this network. Its owner or an administrator can change the networks of the token."},
	ManagementPath:           {"management_path", http.StatusServiceUnavailable, true, ""},
	WrongTokenType:           {"wrong_token_type", http.StatusForbidden, true, "This kind of API token is not accepted here: an ordinary token does not manage tokens, and a management token does nothing else."},
	PathNotAllowed:           {"path_not_allowed", http.StatusForbidden, true, "API tokens are not accepted on this path. An administrator can open it with the setting tokens.paths."},
	SessionKept:              {"session_kept", http.StatusNoContent, true, "An API token has no session, so there is nothing to end. The request is not forwarded, and the token stays valid."},
	EndpointForbidden:        {"endpoint_forbidden", http.StatusForbidden, true, "This endpoint is not open to API tokens, because it hands out credentials or changes who may do what. Log in to use it."},
	ReadOnly:                 {"read_only", http.StatusForbidden, true, "This API token is read-only, and the request may write. Use GET, HEAD or OPTIONS, or a token that may write."},
	RateLimited:              {"rate_limited", http.StatusTooManyRequests, true, "This API token has made too many requests. Wait as many seconds as the Retry-After header says."},
	TokenAllowed:             {"allowed", http.StatusServiceUnavailable, true, ""},
}

// unknownText is the text for both an unknown id and a wrong secret, because a
// client without the secret must not learn whether the token exists.
const unknownText = "The API token is not valid: it was revoked or replaced, or it is not of this site. Create another, or ask its owner."

// connectionPage is the page on which users connect, below the application's context path.
const connectionPage = config.PagePath + "/connection"

// Reasons returns all reasons.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := Reason(1); r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// String returns the stable word.
func (r Reason) String() string { return reasons[r.known()].word }

// Status returns the HTTP status of a denial with this reason.
func (r Reason) Status() int { return reasons[r.known()].status }

// Text returns the text for a denied client.
func (r Reason) Text() string {
	if text := reasons[r.known()].text; text != "" {
		return text
	}
	return reasons[0].text
}

// SecretVerified reports whether the client has proved the secret of an existing
// token.
func (r Reason) SecretVerified() bool { return reasons[r.known()].proved }

// Outcomes returns the outcomes that decisions with this reason can have.
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

// known maps invalid values to the zero Reason, which denies.
func (r Reason) known() Reason {
	if r >= reasonCount {
		return 0
	}
	return r
}

// DenialType is the content type of a denial. Some clients read the body only with
// exactly this type.
const DenialType = "application/json;charset=UTF-8"

// Denial returns the body of a denial, in the JSON that Atlassian's REST APIs use
// for errors, so that clients show the text.
func Denial(text string) []byte { return denial(text, map[string]string{}) }

// FieldDenial returns a Denial that also names the invalid field of the request.
func FieldDenial(field, text string) []byte {
	return denial(text, map[string]string{field: text})
}

func denial(text string, fields map[string]string) []byte {
	body, err := json.Marshal(struct {
		ErrorMessages []string          `json:"errorMessages"`
		Errors        map[string]string `json:"errors"`
		Message       string            `json:"message"`
	}{[]string{text}, fields, text})
	if err != nil {
		panic(fmt.Sprintf("encode a denial: %v", err)) // strings always encode
	}
	return body
}

// PasswordUnknownUser is the word by which the daily totals count the requests with
// a password, let through or denied, that the record of password uses does not
// hold: the directory does not know the user, the credential is where tokengate does
// not read it, or the record is full.
const PasswordUnknownUser = "password_unknown_user"
