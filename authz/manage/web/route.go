package web

import (
	"net/http"
	"slices"
	"strings"
)

// maxQuery bounds a request's query, in bytes.
const maxQuery = 4 << 10

// route finds the endpoint of a request, and the id in its path. It looks at the
// path as it was sent: what somebody may want to mean otherwise, by escapes or
// semicolons, is no path here.
func (d *handler) route(r *http.Request) (e endpoint, id string, err error) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.ContainsFunc(path, isUnusual) {
		return endpoint{}, "", errNoPath
	}
	below, ok := d.belowBase(path)
	if !ok {
		return endpoint{}, "", errNoPath
	}
	if len(r.URL.RawQuery) > maxQuery {
		return endpoint{}, "", &httpError{status: http.StatusRequestURITooLong, text: "The query is longer than 4 KiB. Ask for less at once."}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var methods []string
	for _, e := range d.endpoints {
		// A fixed path is no id.
		found, ok := match(e.path, below)
		if !ok || found != "" && slices.ContainsFunc(d.endpoints, func(o endpoint) bool { return o.path == below }) {
			continue
		}
		if e.method == method {
			return e, found, nil
		}
		methods = append(methods, e.method)
		if e.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	if methods == nil {
		return endpoint{}, "", errNoPath
	}
	return endpoint{}, "", methodError(methods)
}

// isUnusual reports whether a byte has no place in a path of this API, nor in
// the context path.
func isUnusual(c rune) bool {
	usual := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("/-._~", c)
	return !usual
}

// belowBase returns the path below the API's base.
func (d *handler) belowBase(path string) (below string, ok bool) {
	for _, base := range d.bases {
		if below, ok := strings.CutPrefix(path, base); ok && (below == "" || below[0] == '/') {
			return strings.TrimPrefix(below, "/"), true
		}
	}
	return "", false
}

// match holds a path against an endpoint's and returns what stands for {id}.
func match(pattern, path string) (id string, ok bool) {
	wanted, found := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(wanted) != len(found) {
		return "", false
	}
	for i, segment := range wanted {
		switch {
		case segment == found[i]:
		case segment == "{id}" && found[i] != "":
			id = found[i]
		default:
			return "", false
		}
	}
	return id, true
}
