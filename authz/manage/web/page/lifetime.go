package page

import (
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
)

// The lifetimes that are no length of time.
const (
	lifetimeKeep = "keep" // as it is
	lifetimeDate = "date" // until a date
)

// lifetime is a choice of how long a token is to live.
type lifetime struct {
	Value, Label string
}

// lifetimes are the choices that somebody has whose tokens live so long at the most,
// and which of them is meant at first.
func lifetimes(most config.Lifetime, keep bool) (choices []lifetime, chosen string) {
	if keep {
		choices, chosen = append(choices, lifetime{lifetimeKeep, text("lifetime.keep")}), lifetimeKeep
	}
	const day = 24 * time.Hour
	usual := config.Lifetime{Duration: 90 * day}
	if most.Compare(usual) < 0 {
		usual = most
	}
	all := []config.Lifetime{{Duration: day}, {Duration: 7 * day}, {Duration: 30 * day}, {Duration: 90 * day}, {Duration: 180 * day}, {Duration: 365 * day}}
	for i, l := range all {
		if l.Compare(most) > 0 {
			all = all[:i]
			break
		}
	}
	if len(all) == 0 || all[len(all)-1].Compare(most) < 0 {
		all = append(all, most)
	}
	for _, l := range all {
		choices = append(choices, lifetime{l.String(), lifetimeLabel(l)})
	}
	if !keep {
		chosen = usual.String()
	}
	return append(choices, lifetime{lifetimeDate, text("lifetime.date")}), chosen
}

func lifetimeLabel(l config.Lifetime) string {
	const day = 24 * time.Hour
	switch {
	case l.Unlimited:
		return text("lifetime.unlimited")
	case l.Duration == 365*day:
		return text("lifetime.year")
	case l.Duration%day == 0:
		return count("time.days", int(l.Duration/day))
	}
	return l.String()
}

// expiry reads how long a token is to live. The last day that a rule allows is good
// as long as the rule allows it.
func (f *form) expiry(most config.Lifetime, now time.Time) (asked manage.Expiry, err error) {
	switch chosen := f.Get("lifetime"); chosen {
	case "", lifetimeKeep:
		return asked, nil
	case lifetimeDate:
		date, err := time.Parse(time.DateOnly, f.Get("until"))
		if err != nil {
			return asked, wrong(manage.FieldExpires, "lifetime.nodate")
		}
		asked.At = date.AddDate(0, 0, 1) // the whole day
		if latest := now.Add(most.Duration); !most.Unlimited && asked.At.After(latest) && !date.After(latest) {
			asked.At = latest
		}
		return asked, nil
	default:
		if asked.In, err = config.ParseLifetime(chosen); err != nil {
			return asked, wrong(manage.FieldExpires, "lifetime.unknown")
		}
		return asked, nil
	}
}

// mostOf is how long tokens may live that somebody creates.
func mostOf(me *manage.Me) config.Lifetime {
	if me.Terms == nil {
		return config.Lifetime{Unlimited: true}
	}
	return me.Terms.MaxLifetime
}

// lastDay is the last date that a token may live until, for the field; "" for any.
func lastDay(most config.Lifetime, now time.Time) string {
	if most.Unlimited {
		return ""
	}
	return now.Add(most.Duration).UTC().Format(time.DateOnly)
}

// overlaps are the choices of how long an old secret stays good.
func overlaps(most time.Duration) (choices []lifetime) {
	const day = 24 * time.Hour
	choices = []lifetime{{"", text("overlap.none")}}
	for _, d := range []time.Duration{10 * time.Minute, time.Hour, day, 7 * day, most} {
		if l := (config.Lifetime{Duration: d}); d > 0 && d <= most && choices[len(choices)-1].Value != l.String() {
			choices = append(choices, lifetime{l.String(), text("overlap.for", span(d))})
		}
	}
	return choices
}

// overlap reads one of them.
func (f *form) overlap() (time.Duration, error) {
	chosen := f.Get("overlap")
	if chosen == "" {
		return 0, nil
	}
	l, err := config.ParseLifetime(chosen)
	if err != nil || l.Unlimited {
		return 0, wrong(manage.FieldOverlap, "overlap.unknown")
	}
	return l.Duration, nil
}
