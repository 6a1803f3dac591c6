package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// Find returns a page of the tokens that a query selects. An error wraps
// ErrInvalid, or is the context's. What changes while it runs may be found as it
// was before or after.
func (l *Listing) Find(ctx context.Context, q Query) (Result, error) {
	if err := q.check(); err != nil {
		return Result{}, fmt.Errorf("find tokens: %w", err)
	}
	s := search{order: order{q.Sort, q.Descending}, limit: q.Limit}
	if q.After != "" {
		after, err := s.order.parse(q.After)
		if err != nil {
			return Result{}, fmt.Errorf("find tokens: %w", err)
		}
		s.after = &after
	}
	if err := l.beginSearch(ctx); err != nil {
		return Result{}, fmt.Errorf("find tokens: %w", err)
	}
	defer l.endSearch()
	good, filters := q.flags(), q.filters(l.ownersSnapshot())
	var room [chunkRows]uint16
	// What came last mostly has the highest number and the latest use: the order's
	// beginning is better met early than late.
	err := l.eachChunk(q.Descending, func(c *rowChunk) {
		rows := room[:0]
		for i, f := range &c.flags {
			if good[f] {
				rows = append(rows, uint16(i))
			}
		}
		for _, f := range filters {
			rows = f(c, rows)
		}
		s.collect(l, c, rows)
	}, func() error {
		if len(s.best) > 2*s.limit {
			s.trim()
		}
		return ctx.Err()
	})
	if err != nil {
		return Result{}, fmt.Errorf("find tokens: %w", err)
	}
	return s.result(), nil
}

// search is on its way through the chunks of a listing.
type search struct {
	order
	after *position // the page comes behind this; nil: it is the first
	limit int

	total int     // rows that are selected
	remaining  int     // those of them that come behind after
	best  []candidate // the first limit of these, and some that are to be dropped
	worst *position  // the last of the first limit, as far as is known; nil: not yet so many
	text  []byte  // scratch
}

// candidate is a token that may be on the page, as it was when the search met it.
type candidate struct {
	position
	id [IDLength]byte
}

// collect looks at selected rows of a chunk.
func (s *search) collect(l *Listing, c *rowChunk, rows []uint16) {
	s.total += len(rows)
	if s.limit == 0 {
		return
	}
	for _, i := range rows {
		at := position{number: c.number[i]}
		switch s.column {
		case ByOwner:
			s.text = appendFolded(s.text[:0], l.owners.name(c.owner[i]))
			at.text = s.text
		case ByName:
			s.text = appendFolded(s.text[:0], c.nameOf(int(i)))
			at.text = s.text
		case ByExpires:
			at.value = c.expires[i].value() - 1 // none is the highest of all
		case ByLastUsed:
			at.value = c.used[i].value()
		case ByUses:
			at.value = c.uses[i]
		}
		if s.after != nil && s.compare(&at, s.after) <= 0 {
			continue
		}
		s.remaining++
		if s.worst == nil || s.compare(&at, s.worst) < 0 {
			at.text = bytes.Clone(at.text)
			s.best = append(s.best, candidate{at, c.id[i]})
		}
	}
}

// trim drops what is not among the first.
func (s *search) trim() {
	slices.SortFunc(s.best, func(a, b candidate) int { return s.compare(&a.position, &b.position) })
	if len(s.best) > s.limit {
		s.best = s.best[:s.limit]
		worst := s.best[s.limit-1].position
		s.worst = &worst
	}
}

func (s *search) result() Result {
	s.trim()
	f := Result{Total: s.total}
	for _, h := range s.best {
		f.IDs = append(f.IDs, string(h.id[:]))
	}
	if s.remaining > len(s.best) {
		f.Next = s.cursor(&s.best[len(s.best)-1].position)
	}
	return f
}
