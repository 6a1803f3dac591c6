package jira

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
)

// client sends requests to one Jira. It follows no redirects, keeps no cookies and
// uses no proxy, so credentials go only to the configured address. Every wait has a
// timeout.
type client struct {
	base string // without a trailing slash
	http *http.Client
}

// Limits on connections to Jira.
const (
	maxConnections = 60 // 48 for callers (see pool), one each for a refresh and a lookup, the rest for PATs
	dialTimeout    = 5 * time.Second
	idleTimeout    = 90 * time.Second
	maxHeader      = 64 << 10
)

// connect is Product.Connect.
func connect(base string, transport http.RoundTripper) (product.Client, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return nil, errors.New("the URL of Jira is malformed") // url.Parse's error would repeat what may be a password
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, errors.New("the URL of Jira must begin with http:// or https:// and name a host")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("the URL of Jira must have no user, no query and no fragment")
	}
	if transport == nil {
		transport = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialTimeout,
			MaxConnsPerHost:        maxConnections,
			MaxIdleConnsPerHost:    maxConnections,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeader,
		}
	}
	return &client{
		base: strings.TrimRight(base, "/"),
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// request is a request to Jira.
type request struct {
	method  string // "" means GET
	path    string // such as /rest/api/2/myself
	query   url.Values
	header  http.Header // credentials
	body    []byte      // JSON; nil means none
	maxBody int64       // limit on the response, in bytes
	timeout time.Duration
}

// String names the request in errors.
func (q request) String() string { return cmp.Or(q.method, http.MethodGet) + " " + q.path }

// response is Jira's response.
type response struct {
	request string // such as GET /rest/api/2/myself
	status  int
	header  http.Header
	body    []byte
}

// errNotSent marks failures before the request was sent.
var errNotSent = errors.New("can't connect")

// ask sends a request. Its errors wrap ErrUnavailable and contain no
// credentials.
func (c *client) ask(ctx context.Context, q request) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	target := c.base + q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, target, bytes.NewReader(q.body))
	if err != nil {
		return response{}, fmt.Errorf("%w: the request can't be made", directory.ErrUnavailable)
	}
	for name, values := range q.header {
		req.Header[name] = values
	}
	// No other header of a client's request is passed on.
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "tokengate")
	if req.Method != http.MethodGet {
		req.Header.Set("X-Atlassian-Token", "no-check") // for Jira's XSRF check
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return response{}, unavailable(q, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, q.maxBody+1))
	if err != nil {
		return response{}, unavailable(q, err)
	}
	if int64(len(body)) > q.maxBody {
		return response{}, fmt.Errorf("%w: %v: the response is longer than %d bytes", directory.ErrUnavailable, q, q.maxBody)
	}
	return response{request: q.String(), status: res.StatusCode, header: res.Header, body: body}, nil
}

// unavailable returns the error for a request without a response. The error of
// net/http would repeat the query, which contains a user name.
func unavailable(q request, err error) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	dial, ok := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %v: no answer within %s", directory.ErrUnavailable, q, q.timeout)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %v: %w", directory.ErrUnavailable, q, context.Canceled)
	case ok && dial.Op == "dial":
		return fmt.Errorf("%w: %v: %w: %v", directory.ErrUnavailable, q, errNotSent, err)
	}
	return fmt.Errorf("%w: %v: %v", directory.ErrUnavailable, q, err)
}

// isJSON reports whether the response claims to be JSON. Login pages and
// proxies answer with HTML.
func (r response) isJSON() bool {
	kind, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

// unexpected returns the error for a response that the request does not allow.
func (r response) unexpected() error {
	kind := "JSON"
	if !r.isJSON() {
		kind = "something that is not JSON"
	}
	switch {
	case r.status >= 300 && r.status < 400:
		return fmt.Errorf("%w: %s: Jira redirects (status %d), so check upstream.url and upstream.contextPath", directory.ErrUnavailable, r.request, r.status)
	case r.status < 300:
		return fmt.Errorf("%w: %s: the answer is unexpected %s", directory.ErrUnavailable, r.request, kind)
	}
	return fmt.Errorf("%w: %s: status %d with %s", directory.ErrUnavailable, r.request, r.status, kind)
}
