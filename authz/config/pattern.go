package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	maxPatterns      = 200 // in one list; each request with a token is matched against all
	maxPatternLength = 500 // bytes
)

// The paths, without the context path, that tokengate serves itself, including all
// paths below them. Envoy's routes and the decision use them. No setting opens or
// exempts them.
const (
	APIPath  = "/rest/api-tokens"
	PagePath = "/plugins/servlet/api-tokens"
)

// HealthPath, without the context path, is the load balancers' health check of Envoy and
// tokengate.
const HealthPath = PagePath + "/healthz"

// ManagementPaths are all of these paths.
var ManagementPaths = []string{APIPath, PagePath}

// checkPatterns checks a list of path patterns.
func checkPatterns(key string, patterns []string, contextPath string, report reporter) {
	checkCount(key, len(patterns), maxPatterns, report)
	for i, p := range patterns {
		if fault := patternError(p, contextPath); fault != "" {
			report(IndexKey(key, i), "%s: %s", quote(p), fault)
		}
	}
}

// patternError returns the problem of a path pattern, or "". Patterns are matched
// against decoded paths without the context path, so another spelling would never
// match.
func patternError(pattern, contextPath string) string {
	switch {
	case !strings.HasPrefix(pattern, "/"):
		return "a path pattern begins with /"
	case len(pattern) > maxPatternLength:
		return fmt.Sprintf("a path pattern has at most %d characters", maxPatternLength)
	case !only(pattern, func(c byte) bool { return c >= ' ' && c <= '~' }):
		return "a path pattern is printable ASCII"
	case strings.Contains(pattern, "%"):
		return "a path pattern is matched against the decoded path; write the character itself instead of its % escape"
	case strings.ContainsAny(pattern, "?#;"):
		return "a path pattern has no ? # or ; (query, fragment and path parameters are no part of the path)"
	}
	segments := strings.Split(pattern, "/")[1:]
	for i, segment := range segments {
		if segment == "" && i < len(segments)-1 || segment == "." || segment == ".." {
			return "a path pattern has no empty, . or .. segments"
		}
	}
	for _, m := range ManagementPaths {
		if below, ok := strings.CutPrefix(pattern, m); ok && (below == "" || below[0] == '/' || below[0] == '*') {
			return "this is a management path, which no setting opens or exempts"
		}
	}
	if contextPath != "" && strings.HasPrefix(pattern+"/", contextPath+"/") {
		return fmt.Sprintf("a path pattern is written without upstream.contextPath (%s)", contextPath)
	}
	return ""
}

// checkCovered reports each pattern that matches a path which no pattern of the
// outer list matches. It does nothing if a pattern of the outer list is invalid.
func checkCovered(key string, patterns []string, outerKey string, outer []string, contextPath string, report reporter) {
	var covers []*regexp.Regexp
	for _, p := range outer[:min(len(outer), maxPatterns)] {
		if patternError(p, contextPath) != "" {
			return
		}
		dir, isDir := strings.CutSuffix(p, "/")
		expression := strings.ReplaceAll(regexp.QuoteMeta(dir), `\*`, ".*")
		if isDir {
			expression += "(/.*)?"
		}
		covers = append(covers, regexp.MustCompile("^"+expression+"$"))
	}
	// With the * of a pattern as a character that only a * matches, a pattern that
	// matches this text matches all paths of the pattern.
	covered := func(text string) bool {
		return slices.ContainsFunc(covers, func(c *regexp.Regexp) bool { return c.MatchString(text) })
	}
	for i, p := range patterns[:min(len(patterns), maxPatterns)] {
		dir, isDir := strings.CutSuffix(p, "/")
		if patternError(p, contextPath) == "" && !(covered(dir) && (!isDir || covered(dir+"/*"))) {
			report(IndexKey(key, i), "%s: %s does not open all of it; add it there too", quote(p), outerKey)
		}
	}
}
