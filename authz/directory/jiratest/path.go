package jiratest

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// errTarget says that Tomcat would answer 400 to a target.
var errTarget = errors.New("invalid request target")

// dispatch returns the path that Tomcat 10.1, set up as Jira sets it up, would
// dispatch for a request target: without parameters, decoded once, then
// without empty and dot segments. session is the last ";jsessionid=" on the
// way, or empty. testdata/paths/corpus.tsv says what it must answer.
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

	// Parameters end at the next raw slash, and go before anything is decoded.
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

// invalidInPath reports what may not stand in a path. RFC 3986 allows less; Jira
// adds "[", "]" and "|" by relaxedPathChars.
func invalidInPath(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("\"#<>\\^`{}", r)
}

// suffixes are what Jira's REST takes for a media type and cuts off.
var suffixes = []string{".json", ".xml", ".txt", ".htm", ".html", ".atom"}

// canonical returns the one spelling that routes have of a path behind the
// context path: what Jira forwards /s/<any>/_/<path> to, REST without suffix
// and last slash, and API versions as numbers. Whether Jira forwards so to REST is not known;
// the worse case is taken.
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
		case segments[2] == "auth" && slices.Contains([]string{"latest", "1.0"}, segments[3]):
			segments[3] = "1"
		}
	}
	return strings.Join(segments, "/")
}
