package web

import (
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// formatParameter are the parameter that chooses between JSON and CSV.
var formatParameter = []string{"format"}

// asCSV reports whether the answer is to be CSV.
func asCSV(q query.Values) (bool, error) {
	return query.Choice(q, "format", map[string]bool{"json": false, "csv": true})
}

// csvReply answers with rows of CSV (RFC 4180), all there are: next returns some
// more, and whether others follow.
func csvReply(file string, header []string, next func() (rows [][]string, more bool, err error)) reply {
	return reply{
		status: http.StatusOK,
		kind:   "text/csv;charset=UTF-8;header=present",
		file:   file,
		stream: func(w io.Writer) error {
			out := csv.NewWriter(w)
			write := func(row []string) error {
				cells := make([]string, len(row))
				for i, text := range row {
					cells[i] = Cell(text)
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

// Cell returns a text for a cell of CSV in which no spreadsheet sees a formula. It
// puts an apostrophe, behind which they take everything for text, before what may
// begin one. Some split a file at semicolons or tabs and not at commas, and some
// mind no quotes around a line's end, so what stands behind one of these may come
// to begin a cell, too. Quotes and spaces there are looked through, because
// spreadsheets may take them away. What Cell returns it leaves as it is.
// Source: OWASP, CSV Injection.
func Cell(text string) string {
	var b strings.Builder
	begins, written := true, 0
	for i, r := range text {
		if begins && strings.ContainsRune(formulaStarts, firstRune(text[i:])) {
			b.WriteString(text[written:i] + "'")
			written = i
		}
		begins = strings.ContainsRune(";\t\r\n", r)
	}
	return b.String() + text[written:]
}

// formulaStarts are the characters that may begin one, in full width as well.
const formulaStarts = "=+-@\t\r＝＋－＠"

// firstRune returns what a text begins with behind quotes and spaces; 0 for nothing.
func firstRune(text string) rune {
	for _, r := range text {
		if r != '"' && r != ' ' {
			return r
		}
	}
	return 0
}

// csvTime returns a time for a cell; "" for none.
func csvTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
