package page

import (
	"maps"
	"net/http"
	"net/url"

	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// url returns the address of what is below Path.
func (s *Site) url(below string) string {
	if below == "" || below[0] == '?' {
		return s.ContextPath + Path + below
	}
	return s.ContextPath + Path + "/" + below
}

// seeOther leads from a form to a page, so that a reload of that sends nothing.
func (s *Site) seeOther(below, token string) Answer {
	return Answer{Status: http.StatusSeeOther, Headers: map[string]string{"Location": s.url(below)}, Token: token}
}

// encode returns parameters, given by name and value in turn, for an address.
func encode(pairs ...string) string {
	return with(nil, pairs...)
}

// with returns parameters for an address, with more of them by name and value.
func with(q query.Values, pairs ...string) string {
	values := url.Values{}
	for name, value := range q {
		values.Set(name, value)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

// without returns parameters but for some.
func without(q query.Values, names ...string) query.Values {
	left := maps.Clone(q)
	for _, name := range names {
		delete(left, name)
	}
	return left
}
