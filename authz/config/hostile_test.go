package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
)

// Parse rejects input that would keep a YAML parser busy for minutes or overflow
// its stack.
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
		"closed first":    strings.Repeat("]", size/2) + strings.Repeat("[", size/2),
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

// Each list may have its maximum number of entries, but not one more.
func TestLimits(t *testing.T) {
	list := func(n int, entry string) string { return "[" + strings.Repeat(entry+", ", n-1) + entry + "]" }
	tests := []struct {
		key, entry string
		most       int
	}{
		{"tokens.paths", "/x", 200},
		{"tokens.readOnlyPaths", "/rest/x", 200},
		{"tokens.downloadPaths", "/x", 200},
		{"tokens.readingPosts", "/x", 200},
		{"cors.allowedOrigins", "https://a.example", 100},
		{"network.allow", "10.0.0.1", 1000},
		{"network.deny", "10.0.0.1", 1000},
		{"passwords.allowedUsers", "fred", 10000},
		{"passwords.allowedPaths", "/x", 200},
		{"passwords.allowedNetworks", "10.0.0.1", 1000},
		{"access.create", "{groups: [], maxLifetime: 1d, readOnly: true, approval: true, networks: required, rate: {requests: 6, per: 1s, burst: 1}}", 100},
		{"access.createForOthers", "{groups: [], for: []}", 100},
	}
	for _, test := range tests {
		outer, name, _ := strings.Cut(test.key, ".")
		text := func(n int) string {
			return publicURL + outer + ": {" + name + ": " + list(n, test.entry) + "}\n"
		}
		parse(t, text(test.most))
		_, err := config.Parse("test.yaml", []byte(text(test.most+1)))
		want := fmt.Sprintf("%s: has %d entries; at most %d are allowed", test.key, test.most+1, test.most)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %s", err, want)
		}
	}
	for want, text := range map[string]string{
		"the file has more than 2000 keys":       strings.Repeat("k: 1\n", 2001),
		"the lists hold more than 20000 entries": "x: " + list(20002, "a"),
	} {
		_, err := config.Parse("test.yaml", []byte(text))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("error %v; want %s", err, want)
		}
	}
	if _, err := config.Parse("test.yaml", []byte(publicURL+"tokens: {paths: [/"+strings.Repeat("x", 499)+"]}")); err != nil {
		t.Errorf("a pattern of 500 characters: %v", err)
	}
	if _, err := config.Parse("test.yaml", []byte(publicURL+"tokens: {paths: [/"+strings.Repeat("x", 500)+"]}")); err == nil {
		t.Error("a pattern of 501 characters is taken")
	}
}
