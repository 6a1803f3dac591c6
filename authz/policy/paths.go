package policy

import (
	"strings"

	"github.com/tokengate/tokengate/authz/product"
)

// Paths is a list of path patterns. A pattern stands for a whole path without
// its context path; `*` stands for any run of characters, `/` included. Case
// counts. No patterns match nothing.
type Paths []string

// NewPaths compiles patterns of the configuration. A pattern that ends in `/`
// matches the path without the slash and everything below it. Patterns become
// canonical, like the paths that they are matched against.
func NewPaths(patterns []string, p *product.Product) Paths {
	ps := make(Paths, 0, len(patterns))
	for _, pattern := range patterns {
		dir, isDir := strings.CutSuffix(pattern, "/")
		canonical := p.CanonicalPath(new([]byte), dir)
		ps = append(ps, canonical)
		if isDir {
			ps = append(ps, canonical+"/*")
		}
	}
	return ps
}

// Match reports whether a pattern matches a canonical path.
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
