package jiratest

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// errTarget means that Tomcat answers 400.
var errTarget = errors.New("invalid request target")

// dispatch returns the path that Tomcat 10.1, configured as for Jira,
// dispatches for a request target: without parameters, decoded once, and
// without empty and dot segments. session is the last ";jsessionid=", or "".
// testdata/paths/corpus.tsv lists Tomcat's results.
func dispatch(target string) (path, session string, err error) {
	for _, scheme := range []string{"http://", "https://"} {
		if rest, ok := strings.CutPrefix(target, scheme); ok {
			target = "/"
			if i := strings.IndexAny(rest, "/?"); i >= 0 && rest[i] == '/' {
				target = rest[i:]
			}
		}
	}
	raw, _, _ := strings.Cut(target, "?")
	if !strings.HasPrefix(raw, "/") || strings.ContainsFunc(raw, invalidInPath) || strings.Contains(target, "#") {
		return "", "", errTarget
	}

	// Parameters end at the next raw slash and are removed before decoding.
	segments := strings.Split(raw[1:], "/")
	for i, segment := range segments {
		name, parameters, _ := strings.Cut(segment, ";")
		for p := range strings.SplitSeq(parameters, ";") {
			if id, ok := strings.CutPrefix(p, "jsessionid="); ok {
				session = id
			}
		}
		decoded, err := url.PathUnescape(name)
		if err != nil || strings.ContainsAny(decoded, "/\\\x00") || !utf8.ValidString(decoded) {
			return "", "", errTarget
		}
		segments[i] = decoded
	}

	var kept []string
	for _, segment := range segments {
		switch segment {
		case "", ".":
		case "..":
			if len(kept) == 0 {
				return "", "", errTarget
			}
			kept = kept[:len(kept)-1]
		default:
			kept = append(kept, segment)
		}
	}
	path = "/" + strings.Join(kept, "/")
	if len(kept) > 0 && segments[len(segments)-1] == "" {
		path += "/"
	}
	return path, session, nil
}

// invalidInPath reports whether Tomcat refuses a character in a path. Jira adds
// "[", "]" and "|" to RFC 3986 with relaxedPathChars.
func invalidInPath(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("\"#<>\\^`{}", r)
}

// suffixes are removed by Jira's REST as media types.
var suffixes = []string{".json", ".xml", ".txt", ".htm", ".html", ".atom"}

// canonical returns the spelling that the routes use: /s/<any>/_/<path> as
// <path>, REST without suffix and trailing slash, and API versions as numbers.
// Whether Jira forwards /s/ to REST is unknown; this is the worse case.
func canonical(path string) string {
	if rest, ok := strings.CutPrefix(path, "/s/"); ok {
		if i := strings.Index(rest, "/_/"); i >= 0 {
			path = rest[i+len("/_"):]
		}
	}
	if !strings.HasPrefix(path, "/rest/") {
		return path
	}
	for _, suffix := range suffixes {
		if cut, ok := strings.CutSuffix(path, suffix); ok {
			path = cut
			break
		}
	}
	path = strings.TrimSuffix(path, "/")
	segments := strings.Split(path, "/") // "", "rest", API, version, …
	if len(segments) > 3 {
		switch {
		case segments[2] == "api" && slices.Contains([]string{"latest", "2.0"}, segments[3]):
			segments[3] = "2"
		case slices.Contains([]string{"auth", "pat"}, segments[2]) && slices.Contains([]string{"latest", "1.0"}, segments[3]):
			segments[3] = "1"
		}
	}
	return strings.Join(segments, "/")
}
