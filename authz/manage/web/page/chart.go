package page

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// chart are the days of the last month: how many requests tokens were let in with,
// and how many were refused and why. It is drawn as two rows of bars.
type chart struct {
	Days     []chartDay // the oldest first
	First    string     // the dates of the first and the last
	Last     string
	Allowed  bars
	Refused  bars
	Series   []series // of Refused, the largest first
	Summary  string
	Nothing  bool
	Totals   struct{ Allowed, Refused string }
	ViewBox  string
	Baseline int
	Width    int
}

// chartDay is a day in the table below the chart.
type chartDay struct {
	Date             string
	Allowed, Refused string
	Reasons          string // "expired 3, wrong_secret 1"
}

// series is one reason, or all others together.
type series struct {
	Name  string
	Class string
	Count string
}

// bars are one row of them.
type bars struct {
	Top   string // what the highest one stands for
	Rects []rect
}

// rect is a bar, or a part of one.
type rect struct {
	X, Y, Width, Height int
	Class               string
	Text                string // of its tooltip
}

// The measures of a chart, in units of its own.
const (
	barStep     = 24
	barWidth    = 18
	barsHeight  = 120
	chartSeries = 4 // reasons that have a colour of their own
)

func newChart(totals []store.DayTotals, today store.Day) chart {
	days := make([]map[string]uint64, manage.TotalDays)
	first := today - manage.TotalDays + 1
	sums := make(map[string]uint64)
	var allowed, refused uint64
	for _, d := range totals {
		if d.Day < first || d.Day > today {
			continue
		}
		days[d.Day-first] = d.Counts
		allowed += d.Counts[authz.TokenAllowed.String()]
		for word, n := range d.Counts {
			if manage.IsRefusal(word) {
				sums[word] += n
				refused += n
			}
		}
	}
	reasons := byCount(sums)
	c := chart{
		Nothing: allowed+refused == 0, Width: manage.TotalDays * barStep, Baseline: barsHeight,
		ViewBox: fmt.Sprintf("0 0 %d %d", manage.TotalDays*barStep, barsHeight+1),
		First:   first.String(), Last: today.String(),
		Summary: text("chart.summary", number(allowed), number(refused)),
	}
	c.Totals.Allowed, c.Totals.Refused = number(allowed), number(refused)
	shown := reasons[:min(len(reasons), chartSeries)]
	for i, word := range shown {
		c.Series = append(c.Series, series{word, fmt.Sprint("series", i), number(sums[word])})
	}
	if len(reasons) > len(shown) {
		rest := uint64(0)
		for _, word := range reasons[len(shown):] {
			rest += sums[word]
		}
		c.Series = append(c.Series, series{text("chart.others"), "others", number(rest)})
	}
	c.draw(days, first, shown)
	return c
}

// draw makes the bars and the table.
func (c *chart) draw(days []map[string]uint64, first store.Day, shown []string) {
	most, mostRefused := uint64(1), uint64(1)
	refusals := make([]uint64, len(days))
	for i, counts := range days {
		for word, n := range counts {
			if manage.IsRefusal(word) {
				refusals[i] += n
			}
		}
		most, mostRefused = max(most, counts[authz.TokenAllowed.String()]), max(mostRefused, refusals[i])
	}
	c.Allowed.Top, c.Refused.Top = number(most), number(mostRefused)
	for i, counts := range days {
		date, allowed := (first + store.Day(i)).String(), counts[authz.TokenAllowed.String()]
		c.Days = append(c.Days, chartDay{date, number(allowed), number(refusals[i]), reasonsText(counts)})
		if h := height(allowed, most); h > 0 {
			c.Allowed.Rects = append(c.Allowed.Rects, rect{i * barStep, barsHeight - h, barWidth, h, "allowed", date + ": " + number(allowed)})
		}
		below, rest := uint64(0), refusals[i]
		part := func(class, word string, n uint64) {
			from, to := height(below, mostRefused), height(below+n, mostRefused)
			if below += n; to > from {
				c.Refused.Rects = append(c.Refused.Rects, rect{i * barStep, barsHeight - to, barWidth, to - from, class, date + ": " + word + " " + number(n)})
			}
		}
		for s, word := range shown {
			part(c.Series[s].Class, word, counts[word])
			rest -= counts[word]
		}
		if rest > 0 {
			part("others", text("chart.others"), rest)
		}
	}
}

// byCount returns the words of some counts, the most frequent first.
func byCount(counts map[string]uint64) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
}

// height returns how high so many reach: what is not nothing is to be seen.
func height(n, most uint64) int {
	if n == 0 {
		return 0
	}
	return max(int(float64(n)/float64(most)*barsHeight), 1)
}

// reasonsText lists the reasons of a day's refusals, the most frequent first.
func reasonsText(counts map[string]uint64) string {
	var parts []string
	for _, word := range byCount(counts) {
		if manage.IsRefusal(word) {
			parts = append(parts, word+" "+number(counts[word]))
		}
	}
	return strings.Join(parts, ", ")
}
