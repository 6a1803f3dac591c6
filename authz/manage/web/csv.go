package web

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// asCSV reports whether the answer is to be CSV.
func (q query) asCSV() (bool, error) {
	return choice(q, "format", map[string]bool{"json": false, "csv": true})
}

// words lists the words that there are to choose from.
func words[T any](from map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(from)), ", ")
}

// table answers with rows of CSV (RFC 4180), all there are: next returns some
// more, and whether others follow.
func table(file string, header []string, next func() (rows [][]string, more bool, err error)) reply {
	return reply{
		status: http.StatusOK,
		kind:   "text/csv;charset=UTF-8;header=present",
		file:   file,
		stream: func(w io.Writer) error {
			out := csv.NewWriter(w)
			write := func(row []string) error {
				cells := make([]string, len(row))
				for i, text := range row {
					cells[i] = cell(text)
				}
				return out.Write(cells)
			}
			if err := write(header); err != nil {
				return fmt.Errorf("write CSV: %w", err)
			}
			for more := true; more; {
				rows, another, err := next()
				if err != nil {
					return err
				}
				for _, row := range rows {
					if err := write(row); err != nil {
						return fmt.Errorf("write CSV: %w", err)
					}
				}
				more = another
			}
			out.Flush()
			return out.Error()
		},
	}
}

// cell returns a text that a spreadsheet does not run. Behind an apostrophe it
// takes everything for text.
// Source: OWASP, CSV Injection.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// stamp returns a time for a cell; "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
