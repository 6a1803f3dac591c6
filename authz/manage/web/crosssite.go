package web

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// isUnsafe reports whether a request may change something (RFC 9110, 9.2.1).
func isUnsafe(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead
}

// checkOrigin refuses a change that a browser was made to ask for by a page of
// somebody else. Cookies and passwords come with such requests by themselves, so
// it is asked of both; management tokens do not.
//
// What a browser says of where a request comes from must be right; from what is
// no browser nothing of it comes. Beyond that a POST has what a form can't send. A
// DELETE or PATCH is not sent to another site before that one has agreed by CORS,
// which this API never does.
func (p *authenticator) checkOrigin(r *http.Request) error {
	if !isUnsafe(r) {
		return nil
	}
	site, origins := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	switch {
	case len(site) > 1, len(site) == 1 && site[0] != "same-origin" && site[0] != "none":
		return errCrossSite
	case len(origins) > 1, len(origins) == 1 && (p.origin == "" || !isOrigin(origins[0]) || origin(origins[0]) != p.origin):
		return errCrossSite
	case r.Method == http.MethodPost && !p.forms && !isJSON(r) && !strings.EqualFold(r.Header.Get("X-Atlassian-Token"), "no-check"):
		return errFormLike
	}
	return nil
}

var (
	errCrossSite = &httpError{
		status: http.StatusForbidden,
		text:   "The browser says that a page of another site has sent this request, so nothing was done. Use Jira at its own address (publicURL).",
	}
	errFormLike = &httpError{
		status: http.StatusForbidden,
		text:   "A page of another site could have sent this request, so nothing was done. Send the header Content-Type: application/json, or X-Atlassian-Token: no-check.",
	}
)

// isJSON reports whether a request says that its body is JSON, in UTF-8.
func isJSON(r *http.Request) bool {
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := parameters["charset"]
	return err == nil && media == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

// isOrigin reports whether a text is an origin and no other URL: a scheme, a host
// and perhaps a port, with nothing around them (RFC 6454, 6.2).
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && strings.EqualFold(text, u.Scheme+"://"+u.Host) && !strings.HasSuffix(u.Host, ":")
}

// origin returns the origin of a URL (RFC 6454, 6.2), without the port where it is
// the scheme's own; "" where it has none.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Hostname() == "" {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	scheme := strings.ToLower(u.Scheme)
	if port := u.Port(); port != "" && port != map[string]string{"http": "80", "https": "443"}[scheme] {
		host += ":" + port
	}
	return scheme + "://" + host
}
