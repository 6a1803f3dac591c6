package policy

import (
	"strings"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product"
)

// Paths is a list of path patterns. A pattern matches a whole path without the
// context path; `*` matches any characters, including `/`. Case counts.
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

// match is glob matching with `*` only. It backtracks only to the last `*`, so it
// takes at most len(pattern)·len(text) steps.
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

// IsManagement reports whether a path, without context path and query, is one of
// config.ManagementPaths or below one. It compares bytes as Envoy's
// RouteMatch.path_separated_prefix does, so for a raw path it tells where Envoy
// routes it.
func IsManagement(path string) bool {
	for _, m := range config.ManagementPaths {
		if rest, ok := strings.CutPrefix(path, m); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
