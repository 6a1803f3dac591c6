package store

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Audit is one record of the append-only audit log: who did what to which token, and the
// outcome. It never holds a secret or a hash.
type Audit struct {
	Sequence uint64            // order in the log, set by the store
	Time     time.Time         // UTC
	Actor    string            // who, such as "uid:0" on the admin socket
	From     string            // where from, such as "admin socket"
	Action   string            // what, such as "token.revoke"
	TokenID  string            // which token; empty if none was created
	Owner    string            // the token's owner
	Outcome  string            // "done" or "refused"
	Reason   string            // why it was refused; empty if done
	Changes  map[string]Change // old and new values, by field
}

// Change is a field's value before and after, as text.
type Change struct {
	Before string
	After  string
}

// MaxAudit is the maximum size of an encoded audit record in bytes, which BoundAudit enforces.
const MaxAudit = 8 << 10

// maxAuditText is the maximum length of a text in an audit record, in bytes.
const maxAuditText = 1000

// BoundAudit returns an audit record of at most MaxAudit bytes. Texts that are too long are
// truncated, with a note of how many bytes were cut. Every Store applies it to the records it writes.
func BoundAudit(a Audit) Audit {
	for limit := maxAuditText; ; limit /= 2 {
		bounded := a
		for _, text := range []*string{
			&bounded.Actor, &bounded.From, &bounded.Action, &bounded.TokenID, &bounded.Owner, &bounded.Outcome, &bounded.Reason,
		} {
			*text = truncateText(*text, limit)
		}
		if a.Changes != nil {
			bounded.Changes = make(map[string]Change, len(a.Changes))
			for field, c := range a.Changes {
				bounded.Changes[field] = Change{Before: truncateText(c.Before, limit), After: truncateText(c.After, limit)}
			}
		}
		if limit == 0 {
			bounded.Changes = nil // only the field names are left, and there are too many
			return bounded
		}
		if len(EncodeAudit(bounded, math.MaxUint64)) <= MaxAudit {
			return bounded
		}
	}
}

// truncateText cuts a text that is longer than limit bytes, and appends a note that says so.
func truncateText(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s… [%d more bytes were cut]", text[:end], len(text)-end)
}
