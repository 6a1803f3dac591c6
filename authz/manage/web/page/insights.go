package page

import (
	"context"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web/query"
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
	f, err := s.layout(r, text("insights.title"), "insights")
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
	for _, counted := range []struct{ word, list string }{
		{"unused", "state=active&unusedSince=90d&sort=used"},
		{"never", "state=active&neverExpires=true"},
		{"soon", "state=active&expiringWithin=14d&sort=expires"},
		{"suspended", "state=suspended&sort=user"},
	} {
		// What is counted is what the list will show.
		q, err := query.ReadForm(counted.list, listParameters)
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
		all = append(all, figure{n, text("insights." + counted.word), text("insights." + counted.word + ".why"), s.url("tokens?" + counted.list)})
	}
	return all, nil
}
