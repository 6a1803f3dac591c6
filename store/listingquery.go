package store

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"time"
)

// Query selects tokens, orders them and takes a page of them. The zero Query
// selects all and asks for none of them, only for how many there are.
//
// Of two times a From is the first instant that is good and an Until the first
// that is not any more; a zero one is no limit. A token without the time at all,
// because it never expires or was never used, is in no such span, however wide.
type Query struct {
	ID        string  // exactly this id; empty: any
	Owner     string  // the owner's name, compared without case; empty: any
	OwnerPart string  // a part of the owner's name, compared without case
	Name      string  // a part of the token's name, compared without case
	States    []State // one of these; none: any
	ReadOnly  *bool   // nil: either
	Kind      *Kind   // nil: either
	Expired   *bool   // at Now, whatever the state is; nil: either
	Now       time.Time

	CreatedFrom, CreatedUntil time.Time
	ExpiresFrom, ExpiresUntil time.Time
	UsedFrom, UsedUntil       time.Time // the last use
	NeverExpires, NeverUsed   bool
	UnusedSince               time.Time // last used before this, or created before it and never used

	// OwnerIs is asked at most once about each distinct owner, for what only the
	// caller knows of them. It must not search the listing. Nil: any.
	OwnerIs func(Owner) bool

	Sort       Column
	Descending bool   // the same order from its other end
	After      Cursor // where the page before ended; empty: the first page
	Limit      int    // of tokens on the page, which the search keeps; 0: none, but the total
}

// Column is what tokens are sorted by. Those that are equal in it are in the
// order of their numbers.
type Column uint8

// The columns of a listing.
const (
	ByNumber   Column = iota // as they were created
	ByOwner                  // the owner's name, without case
	ByName                   // the token's name, without case
	ByExpires                // never comes after every date
	ByLastUsed               // never comes before every use
	ByUses
	columnCount
)

// Result is what a Query has found.
type Result struct {
	IDs   []string // of the page, in its order
	Total int      // tokens that the query selects, on all pages
	Next  Cursor   // for After of the next page; empty: this is the last
}

func (q *Query) check() error {
	switch {
	case q.Limit < 0:
		return invalid("a page of %d tokens was asked for", q.Limit)
	case q.Sort >= columnCount:
		return invalid("column %d is none", q.Sort)
	case q.Expired != nil && q.Now.IsZero():
		return invalid("what has expired was asked for without the time that is now")
	}
	for _, s := range q.States {
		if !s.known() {
			return invalid("state %d is none", s)
		}
	}
	return nil
}

// NeedsUsage reports whether the answer depends on the tokens' use.
func (q *Query) NeedsUsage() bool {
	return q.Sort == ByLastUsed || q.Sort == ByUses || q.NeverUsed ||
		!q.UsedFrom.IsZero() || !q.UsedUntil.IsZero() || !q.UnusedSince.IsZero()
}

// filter takes away those of a chunk's rows that it does not select, and returns
// what is left.
type filter func(c *rowChunk, rows []uint16) []uint16

// filters returns what a row has to pass, the cheapest first.
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
				// One that came after the query is none of those it asked for.
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

// flags returns which flags a row may have. A free row's are not among them.
func (q *Query) flags() (good [math.MaxUint8 + 1]bool) {
	for n := range good {
		f := flags(n)
		good[n] = f != 0 &&
			(len(q.States) == 0 || slices.Contains(q.States, f.state())) &&
			(q.ReadOnly == nil || *q.ReadOnly == (f&readOnlyFlag != 0)) &&
			(q.Kind == nil || (*q.Kind == Management) == (f&managingFlag != 0))
	}
	return good
}

// owners returns which owners, by number, are selected; nil: all.
func (q *Query) owners(owners listedOwners) []bool {
	if q.Owner == "" && q.OwnerPart == "" && q.OwnerIs == nil {
		return nil
	}
	name, part := []byte(FoldOwner(q.Owner)), []byte(FoldOwner(q.OwnerPart))
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

// valueRange is of the values of instants: those from, and not until, or all others.
type valueRange struct {
	from, until uint64
	inverted         bool
}

// always holds every instant and the one that is none.
var always = valueRange{0, math.MaxUint64, false}

func (s valueRange) contains(value uint64) bool { return (s.from <= value && value < s.until) != s.inverted }

// rangeBetween returns the span between two times. An instant is a whole second: it is
// before a time that lies within the second.
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

// firstAt returns the value of the first instant that is not before a time.
func firstAt(t time.Time) uint64 {
	if whole := wholeSeconds(t); !whole.Equal(t) {
		t = whole.Add(time.Second)
	}
	return uint64(min(max(t.Unix(), 0), lastSecond+1)) + 1
}

func neverIf(asked bool) valueRange {
	if !asked {
		return always
	}
	return valueRange{from: 0, until: 1}
}

// expiredBy returns the span of ends that have been reached at now.
func expiredBy(now time.Time) valueRange {
	return valueRange{from: 1, until: firstAt(wholeSeconds(now).Add(time.Second))}
}

func (q *Query) expired() valueRange {
	if q.Expired == nil {
		return always
	}
	s := expiredBy(q.Now)
	s.inverted = !*q.Expired
	return s
}

// appendFolded appends a name as strings.ToLower would return it. Hardly a name
// has other characters than ASCII.
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
