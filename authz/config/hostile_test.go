package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
)

// TestHostileShapes gives Parse much of what keeps a YAML parser busy
// for minutes, or overflows its stack, when nothing stops it before.
func TestHostileShapes(t *testing.T) {
	const size = config.MaxSize / 4
	var staircase strings.Builder
	for i := 0; staircase.Len() < size-2000; i++ {
		staircase.WriteString(strings.Repeat(" ", i) + "-\n")
	}
	tests := map[string]string{
		"flow lists":      strings.Repeat("[", size),
		"flow mappings":   strings.Repeat("{", size),
		"closed lists":    strings.Repeat("[", size/2) + strings.Repeat("]", size/2),
		"block lists":     strings.Repeat("- ", size/2),
		"staircase":       staircase.String(),
		"complex keys":    strings.Repeat("? ", size/2),
		"anchors":         strings.Repeat("&a ", size/3),
		"tags":            strings.Repeat("!a ", size/3),
		"keys":            strings.Repeat("a: b\n", size/5),
		"keys on a line":  strings.Repeat("a: ", size/3),
		"colons":          strings.Repeat(":", size),
		"entries":         "tokens: {paths: [" + strings.Repeat("/,", size/2-20) + "]}",
		"one scalar":      "publicURL: " + strings.Repeat("a", size-20),
		"an open quote":   "publicURL: \"" + strings.Repeat("a ", size/2-20),
		"a literal block": "publicURL: |\n" + strings.Repeat(" a\n", size/3-20),
		"many users":      "passwords:\n  allowedUsers:\n" + strings.Repeat("    - a\n", size/8-10),
		"blank lines":     strings.Repeat("\n", size),
		"blanks":          strings.Repeat(" ", size),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("test.yaml", []byte(data))
			if !errors.Is(err, config.ErrInvalid) {
				t.Fatalf("error %v; want one that matches ErrInvalid", err)
			}
			if text := err.Error(); len(text) > 100_000 {
				t.Errorf("the error has %d bytes", len(text))
			}
		})
	}
}
