package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrInvalid matches, by errors.Is, every error that the content of a file
// caused. A file that could not be opened or read is not invalid.
var ErrInvalid = errors.New("invalid configuration")

// Problem is one thing that is wrong with a file. The errors of Load and Parse
// are joined Problems (errors.Join), one per line, in the order of the file.
type Problem struct {
	File    string // as given to Load or Parse
	Line    int    // from 1; the value's, or of the nearest key above a missing one
	Column  int    // from 1, in characters
	Key     string // such as access.create[0].maxLifetime; "" where it is the whole file
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

// maxProblems bounds what one file reports: a file that is no configuration at
// all must not fill the log on each reload.
const maxProblems = 100

// join makes one error of the problems, in the order of the file.
func join(problems []*Problem) error {
	slices.SortStableFunc(problems, func(a, b *Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
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

// quote returns a value in quotes, on one line, and cut where it is long.
func quote(value string) string {
	const most = 80
	if len(value) > most {
		return strconv.Quote(strings.ToValidUTF8(value[:most], "")) + "..."
	}
	return strconv.Quote(value)
}

// indexKey returns the path of an entry of a list, counted from 0.
func indexKey(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
