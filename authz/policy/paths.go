package policy

import (
	"slices"
	"strings"
	"unsafe"
)

// Paths is a list of path patterns. A pattern stands for a whole path without
// its context path; `*` stands for any run of characters, `/` included. Case
// counts. No patterns match nothing.
type Paths []string

// NewPaths makes Paths of the patterns of a configuration file, where a
// pattern that ends in `/` stands for the path without it and everything below.
// Patterns are made canonical as the paths are that they will be held against.
func NewPaths(patterns []string) Paths {
	ps := make(Paths, 0, len(patterns))
	for _, p := range patterns {
		dir, isDir := strings.CutSuffix(p, "/")
		canonical := Canonical(new([]byte), dir)
		ps = append(ps, canonical)
		if isDir {
			ps = append(ps, canonical+"/*")
		}
	}
	return ps
}

// Match reports whether a pattern matches the path, as Canonical returns it.
func (ps Paths) Match(path string) bool {
	for _, p := range ps {
		if match(p, path) {
			return true
		}
	}
	return false
}

// match is glob matching with `*` alone. It goes back to the last `*` only, so
// that it takes at most len(pattern)·len(text) steps.
func match(pattern, text string) bool {
	star, resume := -1, 0
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			if p == len(pattern)-1 {
				return true
			}
			star, resume = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			resume++
			p, t = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// suffixes are what Jira's REST module strips from the end of a path before it
// looks for a resource (ExtensionJerseyFilter): /rest/x.json is /rest/x.
var suffixes = []string{".json", ".xml", ".txt", ".htm", ".html", ".atom"}

// Canonical returns the one spelling of a decoded path without context path by
// which rules are matched, so that a rule for one spelling holds for all that
// Jira answers alike. Below /rest it drops one suffix such as .json, slashes at
// the end, and writes versions one way: 2.0 as 2, and latest as 2 in
// /rest/api/. Other paths it leaves as they are. What has to be written anew is
// appended to memory, and stays there for as long as the result is used.
func Canonical(memory *[]byte, path string) string {
	rest, ok := strings.CutPrefix(path, "/rest/")
	if !ok {
		return path
	}
	trimmed := strings.TrimRight(rest, "/")
	if dot := strings.LastIndexByte(trimmed, '.'); dot >= 0 && slices.Contains(suffixes, trimmed[dot:]) {
		// What is left may end in a slash: /rest/x/.json is /rest/x/.
		if cut := strings.TrimRight(trimmed[:dot], "/"); cut != "" {
			trimmed = cut
		}
	}
	module, below, _ := strings.Cut(trimmed, "/")
	version, resource, more := strings.Cut(below, "/")
	canonical, _, _ := strings.Cut(version, ".alpha") // 2.0.alpha1, an alias of old
	switch {
	case version == "latest" && module == "api":
		canonical = "2"
	case isVersion(canonical):
		canonical = strings.TrimSuffix(canonical, ".0")
	default:
		canonical = version
	}
	if len(trimmed) == len(rest) && canonical == version {
		return path
	}
	start := len(*memory)
	*memory = append(append(*memory, "/rest/"...), module...)
	if canonical != "" {
		*memory = append(append(*memory, '/'), canonical...)
	}
	if more {
		*memory = append(append(*memory, '/'), resource...)
	}
	written := (*memory)[start:]
	return unsafe.String(unsafe.SliceData(written), len(written))
}

// isVersion reports whether a segment is a version such as 1 or 2.0.
func isVersion(segment string) bool {
	for i := range len(segment) {
		if c := segment[i]; (c < '0' || c > '9') && (c != '.' || i == 0) {
			return false
		}
	}
	return segment != ""
}
