package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// table is rows of cells to print.
type table [][]string

func (t table) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range t {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func newLine(out io.Writer) error {
	_, err := fmt.Fprintln(out)
	return err
}

// cell returns a text as an unambiguous cell. A text with control characters, line
// breaks, unusual spaces or two spaces in a row, which would look like two cells, is
// quoted as in Go. So is one that begins with a quote.
func cell(text string) string {
	switch {
	case text == "":
		return "-"
	case text == "-", text[0] == '"', strings.Contains(text, "  "), strings.TrimSpace(text) != text, printable(text) != text:
		return strconv.Quote(text)
	}
	return text
}

// printable escapes characters that are unsafe on a terminal.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// instant returns a time in milliseconds since 1970 as RFC 3339 in UTC, or otherwise
// for nil.
func instant(ms *int64, otherwise string) string {
	if ms == nil {
		return otherwise
	}
	return time.UnixMilli(*ms).UTC().Format(time.RFC3339)
}
