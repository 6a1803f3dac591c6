package directory

import (
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
)

// Client asks one Jira. It is shared by all that ask it, and safe for
// concurrent use.
//
// It follows no redirect, keeps no cookie and uses no proxy: credentials go to
// the one address that the configuration names. It waits for nothing longer
// than a timeout.
type Client struct {
	base string // without a slash at its end
	http *http.Client
}

// Bounds of talking to Jira.
const (
	maxConnections = 50 // 48 callers (see identify's pools), a refresh and a lookup
	dialTimeout    = 5 * time.Second
	idleTimeout    = 90 * time.Second
	maxHeader      = 64 << 10
)

// NewClient returns a client of the Jira at base, which is upstream.url with
// upstream.contextPath, such as http://127.0.0.1:8080/jira. transport is nil
// but in tests.
func NewClient(base string, transport http.RoundTripper) (*Client, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return nil, errors.New("the URL of Jira can't be read") // the error would repeat what may be a password
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
	return &Client{
		base: strings.TrimRight(base, "/"),
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// jiraRequest is one GET.
type jiraRequest struct {
	path   string // such as /rest/api/2/myself
	query  url.Values
	header http.Header // credentials
	maxBody   int64       // bytes that the body may have
	timeout time.Duration
}

// jiraResponse is what Jira answered.
type jiraResponse struct {
	status int
	header http.Header
	body   []byte
}

// errNotSent marks failures before anything of a question has left.
var errNotSent = errors.New("can't connect")

// ask sends a question. Its errors wrap ErrUnavailable, say what happened, and
// hold nothing of the credentials.
func (c *Client) ask(ctx context.Context, q jiraRequest) (jiraResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	target := c.base + q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return jiraResponse{}, fmt.Errorf("%w: the request can't be made", ErrUnavailable)
	}
	for name, values := range q.header {
		req.Header[name] = values
	}
	// Nothing else of a client's request is handed on. X-Atlassian-Token is for
	// requests that write.
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "tokengate")
	res, err := c.http.Do(req)
	if err != nil {
		return jiraResponse{}, unavailable(q, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, q.maxBody+1))
	if err != nil {
		return jiraResponse{}, unavailable(q, err)
	}
	if int64(len(body)) > q.maxBody {
		return jiraResponse{}, fmt.Errorf("%w: GET %s: the answer is longer than %d bytes", ErrUnavailable, q.path, q.maxBody)
	}
	return jiraResponse{status: res.StatusCode, header: res.Header, body: body}, nil
}

// unavailable says why no answer came. The error of net/http would repeat the
// query, in which a name stands.
func unavailable(q jiraRequest, err error) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	dial, ok := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: GET %s: no answer within %s", ErrUnavailable, q.path, q.timeout)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: GET %s: %w", ErrUnavailable, q.path, context.Canceled)
	case ok && dial.Op == "dial":
		return fmt.Errorf("%w: GET %s: %w: %v", ErrUnavailable, q.path, errNotSent, err)
	}
	return fmt.Errorf("%w: GET %s: %v", ErrUnavailable, q.path, err)
}

// isJSON reports whether the answer says that it is JSON. Jira's login page
// and what proxies answer in its stead are HTML.
func (r jiraResponse) isJSON() bool {
	kind, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

// unexpected says that an answer is not one of those that a question has.
func (r jiraResponse) unexpected(path string) error {
	kind := "JSON"
	if !r.isJSON() {
		kind = "something that is not JSON"
	}
	switch {
	case r.status >= 300 && r.status < 400:
		return fmt.Errorf("%w: GET %s: Jira redirects (status %d), so check upstream.url and upstream.contextPath", ErrUnavailable, path, r.status)
	case r.status == http.StatusOK:
		return fmt.Errorf("%w: GET %s: the answer is %s and makes no sense", ErrUnavailable, path, kind)
	}
	return fmt.Errorf("%w: GET %s: status %d with %s", ErrUnavailable, path, r.status, kind)
}
