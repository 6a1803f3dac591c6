package store

import (
	"slices"
	"strings"
)

// Matches reports whether the filter selects t.
func (f Filter) Matches(t Token) bool {
	if f.Owner != "" && FoldOwner(f.Owner) != FoldOwner(t.Owner.Name) {
		return false
	}
	if f.Name != "" && !strings.Contains(strings.ToLower(t.Name), strings.ToLower(f.Name)) {
		return false
	}
	return len(f.States) == 0 || slices.Contains(f.States, t.State)
}

// FoldOwner returns the form in which two spellings of one owner name are
// equal. Jira compares user names without case.
func FoldOwner(name string) string { return strings.ToLower(name) }
