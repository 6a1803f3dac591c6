package config_test

import (
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
)

// Positions are correct after text that could disturb the count of lines or columns.
func TestPositions(t *testing.T) {
	tests := []struct{ name, before, want string }{
		{"nothing", "", "1:14"},
		{"comments", "# one\n\n  # two\n", "4:14"},
		{"CRLF", "# one\r\nbearer: {other: pass}\r\n", "3:14"},
		{"a byte order mark", "\ufeff", "1:14"},
		{"a document's beginning", "# one\n---\n", "3:14"},
		{"quotes over two lines", "tokens: {paths: [\"/rest/\n  x\"]}\n", "3:14"},
		{"single quotes over two lines", "tokens: {paths: ['/rest/\n  x']}\n", "3:14"},
		{"plain text over two lines", "tokens:\n  paths:\n  - /rest/\n    x\n", "5:14"},
		{"a folded block", "tokens:\n  paths:\n  - >-\n    /rest/\n    x\n\n", "7:14"},
		{"a literal block", "tokens:\n  paths:\n  - |-\n    /rest/x\n# one\n", "6:14"},
		{"letters beyond ASCII", "# \u00fc\u20ac\U0001f511\n", "2:14"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, newline := range []string{"\n", ""} {
				_, err := config.Parse("test.yaml", []byte(test.before+"log: {level: loud}"+newline))
				want := "test.yaml:" + test.want + ": log.level: \"loud\" is not one of"
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v; want %s", err, want)
				}
			}
		})
	}
	_, err := config.Parse("test.yaml", []byte(publicURL+"log: {level: loud} # \u00fc\nbearer: {other: \"\u00fc\u20ac\", x: 1}\n"))
	if err == nil || !strings.Contains(err.Error(), "test.yaml:3:23: bearer.x: ") {
		t.Errorf("error %v; want one at 3:23, where columns count characters", err)
	}
}
