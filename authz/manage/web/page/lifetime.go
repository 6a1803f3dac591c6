package page

import (
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// The lifetimes that are no length of time.
const (
	lifetimeKeep   = "keep"   // as it is
	lifetimeDate   = "date"   // until a date
	lifetimeLatest = "latest" // as long as it may
)

// lifetime is a choice of how long a token is to live.
type lifetime struct {
	Value, Label string
}

// lifetimesUntil are the choices of when a token is to end, which may be at latest, or
// never if that is zero; and which of them is meant at first.
func lifetimesUntil(latest, now time.Time, keep bool) (choices []lifetime, chosen string) {
	if keep {
		choices, chosen = append(choices, lifetime{lifetimeKeep, text("lifetime.keep")}), lifetimeKeep
	}
	const day, usual = 24 * time.Hour, 90 * 24 * time.Hour
	whole := true // the longest choice is all that there may be
	for _, d := range []time.Duration{day, 7 * day, 30 * day, usual, 180 * day, 365 * day} {
		end := now.Add(d)
		if whole = end.Equal(latest); !latest.IsZero() && end.After(latest) {
			break
		}
		l := config.Lifetime{Duration: d}
		choices = append(choices, lifetime{l.String(), lifetimeLabel(l)})
		if !keep && d <= usual {
			chosen = l.String()
		}
		if whole {
			break
		}
	}
	switch {
	case latest.IsZero():
		l := config.Lifetime{Unlimited: true}
		choices = append(choices, lifetime{l.String(), lifetimeLabel(l)})
	case !whole && latest.After(now):
		choices = append(choices, lifetime{lifetimeLatest, text("lifetime.latest", latest.Format(time.DateOnly))})
		if chosen == "" {
			chosen = lifetimeLatest
		}
	}
	return append(choices, lifetime{lifetimeDate, text("lifetime.date")}), chosen
}

// ending is the part of a form that says when a token is to end.
type ending struct {
	Lifetimes []lifetime
	Today     string // the first date that may be the last day
	LastDay   string // the last one; "" for any
}

// ending returns that part of a form, and chooses what is meant at first.
func (f *form) ending(latest, now time.Time, keep bool) ending {
	choices, chosen := lifetimesUntil(latest, now, keep)
	if !f.Has("lifetime") {
		f.Values.Set("lifetime", chosen)
	}
	return ending{choices, now.Format(time.DateOnly), lastDay(latest)}
}

// latest is when a token may end at the latest that lives from now on; zero: never.
func latest(most config.Lifetime, now time.Time) time.Time {
	if most.Unlimited {
		return time.Time{}
	}
	return now.Add(most.Duration)
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

// expiry reads how long a token is to live, which may end at latest, or never if that
// is zero. The last day on which it may is good as long as it may.
func (f *form) expiry(latest, now time.Time) (asked manage.Expiry, err error) {
	switch chosen := f.Get("lifetime"); chosen {
	case "", lifetimeKeep:
		return asked, nil
	case lifetimeLatest:
		asked.At = latest
		return asked, nil
	case lifetimeDate:
		date, err := time.Parse(time.DateOnly, f.Get("until"))
		if err != nil {
			return asked, wrong(manage.FieldExpires, "lifetime.nodate")
		}
		asked.At = date.AddDate(0, 0, 1) // the whole day
		if !latest.IsZero() && asked.At.After(latest) && !date.After(latest) {
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

// maxManagement is how long a management token may live.
var maxManagement = config.Lifetime{Duration: 365 * 24 * time.Hour}

// maxLifetimeOf is how long tokens may live that somebody creates.
func maxLifetimeOf(me *manage.Me) config.Lifetime {
	if me.Terms == nil {
		return config.Lifetime{Unlimited: true}
	}
	return me.Terms.MaxLifetime
}

// maxLifetimeFor is how long a token may live that somebody rotates or changes.
func maxLifetimeFor(me *manage.Me, t manage.Token) config.Lifetime {
	if t.Kind == store.Management {
		return maxManagement
	}
	return maxLifetimeOf(me)
}

// lastDay is the date of the latest end, for the field; "" for any.
func lastDay(latest time.Time) string {
	if latest.IsZero() {
		return ""
	}
	return latest.UTC().Format(time.DateOnly)
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

// usualOverlap is the choice that breaks nothing: a day, or the longest below it.
func usualOverlap(choices []lifetime) string {
	usual := ""
	for _, c := range choices {
		if usual = c.Value; usual == "1d" {
			break
		}
	}
	return usual
}
