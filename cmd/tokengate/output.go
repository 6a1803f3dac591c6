package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web"
)

// listing is a command that prints all values of a paged API call.
type listing[T any] struct {
	path   string
	header []string
	row    func(T) []string // its cells

	query  url.Values
	limit  *int
	format string
}

// newListing turns a command into a listing. The caller adds filters.
func newListing[T any](cmd *cobra.Command, path string, header []string, row func(T) []string) filters {
	l := listing[T]{path: path, header: header, row: row, query: url.Values{}}
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(cmd)
		if err != nil {
			return err
		}
		switch l.format {
		case "csv":
			return l.printCSV(cmd.Context(), c, cmd.OutOrStdout())
		case "json":
			return printArray(cmd.OutOrStdout(), l.pages(cmd.Context(), c))
		}
		return l.printTable(cmd.OutOrStdout(), l.pages(cmd.Context(), c))
	}
	l.limit = limitFlag(cmd)
	outputFlag(cmd, &l.format, "json", "csv")
	return filters{cmd, l.query}
}

// pages fetches pages up to the limit. It stops after an error.
func (l *listing[T]) pages(ctx context.Context, c *client) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		for left := *l.limit; ; {
			size := manage.MaxPage
			if *l.limit > 0 {
				size = min(size, left)
			}
			l.query.Set("limit", strconv.Itoa(size))
			var page struct {
				Values []T     `json:"values"`
				Next   *string `json:"next"`
			}
			err := c.call(ctx, http.MethodGet, l.path, l.query, nil, &page)
			if !yield(page.Values, err) || err != nil || page.Next == nil {
				return
			}
			if left -= len(page.Values); *l.limit > 0 && left <= 0 {
				return
			}
			l.query.Set("after", *page.Next)
		}
	}
}

// printTable prints pages as they arrive, each with its own column widths.
func (l *listing[T]) printTable(out io.Writer, pages iter.Seq2[[]T, error]) error {
	t := table{l.header}
	for page, err := range pages {
		if err != nil {
			return err
		}
		for _, value := range page {
			t = append(t, l.row(value))
		}
		if err := t.print(out); err != nil {
			return err
		}
		t = nil
	}
	return nil
}

// printArray prints pages as one JSON array, one value on a line.
func printArray[T any](out io.Writer, pages iter.Seq2[[]T, error]) error {
	separator := "[\n"
	for page, err := range pages {
		if err != nil {
			return err
		}
		var b strings.Builder
		for _, value := range page {
			line, err := json.Marshal(value)
			if err != nil {
				return fmt.Errorf("print: %w", err)
			}
			b.WriteString(separator)
			b.Write(line)
			separator = ",\n"
		}
		if _, err := io.WriteString(out, b.String()); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	end := "\n]\n"
	if separator == "[\n" {
		end = "[]\n"
	}
	if _, err := io.WriteString(out, end); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// printCSV prints the API's own CSV, record by record, up to the limit.
func (l *listing[T]) printCSV(ctx context.Context, c *client, out io.Writer) error {
	l.query.Set("format", "csv")
	body, err := c.send(ctx, http.MethodGet, l.path, l.query, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	r, w := csv.NewReader(body), csv.NewWriter(out)
	r.ReuseRecord = true
	for n := 0; *l.limit == 0 || n <= *l.limit; n++ { // the first is the header
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			w.Flush()
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if err := w.Write(record); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return flushCSV(w)
}

func flushCSV(w *csv.Writer) error {
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// newReport returns a command that prints the whole answer of the endpoint at a path. The
// header is the CSV's, such as lastSeen; the cells are raw.
func newReport[T any](cmd *cobra.Command, path string, header []string, rows func(T) [][]string) *cobra.Command {
	var format string
	outputFlag(cmd, &format, "json", "csv")
	addSocketFlag(cmd)
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		answer, err := ask[T](cmd, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		if format == "csv" {
			w := csv.NewWriter(cmd.OutOrStdout())
			for _, row := range append([][]string{header}, rows(answer)...) {
				for i, text := range row {
					row[i] = web.Cell(text)
				}
				if err := w.Write(row); err != nil {
					return fmt.Errorf("print: %w", err)
				}
			}
			return flushCSV(w)
		}
		t := table{nil}
		for _, name := range header {
			t[0] = append(t[0], heading(name))
		}
		for _, row := range rows(answer) {
			for i, text := range row {
				row[i] = cell(text)
			}
			t = append(t, row)
		}
		return printAnswer(cmd, format, answer, t)
	}
	return cmd
}

// heading returns LAST SEEN for lastSeen.
func heading(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

// printAnswer prints an answer as JSON, or the tables that show it, with an empty line
// between them.
func printAnswer(cmd *cobra.Command, format string, answer any, tables ...table) error {
	if format == "json" {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	for i, t := range tables {
		if i > 0 {
			fmt.Fprintln(cmd.OutOrStdout())
		}
		if err := t.print(cmd.OutOrStdout()); err != nil {
			return err
		}
	}
	return nil
}

func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

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
