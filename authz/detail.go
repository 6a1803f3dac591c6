package authz

import (
	"fmt"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/token"
)

// Detail refines the Reason of a denial. It reveals only public facts, such as
// the form of a token, never whether a token exists. Its word follows the Reason
// in logs and explanations. The zero Detail is none.
type Detail uint8

// The details, by reason.
const (
	TwoCredentials   Detail = iota + 1 // malformed_credential: several credentials
	NoBase64                           // malformed_credential: Basic without base64
	BrokenBase64                       // malformed_credential: a space or line break in Basic's base64
	NoColon                            // malformed_credential: Basic without a colon between name and password
	TokenAsUser                        // malformed_credential: a token in Basic's user name
	TokenInQuery                       // malformed_credential: a token in the query
	TokenInPath                        // malformed_credential: a token in the path
	OtherScheme                        // malformed_credential: a token without Basic or Bearer
	QuotedCredential                   // malformed_credential: quotes or spaces around the token
	EncodedToken                       // malformed_credential: a token in an unexpected encoding
	EmptyPassword                      // malformed_credential: an empty password
	EmptyBearer                        // malformed_credential: Bearer without anything after it
	TokenInHeader                      // malformed_credential: a token in a header other than Authorization
	TokenInLogin                       // malformed_credential: a token in the body of a login over REST
	OddLogin                           // malformed_credential: a login over REST in an unusual spelling
	NoLoginBody                        // malformed_credential: a login over REST without a body, or Envoy did not hand it over
	LoginBlocked                       // password_blocked: a login over REST

	WrongLength   // malformed_token: not Length characters
	LineEnd       // malformed_token: a line end or a space after the token
	QuotedToken   // malformed_token: a quote after the token
	OddCharacters // malformed_token: characters other than letters and digits
	WrongChecksum // malformed_token: mistyped

	EmailAsUser // wrong_user: Basic names an e-mail address
	NoUserName  // wrong_user: Basic without a user name

	Semicolon    // ambiguous_path: a semicolon
	BadSegment   // ambiguous_path: an empty or dot segment
	LonePercent  // ambiguous_path: a % without two hexadecimal digits
	NeedlessCode // ambiguous_path: an escaped letter, digit, dot, slash or control character
	OddByte      // ambiguous_path: a byte that must be escaped
	HiddenName   // ambiguous_path: a login or token parameter with escapes in its name

	OutsideContext // path_not_allowed: the context path is missing
	DownloadOnly   // path_not_allowed: open for GET and HEAD only
	DownloadClosed // path_not_allowed: a download path of the product that this site keeps closed
	StaticPath     // path_not_allowed: a path that the application rewrites
	BeyondREST     // path_not_allowed: a path outside the REST API, with a read-only token

	MethodRefused        // endpoint_forbidden: a method that no token may use
	ClosedAdministration // endpoint_forbidden: the application's administration

	ReadOnlyPath   // read_only: a path that is closed to read-only tokens
	MethodOverride // read_only: the request asks to be treated as another method
	PostMayWrite   // read_only: a POST in the REST API that is not known to only read

	detailCount
)

// details has the reason, the word and the text for the client of each Detail.
var details = [detailCount]struct {
	reason Reason
	word   string
	text   string
}{
	TwoCredentials:   {MalformedCredential, "two_credentials", "The request carries more than one credential. Send exactly one: an Authorization header with Basic (user name and API token) or Bearer (API token)."},
	NoBase64:         {MalformedCredential, "no_base64", "The Basic credential is not base64. Encode user name, colon and API token together, or let the client do it (curl -u NAME:TOKEN)."},
	BrokenBase64:     {MalformedCredential, "broken_base64", "There is a space or a line break inside the Basic credential. Write the base64 as one line: use base64 -w0."},
	NoColon:          {MalformedCredential, "no_colon", "The Basic credential has no colon between the user name and the API token. Encode both together, as NAME:TOKEN."},
	TokenAsUser:      {MalformedCredential, "token_as_user", "The API token was sent as the user name. Send the owner's user name there and the API token as the password, or send the API token alone as a Bearer credential."},
	TokenInQuery:     {MalformedCredential, "token_in_query", "The API token is in the URL's query, where tokens are not accepted. URLs end up in logs, so rotate this token; then send it in the Authorization header, as Bearer or as the password of Basic."},
	TokenInPath:      {MalformedCredential, "token_in_path", "The API token is in the URL's path. URLs end up in logs, so rotate this token; then send it in the Authorization header, as Bearer or as the password of Basic."},
	OtherScheme:      {MalformedCredential, "other_scheme", "The API token is sent under a scheme other than Basic or Bearer, or without one. Send \"Authorization: Bearer\", a space and the API token, or Basic with the owner's user name and the API token as the password."},
	QuotedCredential: {MalformedCredential, "quoted", "There are quotes, spaces or other text around the API token. Send exactly the token."},
	EncodedToken:     {MalformedCredential, "encoded_token", "The API token is encoded where it must be sent unchanged. Send \"Authorization: Bearer\", a space and the API token, or \"Authorization: Basic\", a space and the base64 of NAME:TOKEN; decode the token first if it comes from a Kubernetes Secret."},
	EmptyPassword:    {MalformedCredential, "empty_password", "The password is empty. Probably a variable in the script that should hold the API token is not set."},
	EmptyBearer:      {MalformedCredential, "empty_bearer", "No API token follows Bearer. Probably a variable in the script that should hold the API token is not set."},
	TokenInHeader:    {MalformedCredential, "token_in_header", "The API token is in a header other than Authorization. Send it in the Authorization header only, as Bearer or as the password of Basic with its owner's user name."},
	TokenInLogin:     {MalformedCredential, "token_in_login", "The API token is in the body of a login. Do not log in with a token: send it with each request, as the password of Basic with its owner's user name, or as a Bearer credential. In python-jira, use basic_auth=(NAME, TOKEN) or token_auth=TOKEN in place of auth=."},
	OddLogin:         {MalformedCredential, "login_path", "The path of this login is spelled in an unusual way. Write the path plainly, without semicolons and escapes."},
	NoLoginBody:      {MalformedCredential, "login_body", "The login has no body. Send the user name and the password in it, as JSON. If you did, Envoy did not show the body to tokengate: an administrator must then generate Envoy's configuration again, with tokengate envoy bootstrap."},
	LoginBlocked:     {PasswordBlocked, "login", "Passwords are switched off here, so a script cannot log in. Create an API token in the browser, or ask an administrator for one, and send it with each request in place of the login: as a Bearer credential, or as the password of Basic."},

	WrongLength:   {MalformedToken, "length", ""}, // see Decision.Text
	LineEnd:       {MalformedToken, "line_end", "A line end or a space follows the API token. Send exactly the token: write the file with printf '%s', or encode with echo -n."},
	QuotedToken:   {MalformedToken, "quoted", "There is a quote around the API token. Send exactly the token."},
	OddCharacters: {MalformedToken, "characters", "The API token holds a character other than letters and digits after its prefix. Copy it again."},
	WrongChecksum: {MalformedToken, "checksum", "The API token is mistyped or damaged: its checksum does not fit. Copy it again."},

	EmailAsUser: {WrongUser, "email", "This API token belongs to a user whose name is not this e-mail address. Send the user name of its owner, or send the API token as a Bearer credential."},
	NoUserName:  {WrongUser, "no_user", "No user name came with this API token. Send the user name of its owner, or send the API token as a Bearer credential."},

	Semicolon:    {AmbiguousPath, "semicolon", "The URL's path holds a semicolon, which servers read in different ways. Leave it out, or write %3B where it is part of a name."},
	BadSegment:   {AmbiguousPath, "segment", "The URL's path holds an empty segment (//) or a dot segment (/./ or /../), or does not begin with a slash. Write the path without it."},
	LonePercent:  {AmbiguousPath, "percent", "The URL's path holds a % that two hexadecimal digits do not follow. Write %25 for a percent sign."},
	NeedlessCode: {AmbiguousPath, "escape", "The URL's path escapes a character that must not be escaped: a letter, a digit, a dot, a slash, a backslash or a control character. Write letters, digits and dots as they are, and leave the others out."},
	OddByte:      {AmbiguousPath, "byte", "The URL holds a space, a backslash, a control character or a character outside ASCII. Escape it: a space is %20, and an é is %C3%A9."},
	HiddenName:   {AmbiguousPath, "parameter_name", "The name of a parameter in the URL's query is escaped without need. Write letters, digits and underscores as they are."},

	OutsideContext: {PathNotAllowed, "context_path", "The URL's path does not begin with the context path of this site. Begin it as the base URL of the site does, with the context path first."},
	DownloadOnly:   {PathNotAllowed, "download", "This path is open to API tokens for downloads only: GET and HEAD. An administrator can open it for more with the setting tokens.paths."},
	DownloadClosed: {PathNotAllowed, "download_closed", "API tokens are not accepted on this path. An administrator can open it for downloads with the setting tokens.downloadPaths."},
	StaticPath:     {PathNotAllowed, "static", "API tokens are not accepted on a path that is rewritten to another. Send the request to that other path."},
	BeyondREST:     {PathNotAllowed, "read_only", "Read-only API tokens are not accepted on this path. An administrator can open it by adding it to both settings tokens.paths and tokens.readOnlyPaths."},

	MethodRefused:        {EndpointForbidden, "method", "This method is not accepted with API tokens, on any path. Use GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE."},
	ClosedAdministration: {EndpointForbidden, "administration", "Administration is not open to API tokens here. Log in to use it. An administrator can open it with the setting upstream.identity.pat.administration."},

	ReadOnlyPath:   {ReadOnly, "path", "This API token is read-only, and this path is not open to read-only tokens. An administrator can open it with the setting tokens.readOnlyPaths."},
	PostMayWrite:   {ReadOnly, "post", "This API token is read-only, and the request may write. Use GET, HEAD or OPTIONS, or a token that may write. If this POST only reads, an administrator can list its path in the setting tokens.readingPosts."},
	MethodOverride: {ReadOnly, "override", "This API token is read-only, and the request asks to be treated as another method or to be upgraded. Leave out X-HTTP-Method-Override, X-Method-Override, X-HTTP-Method, _method and Upgrade."},
}

// Details returns all details.
func Details() []Detail {
	all := make([]Detail, 0, detailCount-1)
	for d := Detail(1); d < detailCount; d++ {
		all = append(all, d)
	}
	return all
}

// String returns the stable word, or "" for none.
func (d Detail) String() string { return details[d.known()].word }

// Reason returns the reason that the detail belongs to; 0 for none.
func (d Detail) Reason() Reason { return details[d.known()].reason }

func (d Detail) known() Detail {
	if d >= detailCount {
		return 0
	}
	return d
}

// Text returns the text for a denied client: the detail's or else the reason's.
func (d Decision) Text() string {
	switch {
	case d.Reason == RateLimited && d.Wait > 0:
		return fmt.Sprintf("This API token has made too many requests. Wait %s and try again.", plural(d.WaitSeconds(), "second"))
	case d.Detail.Reason() != d.Reason:
		return d.Reason.Text()
	case d.Detail == WrongLength && d.Length > token.Length:
		return fmt.Sprintf("The API token is too long: %d characters arrived, and a token has %d. Copy the token alone.", d.Length, token.Length)
	case d.Detail == WrongLength:
		return fmt.Sprintf("The API token is not whole: %d of %d characters arrived. Copy it again.", d.Length, token.Length)
	}
	return details[d.Detail].text
}

// WaitSeconds returns Wait in whole seconds, rounded up and at least 1, for
// Retry-After (RFC 9110 §10.2.3).
func (d Decision) WaitSeconds() int { return int(max(1, (d.Wait+time.Second-1)/time.Second)) }

func plural(n int, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// diagnose returns the Detail of a text for which token.Parse returned err.
func diagnose(text string, err error) Detail {
	switch last := text[len(text)-1]; {
	case last <= ' ':
		return LineEnd
	case isQuote(last):
		return QuotedToken
	}
	switch err {
	case token.ErrLength:
		return WrongLength
	case token.ErrChecksum:
		return WrongChecksum
	}
	return OddCharacters
}

func isQuote(c byte) bool { return strings.IndexByte("\"'`", c) >= 0 }
