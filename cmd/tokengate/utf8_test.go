package main

import (
	"strings"
	"testing"
)

// An argument that is not UTF-8 is refused at once: in JSON it would name another user.
func TestArgumentsAreUTF8(t *testing.T) {
	for _, args := range [][]string{
		{"token", "create", "--user", "fr\xe9d", "--name", "x"},
		{"token", "create", "--user", "fred", "--name", "caf\xe9"},
		{"token", "create", "--user", "fred", "--name", "x", "--purpose", "\xed\xa0\x80"},
		{"token", "change", "000000000000", "--name=\xff"},
		{"token", "list", "--user", "\xc3"},
		{"token", "revoke", "--all", "--user", "\xc0\xaf"},
		{"audit", "--actor", "\xfe"},
		{"explain", "--path", "/\xff"},
		{"\xff"},
	} {
		var out, errs strings.Builder
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "not UTF-8") || out.Len() > 0 {
			t.Errorf("%q: exit code %d, %q", args, code, errs.String())
		}
	}
}
