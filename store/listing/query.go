package listing

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tokengate/tokengate/store"
)

// Query selects tokens, orders them and takes a page of them. The zero Query selects all tokens
// and returns only their number.
//
// A From is the first instant of a range and an Until the first one after it; a zero one means no
// limit. Tokens without the time, because they never expire or were never used, are in no range.
type Query struct {
	ID        string        // the exact id; empty: any
	Owner     string        // the owner's name, case-insensitive; empty: any
	OwnerPart string        // a substring of the owner's name, case-insensitive
	Name      string        // a substring of the token's name, case-insensitive
	States    []store.State // any of these; empty: any
	ReadOnly  *bool         // nil: either
	Kind      *store.Kind   // nil: either
	Expired   *bool         // at Now, in any state; nil: either
	Now       time.Time

	CreatedFrom, CreatedUntil time.Time
	ExpiresFrom, ExpiresUntil time.Time
	UsedFrom, UsedUntil       time.Time // the last use
	NeverExpires, NeverUsed   bool
	UnusedSince               time.Time // last used before this, or never used and created before this

	// OwnerIs filters owners by criteria that only the caller knows. It is called at most once
	// for each distinct owner, and must not search the listing. Nil: any.
	OwnerIs func(store.Owner) bool

	Sort       Column
	Descending bool   // reverse order
	After      Cursor // Next of the previous page; empty: the first page
	Limit      int    // page size; 0: only the total
}

// Column is a sort key. Tokens with equal values are sorted by number.
type Column uint8

// The sort keys of a listing.
const (
	ByNumber   Column = iota // order of creation
	ByOwner                  // the owner's name, case-insensitive
	ByName                   // the token's name, case-insensitive
	ByExpires                // tokens that never expire come last
	ByLastUsed               // tokens that were never used come first
	ByUses
	columnCount
)

// Result is the result of a Query.
type Result struct {
	IDs   []string // of the page's tokens, in order
	Total int      // number of selected tokens on all pages
	Next  Cursor   // After for the next page; empty: this is the last
}

func (q *Query) check() error {
	switch {
	case q.Limit < 0:
		return fmt.Errorf("%w: page size %d is negative", store.ErrInvalid, q.Limit)
	case q.Sort >= columnCount:
		return fmt.Errorf("%w: column %d does not exist", store.ErrInvalid, q.Sort)
	case q.Expired != nil && q.Now.IsZero():
		return fmt.Errorf("%w: the filter on expired tokens needs the current time", store.ErrInvalid)
	}
	for _, s := range q.States {
		if s < store.Pending || s > store.Revoked {
			return fmt.Errorf("%w: state %d does not exist", store.ErrInvalid, s)
		}
	}
	return nil
}

// NeedsUsage reports whether the result depends on the tokens' usage.
func (q *Query) NeedsUsage() bool {
	return q.Sort == ByLastUsed || q.Sort == ByUses || q.NeverUsed ||
		!q.UsedFrom.IsZero() || !q.UsedUntil.IsZero() || !q.UnusedSince.IsZero()
}

// filter removes those of a chunk's rows that do not match, and returns the rest.
type filter func(c *rowChunk, rows []uint16) []uint16

// filters returns the query's filters, the cheapest first.
func (q *Query) filters(owners listedOwners) []filter {
	var all []filter
	if q.ID != "" {
		all = append(all, func(c *rowChunk, rows []uint16) []uint16 {
			return slices.DeleteFunc(rows, func(i uint16) bool { return string(c.id[i][:]) != q.ID })
		})
	}
	for _, s := range []struct {
		valueRange
		column func(*rowChunk) *[chunkRows]instant
	}{
		{rangeBetween(q.CreatedFrom, q.CreatedUntil), func(c *rowChunk) *[chunkRows]instant { return &c.created }},
		{rangeBetween(q.ExpiresFrom, q.ExpiresUntil), func(c *rowChunk) *[chunkRows]instant { return &c.expires }},
		{neverIf(q.NeverExpires), func(c *rowChunk) *[chunkRows]instant { return &c.expires }},
		{q.expired(), func(c *rowChunk) *[chunkRows]instant { return &c.expires }},
		{rangeBetween(q.UsedFrom, q.UsedUntil), func(c *rowChunk) *[chunkRows]instant { return &c.used }},
		{neverIf(q.NeverUsed), func(c *rowChunk) *[chunkRows]instant { return &c.used }},
	} {
		if s.valueRange != always {
			all = append(all, func(c *rowChunk, rows []uint16) []uint16 {
				column := s.column(c)
				return slices.DeleteFunc(rows, func(i uint16) bool { return !s.contains(column[i].value()) })
			})
		}
	}
	if !q.UnusedSince.IsZero() {
		before := rangeBetween(time.Time{}, q.UnusedSince)
		all = append(all, func(c *rowChunk, rows []uint16) []uint16 {
			return slices.DeleteFunc(rows, func(i uint16) bool {
				at := c.used[i].value()
				if at == 0 {
					at = c.created[i].value()
				}
				return !before.contains(at)
			})
		})
	}
	if selected := q.owners(owners); selected != nil {
		all = append(all, func(c *rowChunk, rows []uint16) []uint16 {
			return slices.DeleteFunc(rows, func(i uint16) bool {
				owner := int(c.owner[i])
				// Owners added after the query started are not selected.
				return owner >= len(selected) || !selected[owner]
			})
		})
	}
	if q.Name != "" {
		part := []byte(strings.ToLower(q.Name))
		var folded []byte
		all = append(all, func(c *rowChunk, rows []uint16) []uint16 {
			return slices.DeleteFunc(rows, func(i uint16) bool {
				folded = appendFolded(folded[:0], c.nameOf(int(i)))
				return !bytes.Contains(folded, part)
			})
		})
	}
	return all
}

// flags returns the set of flags that match. The flags of free rows never match.
func (q *Query) flags() (good [math.MaxUint8 + 1]bool) {
	for n := range good {
		f := flags(n)
		good[n] = f != 0 &&
			(len(q.States) == 0 || slices.Contains(q.States, f.state())) &&
			(q.ReadOnly == nil || *q.ReadOnly == (f&readOnlyFlag != 0)) &&
			(q.Kind == nil || (*q.Kind == store.Management) == (f&managingFlag != 0))
	}
	return good
}

// owners returns the selected owners by number; nil: all.
func (q *Query) owners(owners listedOwners) []bool {
	if q.Owner == "" && q.OwnerPart == "" && q.OwnerIs == nil {
		return nil
	}
	name, part := []byte(store.FoldOwner(q.Owner)), []byte(store.FoldOwner(q.OwnerPart))
	selected := make([]bool, len(owners.begin))
	var folded []byte
	for n := range selected {
		folded = appendFolded(folded[:0], owners.name(uint32(n)))
		selected[n] = (len(name) == 0 || bytes.Equal(folded, name)) &&
			bytes.Contains(folded, part) &&
			(q.OwnerIs == nil || q.OwnerIs(owners.owner(uint32(n))))
	}
	return selected
}

// valueRange is a range of values of instants, from inclusive and until exclusive, or its
// complement.
type valueRange struct {
	from, until uint64
	inverted    bool
}

// always contains every value, including that of no instant.
var always = valueRange{0, math.MaxUint64, false}

func (s valueRange) contains(value uint64) bool {
	return (s.from <= value && value < s.until) != s.inverted
}

// rangeBetween returns the range between two times. Instants are whole seconds.
func rangeBetween(from, until time.Time) valueRange {
	if from.IsZero() && until.IsZero() {
		return always
	}
	s := valueRange{from: 1, until: math.MaxUint64}
	if !from.IsZero() {
		s.from = firstAt(from)
	}
	if !until.IsZero() {
		s.until = firstAt(until)
	}
	return s
}

// firstAt returns the value of the first instant at or after a time.
func firstAt(t time.Time) uint64 {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		t = whole.Add(time.Second)
	}
	return uint64(min(max(t.Unix(), 0), maxInstant+1)) + 1
}

func neverIf(asked bool) valueRange {
	if !asked {
		return always
	}
	return valueRange{from: 0, until: 1}
}

// expiredBy returns the range of expiry times that have been reached at now.
func expiredBy(now time.Time) valueRange {
	return valueRange{from: 1, until: firstAt(now.Truncate(time.Second).Add(time.Second))}
}

func (q *Query) expired() valueRange {
	if q.Expired == nil {
		return always
	}
	s := expiredBy(q.Now)
	s.inverted = !*q.Expired
	return s
}

// appendFolded appends a name in lower case, like strings.ToLower. Most names are ASCII.
func appendFolded(to, name []byte) []byte {
	begin := len(to)
	for _, b := range name {
		if b >= 0x80 {
			return append(to[:begin], bytes.ToLower(name)...)
		}
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		to = append(to, b)
	}
	return to
}
