package store

import (
	"fmt"
	"unicode/utf8"
)

// MaxAudit is the size of the largest audit record, in bytes. BoundAudit sees to
// it.
const MaxAudit = 8 << 10

// maxAuditText is how much of a text in an audit record is kept, in bytes.
const maxAuditText = 1000

// BoundAudit returns an audit record that takes at most MaxAudit bytes. A text
// that is too long keeps its beginning, and says how many bytes were cut.
// Every Store bounds the records that it writes.
func BoundAudit(a Audit) Audit {
	for most := maxAuditText; ; most /= 2 {
		bounded := a
		for _, text := range []*string{
			&bounded.Actor, &bounded.From, &bounded.Action, &bounded.TokenID, &bounded.Owner, &bounded.Outcome, &bounded.Reason,
		} {
			*text = truncateText(*text, most)
		}
		if a.Changes != nil {
			bounded.Changes = make(map[string]Change, len(a.Changes))
			for field, c := range a.Changes {
				bounded.Changes[field] = Change{Before: truncateText(c.Before, most), After: truncateText(c.After, most)}
			}
		}
		if most == 0 {
			bounded.Changes = nil // only names of fields can be left, far too many of them
			return bounded
		}
		if len(EncodeAudit(bounded)) <= MaxAudit {
			return bounded
		}
	}
}

// truncateText returns the beginning of a text that is longer than most bytes, with a
// mark that says so.
func truncateText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := most
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… [%d more bytes were cut]", text[:end], len(text)-end)
}
