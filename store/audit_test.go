package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
)

// TestBoundAudit checks that audit records have a bounded size and say how much was cut.
func TestBoundAudit(t *testing.T) {
	long := func(s string, n int) string { return strings.Repeat(s, n) }
	many := func(n, each int) map[string]store.Change {
		c := make(map[string]store.Change)
		for i := range n {
			c[fmt.Sprint("field", i)] = store.Change{Before: long("b", each), After: long("a", each)}
		}
		return c
	}
	for name, c := range map[string]struct {
		audit store.Audit
		want  store.Audit
	}{
		"nothing":            {store.Audit{}, store.Audit{}},
		"a text that fits":   {store.Audit{Reason: long("x", 1000)}, store.Audit{Reason: long("x", 1000)}},
		"one byte too many":  {store.Audit{Reason: long("x", 1001)}, store.Audit{Reason: long("x", 1000) + "… [1 more bytes were cut]"}},
		"within a character": {store.Audit{Actor: "x" + long("鍵", 400)}, store.Audit{Actor: "x" + long("鍵", 333) + "… [201 more bytes were cut]"}},
		"a change":           {store.Audit{Changes: map[string]store.Change{"purpose": {After: long("y", 4000)}}}, store.Audit{Changes: map[string]store.Change{"purpose": {After: long("y", 1000) + "… [3000 more bytes were cut]"}}}},
		"many changes": {store.Audit{Changes: many(12, 900)}, store.Audit{Changes: func() map[string]store.Change {
			m := many(12, 250)
			for f, c := range m {
				m[f] = store.Change{Before: c.Before + "… [650 more bytes were cut]", After: c.After + "… [650 more bytes were cut]"}
			}
			return m
		}()}},
		"far too many fields": {store.Audit{Reason: "x", Changes: many(2000, 1)}, store.Audit{Reason: "… [1 more bytes were cut]"}},
	} {
		got := store.BoundAudit(c.audit)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}

	// Texts of multi-byte characters.
	full := store.Audit{Time: time.Now(), Sequence: 1 << 60, Changes: many(12, 20_000)}
	for _, text := range []*string{&full.Actor, &full.From, &full.Action, &full.TokenID, &full.Owner, &full.Outcome, &full.Reason} {
		*text = long("é鍵🔑", 30_000)
	}
	got := store.BoundAudit(full)
	if n := len(store.EncodeAudit(got, 0)); n > store.MaxAudit || n < store.MaxAudit/4 {
		t.Errorf("the largest record has %d bytes", n)
	}
	if !utf8.ValidString(got.Actor) {
		t.Errorf("%q is not valid UTF-8", got.Actor)
	}
}
