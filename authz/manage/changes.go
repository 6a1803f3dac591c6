package manage

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/store"
)

// neverText is how the audit log says that a token does not expire.
const neverText = "never"

// diff returns what differs between two records of a token, field by field.
// A field that one of them does not have is empty there. Of secrets it tells
// nothing.
func diff(before, after store.Token) map[string]store.Change {
	found := make(map[string]store.Change)
	was, is := auditFields(before), auditFields(after)
	for field, value := range is {
		if old := was[field]; old != value {
			found[field] = store.Change{Before: old, After: value}
		}
	}
	return found
}

// auditFields returns a record's fields as text; none for the zero Token.
func auditFields(t store.Token) map[string]string {
	if t.ID == "" {
		return nil
	}
	expires := neverText
	if !t.Expires.IsZero() {
		expires = timeText(t.Expires)
	}
	return map[string]string{
		"name":          t.Name,
		"purpose":       t.Purpose,
		"expires":       expires,
		"readOnly":      strconv.FormatBool(t.ReadOnly),
		"networks":      joinNetworks(t.Networks),
		"rate":          rateText(t.Rate),
		"type":          kindNames[t.Kind],
		"owner":         t.Owner.Name,
		"ownerKey":      t.Owner.Key,
		"state":         t.State.String(),
		"previousUntil": timeText(t.Previous.Until),
	}
}

// timeText returns a time in RFC 3339, or "" for the zero time.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// kindNames are the kinds of token as people see them.
var kindNames = map[store.Kind]string{store.Ordinary: "ordinary", store.Management: "management"}

// rateText returns a rate in words, or "" for none.
func rateText(r store.Rate) string {
	if r == (store.Rate{}) {
		return ""
	}
	return configRate(r).String()
}

func joinNetworks(networks []netip.Prefix) string {
	texts := make([]string, len(networks))
	for i, n := range networks {
		texts[i] = n.String()
	}
	return strings.Join(texts, " ")
}
