package page

import (
	"context"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// insightsPage is what an administrator may want to look at.
type insightsPage struct {
	Figures   []figure
	Chart     chart
	Passwords passwordsPart
}

// figure is a number of tokens, and the list of them.
type figure struct {
	Count     int
	Name, Why string
	URL       string
}

// insights shows what an administrator may want to look at.
func (s *Site) insights(r *Request) (Answer, error) {
	f, err := s.frame(r, text("insights.title"), "insights")
	if err != nil {
		return Answer{}, err
	}
	ctx := r.HTTP.Context()
	var p insightsPage
	if p.Figures, err = s.figures(ctx, r.Caller); err != nil {
		return Answer{}, err
	}
	days, err := s.Manager.Totals(ctx, r.Caller)
	if err != nil {
		return Answer{}, err
	}
	today := store.DayOf(s.Now())
	p.Chart = newChart(days, today)
	users, err := s.Manager.Passwords(ctx, r.Caller)
	if err != nil {
		return Answer{}, err
	}
	p.Passwords = s.passwords(users, s.View().Policy.Passwords, days)
	return ok("insights", f, p)
}

func (s *Site) figures(ctx context.Context, c manage.Caller) (all []figure, err error) {
	now := s.Now().UTC()
	const day = 24 * time.Hour
	for _, counted := range []struct {
		word    string
		query   manage.Query
		address string
	}{
		{"unused", manage.Query{State: manage.StateActive, Query: store.Query{UnusedSince: now.Add(-90 * day)}}, encode("state", "active", "unusedSince", "90d", "sort", "used")},
		{"never", manage.Query{State: manage.StateActive, Query: store.Query{NeverExpires: true}}, encode("state", "active", "neverExpires", "true")},
		{"soon", manage.Query{State: manage.StateActive, Query: store.Query{ExpiresFrom: now, ExpiresUntil: now.Add(soon)}}, encode("state", "active", "expiringWithin", "14d", "sort", "expires")},
		{"suspended", manage.Query{State: manage.StateSuspended}, encode("state", "suspended", "sort", "user")},
	} {
		n, err := s.Manager.Count(ctx, c, counted.query)
		if err != nil {
			return nil, err
		}
		all = append(all, figure{n, text("insights." + counted.word), text("insights." + counted.word + ".why"), s.url("tokens?" + counted.address)})
	}
	return all, nil
}
