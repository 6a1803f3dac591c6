package web

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/token"
)

// query is what the query of a request asks for, by parameter.
type query map[string]string

// readQuery reads a query. A parameter that is not known is refused: a filter
// with a typing error must not list everything. Of the credential, which may have
// come in a parameter too, nothing is kept.
func readQuery(raw string, known []string, credential string) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badField("", "The query cannot be read: percent-encode it.")
	}
	q := make(query, len(values))
	for name, given := range values {
		switch {
		case credential != "" && name == credential:
			continue
		case !slices.Contains(known, name):
			return nil, badField(short(name), "There is no parameter %q here.", short(name))
		case len(given) > 1:
			return nil, badField(name, "The parameter %q is given more than once.", name)
		case given[0] == "":
			return nil, badField(name, "The parameter %q is empty. Leave it out, or give it a value.", name)
		case token.Contains(given[0]), token.IsCredential(given[0]):
			return nil, badField(name, "The parameter %q holds a token's value, which must stay secret. Ask for the id, which is the 12 characters behind its first underscore.", name)
		}
		q[name] = given[0]
	}
	return q, nil
}

// number reads a whole number of at least 1; 0: none is given.
func (q query) number(name string) (int, error) {
	if q[name] == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(q[name], 10, 31)
	if err != nil || n == 0 {
		return 0, badField(name, "The parameter %q must be a positive whole number.", name)
	}
	return int(n), nil
}

// flag reads a parameter that can only be switched on: what its contrary would
// be is not clear to everybody.
func (q query) flag(name string) (bool, error) {
	switch q[name] {
	case "":
		return false, nil
	case "true":
		return true, nil
	}
	return false, badField(name, "The parameter %q can only be true. Leave it out otherwise.", name)
}

// time reads an instant, or a day of UTC. Of a day it is the beginning, or with
// whole the end: a span until a day holds that day.
func (q query) time(name string, whole bool) (time.Time, error) {
	text := q[name]
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && !at.IsZero() {
		return at.UTC(), nil
	}
	at, err := time.Parse(time.DateOnly, text)
	if err != nil || at.IsZero() {
		return at, badField(name, "The parameter %q must be a date such as 2030-01-31, or a time in RFC 3339 such as 2030-01-31T12:00:00Z, its + percent-encoded.", name)
	}
	if whole {
		at = at.AddDate(0, 0, 1)
	}
	return at, nil
}

// lifetime reads a time that has an end; 0: none is given.
func (q query) lifetime(name string) (time.Duration, error) {
	text := q[name]
	if text == "" {
		return 0, nil
	}
	l, err := config.ParseLifetime(text)
	if err != nil || l.Unlimited {
		return 0, badField(name, "The parameter %q must be a time such as 90d or 12h.", name)
	}
	return l.Duration, nil
}

// choice reads one of some words; "" if none is given.
func choice[T any](q query, name string, from map[string]T) (found T, err error) {
	text, given := q[name]
	if !given || text == "" {
		return found, nil
	}
	found, ok := from[text]
	if !ok {
		return found, badField(name, "The parameter %q is one of %s.", name, words(from))
	}
	return found, nil
}
