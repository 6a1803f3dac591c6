package page

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/web/query"
	"github.com/tokengate/tokengate/store"
)

// insightsPage shows administrators what needs attention.
type insightsPage struct {
	Figures   []figure
	Connected []figure // none: users need no connection
	Chart     chart
	Passwords passwordsPart
}

// figure is a number of tokens, or of connections, with the address of their list.
type figure struct {
	Count     int
	Name, Why string
	URL       string
}

// insights shows the page.
func (s *Site) insights(r *Request, l *layout) (Answer, error) {
	ctx := r.HTTP.Context()
	figures, err := s.figures(ctx, r.Caller)
	if err != nil {
		return Answer{}, err
	}
	days, err := s.Manager.Totals(ctx, r.Caller)
	if err != nil {
		return Answer{}, err
	}
	users, err := s.Manager.Passwords(ctx, r.Caller)
	if err != nil {
		return Answer{}, err
	}
	p := insightsPage{Figures: figures, Chart: newChart(days, store.DayOf(s.Now())), Passwords: s.passwords(users, s.View().Policy.Passwords, days)}
	if l.Connection.Needed {
		if p.Connected, err = s.connectionFigures(r); err != nil {
			return Answer{}, err
		}
	}
	return ok("insights", l, p)
}

func (s *Site) figures(ctx context.Context, c manage.Caller) (all []figure, err error) {
	for _, f := range []struct{ word, list string }{
		{"unused", "state=active&unusedSince=90d&sort=used"},
		{"never", "state=active&neverExpires=true"},
		{"soon", "state=active&expiringWithin=14d&sort=expires"},
		{"suspended", "state=suspended&sort=user"},
	} {
		// The count is that of the list it leads to.
		q, err := query.ReadForm(f.list, listParameters)
		if err != nil {
			return nil, err
		}
		wanted, err := query.Tokens(q, s.Now().UTC())
		if err != nil {
			return nil, err
		}
		n, err := s.Manager.Count(ctx, c, wanted)
		if err != nil {
			return nil, err
		}
		all = append(all, figure{n, text("insights." + f.word), text("insights." + f.word + ".why"), s.url("tokens?" + f.list)})
	}
	return all, nil
}

// chart shows the last 30 days as two rows of bars: requests allowed with a token, and
// refused requests by reason.
type chart struct {
	Days     []chartDay // oldest first
	First    string     // the dates of the first and the last day
	Last     string
	Allowed  bars
	Refused  bars
	Series   []series // of Refused, largest first
	Nothing  bool
	Totals   struct{ Allowed, Refused string }
	ViewBox  string
	Baseline int
	Width    int
}

// chartDay is a row of the table below the chart.
type chartDay struct {
	Date             string
	Allowed, Refused string
	Reasons          string // "expired 3, wrong_secret 1"
}

// series is a reason, or all other reasons together.
type series struct {
	Name  string
	Class string
	Count string
}

// bars is a row of bars.
type bars struct {
	Top   string // the number at the top
	Rects []rect
}

// rect is a bar or a part of one, in units of the chart.
type rect struct {
	X, Y, Width, Height int
	Class               string
	Text                string // the tooltip
}

// The dimensions of a chart, in its own units.
const (
	barStep     = 24
	barWidth    = 18
	barsHeight  = 120
	chartSeries = 4 // reasons with their own colour
)

// dayCounts are the requests of a day.
type dayCounts struct {
	allowed, refused uint64
	reasons          map[string]uint64 // of the refused ones
}

func newChart(totals []store.DayTotals, today store.Day) chart {
	days := make([]dayCounts, manage.TotalDays)
	first := today - manage.TotalDays + 1
	sum := dayCounts{reasons: make(map[string]uint64)}
	for _, d := range totals {
		if d.Day < first || d.Day > today {
			continue
		}
		day := dayCounts{allowed: d.Counts[authz.TokenAllowed.String()], reasons: make(map[string]uint64)}
		for word, n := range d.Counts {
			if manage.IsDenialReason(word) {
				day.refused += n
				day.reasons[word] = n
				sum.reasons[word] += n
			}
		}
		sum.allowed += day.allowed
		sum.refused += day.refused
		days[d.Day-first] = day
	}
	c := chart{
		Nothing: sum.allowed+sum.refused == 0, Width: manage.TotalDays * barStep, Baseline: barsHeight,
		ViewBox: fmt.Sprintf("0 0 %d %d", manage.TotalDays*barStep, barsHeight+1),
		First:   first.String(), Last: today.String(),
	}
	c.Totals.Allowed, c.Totals.Refused = number(sum.allowed), number(sum.refused)
	reasons := byCount(sum.reasons)
	shown := reasons[:min(len(reasons), chartSeries)]
	rest := sum.refused
	for i, word := range shown {
		c.Series = append(c.Series, series{word, fmt.Sprint("series", i), number(sum.reasons[word])})
		rest -= sum.reasons[word]
	}
	if rest > 0 {
		c.Series = append(c.Series, series{text("chart.others"), "others", number(rest)})
	}
	c.draw(days, first, shown)
	return c
}

// draw adds the bars and the table.
func (c *chart) draw(days []dayCounts, first store.Day, shown []string) {
	most, mostRefused := uint64(1), uint64(1)
	for _, d := range days {
		most, mostRefused = max(most, d.allowed), max(mostRefused, d.refused)
	}
	c.Allowed.Top, c.Refused.Top = number(most), number(mostRefused)
	for i, d := range days {
		date := (first + store.Day(i)).String()
		c.Days = append(c.Days, chartDay{date, number(d.allowed), number(d.refused), reasonsText(d.reasons)})
		if h := height(d.allowed, most); h > 0 {
			c.Allowed.Rects = append(c.Allowed.Rects, rect{i * barStep, barsHeight - h, barWidth, h, "allowed", date + ": " + number(d.allowed)})
		}
		below, rest := uint64(0), d.refused
		part := func(class, word string, n uint64) {
			from, to := height(below, mostRefused), height(below+n, mostRefused)
			if below += n; to > from {
				c.Refused.Rects = append(c.Refused.Rects, rect{i * barStep, barsHeight - to, barWidth, to - from, class, date + ": " + word + " " + number(n)})
			}
		}
		for s, word := range shown {
			part(c.Series[s].Class, word, d.reasons[word])
			rest -= d.reasons[word]
		}
		part("others", text("chart.others"), rest)
	}
}

// byCount returns the keys of counts, most frequent first.
func byCount(counts map[string]uint64) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
}

// height returns the height of a bar; any number but 0 is visible.
func height(n, most uint64) int {
	if n == 0 {
		return 0
	}
	return max(int(float64(n)/float64(most)*barsHeight), 1)
}

// reasonsText lists the reasons of a day's refusals, most frequent first.
func reasonsText(counts map[string]uint64) string {
	var parts []string
	for _, word := range byCount(counts) {
		parts = append(parts, word+" "+number(counts[word]))
	}
	return strings.Join(parts, ", ")
}

// passwordsPart lists the users who still send passwords, and the effect of blocking.
// Counts are of requests in the last 90 days on record.
type passwordsPart struct {
	Mode          string
	Blocking      bool
	Blocked       uint64 // refused because of their password
	AffectedUsers int    // with requests that blocking would refuse
	Affected      uint64 // such requests
	Unknown       uint64 // with unknown user names, in the last 30 days
	Users         []passwordRow
	More          int // further users
}

// passwordRow is a user with the latest client and address.
type passwordRow struct {
	User, URL string
	Client    string
	Address   string
	Last      timestamp
	Passed    string
	Blocked   string
	Exempt    bool
	More      int // further clients
}

// maxPasswordRows limits the list; the API returns all users.
const maxPasswordRows = 50

// passwords tells what blocking passwords would refuse: the requests on record without
// an exemption by user or network. Exempt paths are not on record.
func (s *Site) passwords(users []manage.PasswordUser, settings policy.Passwords, days []store.DayTotals) passwordsPart {
	p := passwordsPart{Mode: string(settings.Mode), Blocking: settings.Mode == config.PasswordsBlock}
	now := s.Now().UTC()
	for _, u := range users {
		row := passwordRow{User: u.User, URL: s.url("tokens?" + encode("user", u.User)), Last: when(u.Last(), now), More: len(u.Uses) - 1, Exempt: true}
		row.Client = brief(u.Uses[0].Client)
		if a := u.Uses[0].Address; a.IsValid() {
			row.Address = a.String()
		}
		var affected, passed, blocked uint64
		for _, use := range u.Uses {
			passed += use.Passed
			blocked += use.Blocked
			if !settings.AllowedUsers.Contain(use.User) && !settings.AllowedNetworks.Contain(use.Address) {
				affected += use.Passed
				row.Exempt = false
			}
		}
		if affected > 0 {
			p.AffectedUsers++
		}
		p.Affected += affected
		p.Blocked += blocked
		row.Passed, row.Blocked = number(passed), number(blocked)
		if len(p.Users) < maxPasswordRows {
			p.Users = append(p.Users, row)
		} else {
			p.More++
		}
	}
	for _, d := range days {
		p.Unknown += d.Counts[manage.UnknownPasswords]
	}
	return p
}
