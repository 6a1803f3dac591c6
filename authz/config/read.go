package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// MaxSize bounds a configuration file, in bytes.
const MaxSize = 1 << 20

// Load reads and checks a file. If its content is invalid, the error is that of
// Parse; others say why the file could not be read.
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

// Parse reads and checks the content of a file; name is its name in errors, which
// match ErrInvalid and are joined Problems. It reports all problems, or only the
// first one if the text is not YAML. On an error the Config is zero.
//
// The text is one YAML document with keys of Config, each at most once and with a
// value of its type. Anchors, aliases, merge keys, tags and directives are errors,
// so that the meaning of a line does not depend on other lines.
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

// position is a place in the file, counted from 1.
type position struct{ line, column int }

// reader collects the problems of one file.
type reader struct {
	file     string
	problems []*Problem
	at       map[string]position // where the value of each key begins
	failed   []string            // keys whose value could not be decoded
}

// report adds a problem at a place.
func (r *reader) report(at position, key, format string, args ...any) {
	r.problems = append(r.problems, &Problem{
		File: r.file, Line: at.line, Column: at.column, Key: key, Message: fmt.Sprintf(format, args...),
	})
}

// reportValue adds a problem at the value of a key, or at the nearest value around
// it. It does nothing if decoding the value failed, because the checked value is
// then not the file's.
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

// ok reports whether neither the value of a key, nor a part of it, nor a value
// around it failed to decode.
func (r *reader) ok(key string) bool {
	return !slices.ContainsFunc(r.failed, func(f string) bool { return within(f, key) || within(key, f) })
}

// within reports whether key is outer or below it.
func within(key, outer string) bool {
	rest, ok := strings.CutPrefix(key, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// ErrInvalid matches every error caused by the content of a file.
var ErrInvalid = errors.New("invalid configuration")

// Problem is one error in a file. Load and Parse return joined Problems
// (errors.Join), one per line, in the order of the file.
type Problem struct {
	File    string // as given to Load or Parse
	Line    int    // of the value, or of the nearest key above a missing one; from 1
	Column  int    // in characters, from 1
	Key     string // such as access.create[0].maxLifetime; "" for the whole file
	Message string // what is wrong and what is allowed, on one line
}

// Error returns FILE:LINE:COLUMN: KEY: MESSAGE on one line.
func (p *Problem) Error() string {
	if p.Key == "" {
		return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Key, p.Message)
}

// Unwrap returns ErrInvalid.
func (p *Problem) Unwrap() error { return ErrInvalid }

// maxProblems bounds the problems of one file, so that a wrong file does not fill
// the log on each reload.
const maxProblems = 100

// join returns the problems as one error, in the order of the file.
func join(problems []*Problem) error {
	slices.SortStableFunc(problems, func(a, b *Problem) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
	if over := len(problems) - maxProblems; over > 0 {
		next := *problems[maxProblems]
		next.Message = fmt.Sprintf("%d more problems from here on are not listed", over)
		problems = append(problems[:maxProblems:maxProblems], &next)
	}
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// quote returns a value in quotes, on one line and shortened.
func quote(value string) string {
	const most = 80
	if len(value) > most {
		return strconv.Quote(strings.ToValidUTF8(value[:most], "")) + "..."
	}
	return strconv.Quote(value)
}

// IndexKey returns the key of an entry of a list, counted from 0.
func IndexKey(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
