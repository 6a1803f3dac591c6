// Package product describes the applications that tokengate can protect: their
// configuration defaults, the URLs that a decision must treat specially, their logins,
// and how they are asked about users and for credentials.
//
// A Product is plain data and a few functions. Package jira fills one. To add another,
// write such a package and list its Product in config.Products. Start with Product.
package product

import (
	"net/http"
	"strings"
	"unsafe"
)

// Product is one application. The zero Product has no special URLs.
//
// Paths are decoded, without the context path and the query. Canonical, Rewrite and
// Forbidden are called for each request: they must not allocate, and may be nil.
type Product struct {
	Name  string // the value of upstream.product, such as jira
	Title string // the name in messages, such as Jira

	// Defaults of the configuration.
	IdentityHeader string   // upstream.identity.header
	DownloadPaths  []string // tokens.downloadPaths
	PasswordPaths  []string // passwords.allowedPaths

	// API is the path of the REST API, such as /rest. Tokens are accepted below
	// it by default, and read-only tokens everywhere below it.
	API string

	// Example is a path below API that every user may read, such as
	// /rest/api/2/myself. Examples use it.
	Example string

	// ReservedSegments are first path segments of the application itself, in
	// lower case. A context path cannot begin with one.
	ReservedSegments []string

	Session Session // the resource for logins; the zero Session is none

	// LoginPrefix begins the names of query parameters that control logins, such
	// as os_. They are removed from requests with a token.
	LoginPrefix string

	// UserParameter and PasswordParameter are the query parameters that carry a
	// user name and a password. Both begin with LoginPrefix.
	UserParameter, PasswordParameter string

	// ReadingPosts are patterns of paths where a POST only reads, as in
	// tokens.readingPosts.
	ReadingPosts []string

	// LoginPage is the page on which users log in, such as
	// /login.jsp?os_destination=. It ends where the escaped path and query to return
	// to, below the context path, is appended.
	LoginPage string

	// SessionCookies are the names of the cookies that hold a session. Without one of
	// them, all cookies of a request together count as its session.
	SessionCookies []string

	Realm string // of WWW-Authenticate, without quotes

	// AnonymousHeader is a header of answers with AnonymousUser as its value if the
	// application served the request without a user. Both are "" if there is none.
	AnonymousHeader, AnonymousUser string

	// Connect returns a client of the application at base, which is upstream.url with
	// upstream.contextPath. transport is nil except in tests.
	Connect func(base string, transport http.RoundTripper) (Client, error)

	// Credentials returns the calls with which a client from Connect makes credentials
	// for users. It is nil if the application has none that it would accept in place of
	// the user's own.
	Credentials func(Client) CredentialClient

	// Canonical maps the spellings of a path that the application answers alike
	// to one. It appends that spelling to memory if it differs from path, and
	// returns memory.
	Canonical func(memory []byte, path string) []byte

	// Rewrite returns the path to which the application forwards internally, or
	// the path itself. If it is uncertain which that is, clear is false.
	Rewrite func(path string) (target string, clear bool)

	// Administration reports whether a canonical path is only for administrators, so that a
	// credential of one must not open it to all of the user's tokens. It may be nil.
	Administration func(path string, write bool) bool

	// Forbidden reports whether a request to a canonical path would let a token
	// escape its limits, by handing out credentials or changing permissions. write
	// says that the request may write.
	Forbidden func(path string, write bool) bool
}

// CanonicalPath returns the one spelling by which a path is matched. A spelling
// other than path lies in memory.
func (p *Product) CanonicalPath(memory *[]byte, path string) string {
	if p.Canonical == nil {
		return path
	}
	start := len(*memory)
	*memory = p.Canonical(*memory, path)
	if len(*memory) == start {
		return path
	}
	spelled := (*memory)[start:]
	return unsafe.String(unsafe.SliceData(spelled), len(spelled))
}

// IsLoginParameter reports whether a decoded query parameter controls logins.
func (p *Product) IsLoginParameter(name string) bool {
	return p.LoginPrefix != "" && strings.HasPrefix(name, p.LoginPrefix)
}
