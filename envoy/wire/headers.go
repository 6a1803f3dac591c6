package wire

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/tokengate/tokengate/authz"
)

// headers are the headers of one form, header_map or headers, of which a
// decision reads something.
type headers struct {
	any      bool // there was a header, read or not
	repeated bool // two of the list are of the same place
	list     []header
}

type header struct {
	place *string // where the value goes
	name  string  // as sent
	value string
}

func (h *headers) reset() {
	clear(h.list)
	*h = headers{list: h.list[:0]}
}

func (h *headers) add(added header) {
	h.repeated = h.repeated || slices.ContainsFunc(h.list, func(x header) bool { return x.place == added.place })
	h.list = append(h.list, added)
}

// lastOfEach keeps the last value of each name: a map has no name twice. What
// is left of repeated headers differs in case, and is put in the order of text.
func (h *headers) lastOfEach() {
	if !h.repeated {
		return
	}
	slices.SortStableFunc(h.list, func(a, b header) int { return strings.Compare(a.name, b.name) })
	kept := h.list[:0]
	for i, x := range h.list {
		// A name may have two places, in this order, each time it comes.
		superseded := slices.ContainsFunc(h.list[i+1:min(i+3, len(h.list))], func(later header) bool {
			return later.name == x.name && later.place == x.place
		})
		if !superseded {
			kept = append(kept, x)
		}
	}
	clear(h.list[len(kept):])
	h.list = kept
}

// collect keeps a header that is read.
func (r *Request) collect(h *headers, name, value string) {
	h.any = true
	folded := fold(name)
	if place := r.Header(folded); place != nil {
		h.add(header{place, name, value})
	}
	if r.clientHeader != "" && folded == r.clientHeader {
		h.add(header{&r.ClientHeader, name, value})
	}
}

// fold returns a header's name in lower case. Envoy sends it so, and nothing
// needs to be done: letters of lower case, digits and hyphens have the bit 0x20,
// and capitals and what is not ASCII have not, or have 0x80.
func fold(name string) string {
	b := unsafe.Slice(unsafe.StringData(name), len(name))
	if masked(b, 0xa0a0a0a0a0a0a0a0, 0x2020202020202020) {
		return name
	}
	return strings.ToLower(name)
}

// finish puts the headers where they are read.
func (r *Request) finish(h *headers) {
	if !h.repeated {
		for _, x := range h.list {
			*x.place = x.value
		}
		return
	}
	for _, name := range authz.Headers {
		r.join(h.list, r.Header(name))
	}
	r.join(h.list, &r.ClientHeader)
}

// join puts the values of one header behind each other, with commas, as Envoy
// joins them. Empty ones before the first that is not are left out.
func (r *Request) join(list []header, place *string) {
	start := len(r.joined)
	for _, x := range list {
		if x.place != place {
			continue
		}
		if len(r.joined) > start {
			r.joined = append(r.joined, ',')
		}
		r.joined = append(r.joined, x.value...)
	}
	*place = view(r.joined[start:])
}
