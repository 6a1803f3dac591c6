package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"unicode/utf8"
)

// report is everything that a run found out.
type report struct {
	Machine  machine   `json:"machine"`
	Quick    bool      `json:"quick"`
	Sections []section `json:"sections"`
	Marks    []mark    `json:"marks"`
	Bars     []bar     `json:"bars"`
}

// section is one table.
type section struct {
	Row     string     `json:"row"` // a, b, c, d or e
	Title   string     `json:"title"`
	Notes   []string   `json:"notes"`
	Columns []string   `json:"columns"`
	Lines   [][]string `json:"lines"`
	Figures []figure   `json:"figures"`
}

// figure is a number of a table for machines.
type figure struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	spread
}

// mark is a figure that is to be reached.
type mark struct {
	What    string `json:"what"`
	Limit   string `json:"limit"`
	Unit    string `json:"unit"`
	Found   spread `json:"found"`
	Reached bool   `json:"reached"`
}

// bar is a ratio for the picture: tokengate to its rival.
type bar struct {
	Label string  `json:"label"`
	Found spread  `json:"found"`
	Mark  float64 `json:"mark"`
	Less  bool    `json:"less"` // less is better
}

// cell writes a figure into a table and keeps it for machines.
func (s *section) cell(name, unit string, found spread) string {
	s.Figures = append(s.Figures, figure{name, unit, found})
	return found.String()
}

// atMost is a mark that is reached if the median is no larger.
func (r *report) atMost(what string, limit float64, unit string, found spread) {
	r.Marks = append(r.Marks, mark{what, "≤ " + join(number(limit), unit), unit, found, found.Median <= limit})
}

// atLeast is a mark that is reached if the median is no smaller.
func (r *report) atLeast(what string, limit float64, unit string, found spread) {
	r.Marks = append(r.Marks, mark{what, "≥ " + join(number(limit), unit), unit, found, found.Median >= limit})
}

// text writes the report for a terminal.
func (r *report) text(w io.Writer) {
	for _, line := range r.head() {
		fmt.Fprintln(w, line)
	}
	for _, s := range r.Sections {
		fmt.Fprintf(w, "\n(%s) %s\n\n", s.Row, s.Title)
		columns(w, s.Columns, s.Lines)
		for _, note := range s.Notes {
			fmt.Fprintf(w, "    %s\n", note)
		}
	}
	if len(r.Marks) > 0 {
		fmt.Fprint(w, "\nMarks\n\n")
		columns(w, markColumns, r.markLines())
	}
}

// markdown writes the report for a README.
func (r *report) markdown(w io.Writer) {
	fmt.Fprintln(w, strings.Join(r.head(), "  \n"))
	for _, s := range r.Sections {
		fmt.Fprintf(w, "\n**(%s) %s**\n\n", s.Row, s.Title)
		pipes(w, s.Columns, s.Lines)
		for _, note := range s.Notes {
			fmt.Fprintf(w, "\n%s\n", note)
		}
	}
	if len(r.Marks) > 0 {
		fmt.Fprint(w, "\n**Marks**\n\n")
		pipes(w, markColumns, r.markLines())
	}
}

func (r *report) head() []string {
	lines := r.Machine.lines()
	if r.Quick {
		lines = append(lines, "A quick run: fewer tokens, few rounds. Its figures are rough, and its marks are not the full run's.")
	}
	return append(lines, "Figures are medians over rounds, with the smallest and the largest in brackets; ratios are taken within a round, so they need not be those of the medians. A mark is a goal that was set before measuring.")
}

var markColumns = []string{"what", "mark", "found", ""}

func (r *report) markLines() [][]string {
	lines := make([][]string, len(r.Marks))
	for i, m := range r.Marks {
		verdict := "missed"
		if m.Reached {
			verdict = "reached"
		}
		lines[i] = []string{m.What, m.Limit, join(m.Found.String(), m.Unit), verdict}
	}
	return lines
}

// writeFile writes one form of the report to a file, unless it has no name.
func writeFile(name string, write func(io.Writer)) error {
	if name == "" {
		return nil
	}
	var text strings.Builder
	write(&text)
	return os.WriteFile(name, []byte(text.String()), 0o644)
}

func (r *report) json(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// columns writes a table with columns as wide as they must be.
func columns(w io.Writer, names []string, lines [][]string) {
	widths := make([]int, len(names))
	all := append([][]string{names}, lines...)
	for _, line := range all {
		for i, text := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	for _, line := range all {
		var b strings.Builder
		for i, text := range line {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if i == 0 {
				b.WriteString(text + padding)
			} else {
				b.WriteString("   " + padding + text)
			}
		}
		fmt.Fprintf(w, "  %s\n", strings.TrimRight(b.String(), " "))
	}
}

// pipes writes a table in Markdown.
func pipes(w io.Writer, names []string, lines [][]string) {
	fmt.Fprintf(w, "| %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---:|", len(names)-1))
	for _, line := range lines {
		fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
	}
}

// String returns the median, and the extremes where there are any.
func (s spread) String() string {
	if s.Min == s.Max {
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
}

// number writes a figure with three digits, or all of them above a thousand.
func number(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "-"
	case v == math.Trunc(v) && size < 1000:
		return fmt.Sprintf("%.0f", v)
	case size >= 999.5:
		return thousands(fmt.Sprintf("%.0f", v))
	case size >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case size >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// thousands puts commas into the digits of a whole number.
func thousands(digits string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func join(text, unit string) string {
	if unit == "" {
		return text
	}
	return text + " " + unit
}
