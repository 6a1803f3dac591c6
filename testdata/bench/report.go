package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report collects the tables and the targets of a run.
type report struct {
	head     []string
	quick    bool
	sections []*section
	targets  [][]string
}

// section is one table.
type section struct {
	title   string
	columns []string
	lines   [][]string
	notes   []string
}

func (r *report) add(title string, columns ...string) *section {
	s := &section{title: title, columns: columns}
	r.sections = append(r.sections, s)
	return s
}

func (s *section) line(cells ...string) { s.lines = append(s.lines, cells) }

func (s *section) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// atMost adds a target that passes if the median is at most limit.
func (r *report) atMost(what string, limit float64, unit string, measured spread) {
	r.target(what, "≤ "+number(limit), unit, measured, measured.median <= limit)
}

// atLeast adds a target that passes if the median is at least limit.
func (r *report) atLeast(what string, limit float64, unit string, measured spread) {
	r.target(what, "≥ "+number(limit), unit, measured, measured.median >= limit)
}

func (r *report) target(what, limit, unit string, measured spread, pass bool) {
	verdict := "fail"
	if pass {
		verdict = "pass"
	}
	r.targets = append(r.targets, []string{what, strings.TrimSpace(limit + " " + unit), strings.TrimSpace(measured.String() + " " + unit), verdict})
}

// markdown returns the report. TestReadmeSpeed in cmd/tokengate finds the head and
// the targets in it.
func (r *report) markdown() string {
	head := r.head
	if r.quick {
		head = append(head, "A quick run: fewer tokens and rounds. Its figures are rough, and the targets are those of the full run.")
	}
	head = append(head, "Figures are medians over rounds, with the smallest and the largest in brackets. Ratios are taken within a round. The targets were set before measuring.")
	var b strings.Builder
	b.WriteString(strings.Join(head, "  \n") + "\n")
	for _, s := range r.sections {
		s.markdown(&b)
	}
	targets := section{title: "Targets", columns: []string{"what", "target", "measured", ""}, lines: r.targets}
	targets.markdown(&b)
	return b.String()
}

func (s *section) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n**%s**\n\n", s.title)
	w := tabwriter.NewWriter(b, 0, 0, 1, ' ', 0)
	rule := strings.Repeat("---:\t|", len(s.columns)-1)
	fmt.Fprintf(w, "| %s\t|\n|---\t|%s\n", strings.Join(s.columns, "\t| "), rule)
	for _, line := range s.lines {
		fmt.Fprintf(w, "| %s\t|\n", strings.Join(line, "\t| "))
	}
	w.Flush()
	for _, note := range s.notes {
		fmt.Fprintf(b, "\n%s\n", note)
	}
}

// spread is a figure over the rounds.
type spread struct{ median, min, max float64 }

// spreadOf summarises the values of the rounds.
func spreadOf(values ...float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

// String returns the median, and the extremes if they differ.
func (s spread) String() string {
	if s.min == s.max {
		return number(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.median), number(s.min), number(s.max))
}

// ratios divides round by round, because a machine's speed drifts between rounds.
func ratios(above, below []float64) spread {
	all := make([]float64, len(above))
	for i := range all {
		all[i] = above[i] / below[i]
	}
	return spreadOf(all...)
}

// each takes one figure from every round's result.
func each[R any](results []R, figure func(R) float64) []float64 {
	all := make([]float64, len(results))
	for i, r := range results {
		all[i] = figure(r)
	}
	return all
}

// number formats a figure with three digits, or with all of them above a thousand.
func number(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "-"
	case v == math.Trunc(v) && size < 1000:
		return fmt.Sprintf("%.0f", v)
	case size >= 999.5:
		digits := fmt.Sprintf("%.0f", v)
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
		return digits
	case size >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case size >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func count(n int) string { return number(float64(n)) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// samples are durations of single operations.
type samples []time.Duration

// quantile returns the duration that the share q of the samples does not exceed.
// It sorts the samples.
func (s samples) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// variant is one side of a comparison.
type variant[R any] struct {
	name  string
	slice func(context.Context) (R, error) // measures once, for a second or less
}

// alternate measures one slice of every variant in each round, and returns the
// results by variant and round. The first variant of a round is the last of the
// next, so that the order favours none. The first round warms up and is dropped.
func alternate[R any](ctx context.Context, rounds int, variants []variant[R]) ([][]R, error) {
	results := make([][]R, len(variants))
	for round := range rounds + 1 {
		for turn := range variants {
			which := (round + turn) % len(variants)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			result, err := variants[which].slice(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", variants[which].name, round, err)
			}
			if round > 0 {
				results[which] = append(results[which], result)
			}
		}
	}
	return results, nil
}
