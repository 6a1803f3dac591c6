package jiratest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/token"
)

// Watch returns a handler that searches each request for tokens before passing
// it to next: in the path, the query, all headers and trailers, and the body of
// a REST login, in plain text, escaped and in base64. It calls leak with the
// place, never with the token. If leak is nil, a test panics, since Jira must
// never receive a token, and other programs do nothing.
//
// A Server does this itself. Watch is for other servers that replace Jira.
func Watch(next http.Handler, leak func(where string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		watch(r, leak)
		next.ServeHTTP(w, r)
	})
}

func watch(r *http.Request, leak func(string)) {
	where := findToken(r)
	switch {
	case where == "":
	case leak != nil:
		leak(where)
	case testing.Testing():
		// net/http would recover a panic in this goroutine.
		go panic("Jira received a token: " + where)
	}
}

// findToken returns the place of a token in a request, or "".
func findToken(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	name := fmt.Sprintf("%s %s", r.Method, token.Redact(path))
	if containsToken(r.RequestURI) {
		return name + ": the path or the query"
	}
	for _, header := range []http.Header{r.Header, r.Trailer, {"Host": {r.Host}}} {
		for key, values := range header {
			if containsToken(key) || containsToken(strings.Join(values, ",")) {
				return name + ": a header, " + token.Redact(key)
			}
		}
	}
	if !strings.Contains(percentDecoded(path), "session") {
		return ""
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), &errorReader{r.Body, err}), r.Body}
	if containsToken(string(body)) {
		return name + ": the body of a login"
	}
	return ""
}

// errorReader continues after what was already read, or returns the error of
// that read.
type errorReader struct {
	io.Reader
	err error
}

func (f *errorReader) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.Reader.Read(p)
}

var (
	base64Run   = regexp.MustCompile(`[0-9A-Za-z+/_-]{40,}`)
	jsonEscapes = regexp.MustCompile(`\\u[0-9A-Fa-f]{4}`)
)

// containsToken reports whether text contains a token, possibly encoded up to
// four times.
func containsToken(text string) bool {
	seen := map[string]bool{}
	for texts, depth := []string{text}, 0; depth <= 4; depth++ {
		var next []string
		for _, text := range texts {
			if token.Contains(text) {
				return true
			}
			for _, form := range decodings(text) {
				if !seen[form] {
					seen[form] = true
					next = append(next, form)
				}
			}
		}
		texts = next
	}
	return false
}

// decodings returns text decoded in each of the ways in which clients encode.
func decodings(text string) []string {
	forms := []string{
		strings.ReplaceAll(text, "\x00", ""), // UTF-16 of ASCII
		strings.ReplaceAll(strings.ReplaceAll(text, `\/`, "/"), "\n", ""),
		jsonEscapes.ReplaceAllStringFunc(text, func(escape string) string {
			c, _ := strconv.ParseUint(escape[2:], 16, 16)
			return string(rune(c))
		}),
		percentDecoded(text),
	}
	for _, run := range base64Run.FindAllString(text, -1) {
		run = strings.NewReplacer("-", "+", "_", "/").Replace(run)
		for skip := range 4 { // the encoding may start after other letters
			whole := run[skip : skip+(len(run)-skip)/4*4]
			if decoded, err := base64.RawStdEncoding.DecodeString(whole); err == nil {
				forms = append(forms, string(decoded))
			}
			if decoded, err := base64.RawStdEncoding.DecodeString(run[skip:]); err == nil {
				forms = append(forms, string(decoded))
			}
		}
	}
	return forms
}

// percentDecoded decodes percent escapes and keeps invalid ones.
func percentDecoded(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
