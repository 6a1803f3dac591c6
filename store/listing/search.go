package listing

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/tokengate/tokengate/store"
)

// Find returns a page of the tokens that a query selects. Its errors wrap ErrInvalid or are the
// context's. Concurrent changes may or may not be seen.
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
	// The newest tokens mostly have the highest numbers and the latest use. Candidates are
	// discarded sooner if the search starts at that end of the order.
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

// search is the state of a search.
type search struct {
	order
	after *position // the page starts after this; nil: at the beginning
	limit int

	total     int         // selected rows
	remaining int         // selected rows behind after
	best      []candidate // the first limit of these, and some that trim will drop
	worst     *position   // the last of the first limit so far; nil: fewer than limit
	text      []byte      // scratch
}

// candidate is a token that may be on the page, as the search found it.
type candidate struct {
	position
	id [store.IDLength]byte
}

// collect adds the selected rows of a chunk.
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
			at.value = c.expires[i].value() - 1 // 0, no expiry, becomes the highest value
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

// trim sorts the candidates and drops those beyond the limit.
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

// Cursor is a position in an ordered listing, at which a page ended. It stays usable when tokens
// are added, changed or removed. It is safe in a URL, opaque to callers, and not secret: it
// contains the sort value of the page's last token.
type Cursor string

// position is the position of a token in an order.
type position struct {
	value  uint64 // for numbers and times
	text   []byte // for texts, in lower case
	number uint64
}

// order is a sort order of positions.
type order struct {
	column     Column
	descending bool
}

func (o order) compare(a, b *position) int {
	c := cmp.Compare(a.value, b.value)
	if c == 0 {
		c = bytes.Compare(a.text, b.text)
	}
	if c == 0 {
		c = cmp.Compare(a.number, b.number)
	}
	if o.descending {
		return -c
	}
	return c
}

// A cursor is the base64 of: the version, the order, the number and the value as varints, the
// text, and a checksum, which detects truncated or modified cursors.
const cursorVersion = 1

func (o order) header() []byte {
	head := []byte{cursorVersion, byte(o.column) << 1}
	if o.descending {
		head[1] |= 1
	}
	return head
}

// cursor returns the cursor for a position.
func (o order) cursor(p *position) Cursor {
	b := binary.AppendUvarint(o.header(), p.number)
	b = append(binary.AppendUvarint(b, p.value), p.text...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return Cursor(base64.RawURLEncoding.EncodeToString(b))
}

// parse returns the position of a cursor of this order, or an error that wraps ErrInvalid.
func (o order) parse(c Cursor) (p position, err error) {
	garbage := fmt.Errorf("%w: the cursor is malformed: start with the first page", store.ErrInvalid)
	b, err := base64.RawURLEncoding.DecodeString(string(c))
	end := len(b) - crc32.Size
	if err != nil || base64.RawURLEncoding.EncodeToString(b) != string(c) || // the decoder ignores line breaks
		end < 2 || binary.BigEndian.Uint32(b[end:]) != crc32.ChecksumIEEE(b[:end]) || b[0] != cursorVersion {
		return position{}, garbage
	}
	head, rest := b[:2], b[2:end]
	if !bytes.Equal(head, o.header()) {
		return position{}, fmt.Errorf("%w: the cursor belongs to another sort order: start with the first page", store.ErrInvalid)
	}
	for _, v := range []*uint64{&p.number, &p.value} {
		n := 0
		if *v, n = binary.Uvarint(rest); n <= 0 {
			return position{}, garbage
		}
		rest = rest[n:]
	}
	p.text = rest
	return p, nil
}
