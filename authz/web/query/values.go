// Package query parses URL queries into the manager's queries: the filters, order and
// page of a listing. The REST API and the pages have the same parameters. Start at Read,
// Tokens and Audit.
package query

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz/token"
)

// Error is an invalid query.
type Error struct {
	Parameter string // the parameter it is about, shortened; empty: none
	Text      string // whole sentences without secrets
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

func bad(parameter, format string, args ...any) error {
	return &Error{parameter, fmt.Sprintf(format, args...)}
}

// Values are the values of a query by parameter. None is empty.
type Values map[string]string

// Read parses a query with the known parameters, each at most once. It refuses others,
// because a mistyped filter must not list everything. The parameter named credential,
// which holds the caller's credential, is skipped. It fails with an Error.
func Read(raw string, known []string, credential string) (Values, error) {
	return read(raw, known, credential, false)
}

// ReadForm is Read for the query of an HTML form: empty fields are skipped.
func ReadForm(raw string, known []string) (Values, error) { return read(raw, known, "", true) }

func read(raw string, known []string, credential string, empties bool) (Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, bad("", "The query cannot be read: percent-encode it.")
	}
	q := make(Values, len(values))
	for name, given := range values {
		switch {
		case credential != "" && name == credential:
			continue
		case !slices.Contains(known, name):
			return nil, bad(token.Excerpt(name), "There is no parameter %q here.", token.Excerpt(name))
		case !utf8.ValidString(given[0]):
			return nil, bad(name, "The parameter %q is not UTF-8.", name)
		case len(given) > 1:
			return nil, bad(name, "The parameter %q is given more than once.", name)
		case given[0] == "" && empties:
			continue
		case given[0] == "":
			return nil, bad(name, "The parameter %q is empty. Leave it out, or give it a value.", name)
		case token.Contains(given[0]), token.IsCredential(given[0]):
			return nil, bad(name, "The parameter %q holds a token's value, which must stay secret. Ask for the id, which is the 12 characters behind its first underscore.", name)
		}
		q[name] = given[0]
	}
	return q, nil
}

// parser parses values and keeps the first error, an Error.
type parser struct {
	Values
	err error
}

func (p *parser) fail(name, format string, args ...any) {
	if p.err == nil {
		p.err = bad(name, format, args...)
	}
}

// number parses a positive integer; 0 if the parameter is absent.
func (p *parser) number(name string) int {
	n, err := strconv.ParseUint(p.Values[name], 10, 31)
	if p.Values[name] != "" && (err != nil || n == 0) {
		p.fail(name, "The parameter %q must be a positive whole number.", name)
	}
	return int(n)
}

// flag parses a parameter that can only be true, because the opposite of such a filter
// would be ambiguous.
func (p *parser) flag(name string) bool {
	if text := p.Values[name]; text != "" && text != "true" {
		p.fail(name, "The parameter %q can only be true. Leave it out otherwise.", name)
	}
	return p.Values[name] != ""
}

// span parses the times from which and until which a filter selects. A date as the end
// includes the day.
func (p *parser) span(from, until string) (begin, end time.Time) {
	for _, name := range []string{from, until} {
		if _, ok := parseTime(p.Values[name], false); p.Values[name] != "" && !ok {
			p.fail(name, "The parameter %q must be a date such as 2030-01-31, or a time in RFC 3339 such as 2030-01-31T12:00:00Z, its + percent-encoded.", name)
		}
	}
	begin, _ = parseTime(p.Values[from], false)
	end, _ = parseTime(p.Values[until], true)
	return begin, end
}

// parseTime parses a time, or a date in UTC, which means the beginning of that day, or
// with whole its end.
func parseTime(text string, whole bool) (at time.Time, ok bool) {
	if at, err := time.Parse(time.RFC3339, text); err == nil && !at.IsZero() {
		return at.UTC(), true
	}
	at, err := time.Parse(time.DateOnly, text)
	if err != nil || at.IsZero() {
		return time.Time{}, false
	}
	if whole {
		at = at.AddDate(0, 0, 1)
	}
	return at, true
}

// Choice parses one of several words; the zero T if the parameter is absent.
func Choice[T any](q Values, name string, from map[string]T) (found T, err error) {
	p := parser{Values: q}
	found = choice(&p, name, from)
	return found, p.err
}

func choice[T any](p *parser, name string, from map[string]T) T {
	found, ok := from[p.Values[name]]
	if !ok && p.Values[name] != "" {
		p.fail(name, "The parameter %q is one of %s.", name, Words(from))
	}
	return found
}

// Words lists the words of a choice.
func Words[T any](from map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(from)), ", ")
}
