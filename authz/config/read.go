package config

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// MaxSize is how large a configuration file may be, in bytes.
const MaxSize = 1 << 20

// Load reads and checks a file. Errors that its content caused match
// ErrInvalid and are joined Problems; others say why it could not be read.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse reads and checks the content of a file; name stands for the file in
// errors, which match ErrInvalid and are joined Problems. All problems are
// reported, unless the text is no YAML: then it is the first. On an error the
// Config is zero.
//
// The text is one YAML document of keys that Config knows, each at most once,
// each with a value of its type. Anchors, aliases, merge keys, tags and
// directives are refused: with them a line could mean something that stands
// elsewhere.
func Parse(name string, data []byte) (Config, error) {
	r := reader{file: name, at: map[string]position{}}
	c := Default()
	if root := r.read(data); root != nil {
		c = defaults(productOf(root))
		r.decodeFile(root, &c)
		c.ClientAddress.Header = strings.ToLower(c.ClientAddress.Header)
		check(&c, r.reportValue, r.ok)
	}
	if len(r.problems) > 0 {
		return Config{}, join(r.problems)
	}
	return c, nil
}

// position is a place in the file, both from 1.
type position struct{ line, column int }

// reader gathers the problems of one file.
type reader struct {
	file     string
	problems []*Problem
	at       map[string]position // where the value of each key in the file begins
	failed   []string            // keys whose value could not be decoded
}

// report adds a problem at a place.
func (r *reader) report(at position, key, format string, args ...any) {
	r.problems = append(r.problems, &Problem{
		File: r.file, Line: at.line, Column: at.column, Key: key, Message: fmt.Sprintf(format, args...),
	})
}

// reportValue adds a problem with the value of a key; it stands where the
// value stands, or the nearest value around. It is left out when the value, or
// a part of it, has failed already: what is checked then is not what the file
// says.
func (r *reader) reportValue(key, format string, args ...any) {
	if !r.ok(key) {
		return
	}
	at, known := r.at[key]
	for around := key; !known && around != ""; at, known = r.at[around] {
		around = around[:max(0, strings.LastIndexAny(around, ".["))]
	}
	r.report(at, key, format, args...)
}

// ok reports whether the value of a key is what the file says, or the
// default: neither it, nor a part of it, nor what it is a part of has failed.
func (r *reader) ok(key string) bool {
	return !slices.ContainsFunc(r.failed, func(f string) bool { return within(f, key) || within(key, f) })
}

// within reports whether key is outer or a key below it.
func within(key, outer string) bool {
	rest, ok := strings.CutPrefix(key, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}
