package page

import (
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

const day = 24 * time.Hour

// The values of the lifetime field that are not durations.
const (
	lifetimeKeep   = "keep"   // the current expiry
	lifetimeDate   = "date"   // until a date in another field
	lifetimeLatest = "latest" // the maximum
)

// choice is an option of a select element.
type choice struct {
	Value, Label string
}

// lifetimesUntil returns the choices of a token's lifetime and the value chosen
// initially. latest is the latest expiry allowed; if it is zero, the token need not
// expire. With keep the current expiry is a choice.
func lifetimesUntil(latest, now time.Time, keep bool) (choices []choice, chosen string) {
	if keep {
		choices, chosen = append(choices, choice{lifetimeKeep, text("lifetime.keep")}), lifetimeKeep
	}
	const usual = 90 * day
	exact := false // the last of these is the maximum itself
	for _, d := range []time.Duration{day, 7 * day, 30 * day, usual, 180 * day, 365 * day} {
		end := now.Add(d)
		if !latest.IsZero() && end.After(latest) {
			break
		}
		l := config.Lifetime{Duration: d}
		choices = append(choices, choice{l.String(), lifetimeLabel(l)})
		if !keep && d <= usual {
			chosen = l.String()
		}
		exact = end.Equal(latest)
	}
	switch {
	case latest.IsZero():
		l := config.Lifetime{Unlimited: true}
		choices = append(choices, choice{l.String(), lifetimeLabel(l)})
	case !exact && latest.After(now):
		choices = append(choices, choice{lifetimeLatest, text("lifetime.latest", latest.Format(time.DateOnly))})
		if chosen == "" {
			chosen = lifetimeLatest
		}
	}
	return append(choices, choice{lifetimeDate, text("lifetime.date")}), chosen
}

// expiryFields are the fields of a form for a token's expiry.
type expiryFields struct {
	Lifetimes []choice
	Today     string // the first date that can be the last day
	LastDay   string // the last such date; "" for any
}

// expiryFields returns the fields for an expiry that is at most latest, and sets the
// initial choice.
func (f *form) expiryFields(latest, now time.Time, keep bool) expiryFields {
	choices, chosen := lifetimesUntil(latest, now, keep)
	if !f.Has("lifetime") {
		f.Values.Set("lifetime", chosen)
	}
	fields := expiryFields{Lifetimes: choices, Today: now.Format(time.DateOnly)}
	if !latest.IsZero() {
		fields.LastDay = latest.UTC().Format(time.DateOnly)
	}
	return fields
}

// expiry reads the requested expiry from a form. latest is the latest one allowed, or
// zero. A token whose last day is the day of latest lives until latest.
func (f *form) expiry(latest, now time.Time) (asked manage.Expiry, err error) {
	switch chosen := f.Get("lifetime"); chosen {
	case "", lifetimeKeep:
	case lifetimeLatest:
		asked.At = latest
	case lifetimeDate:
		date, err := time.Parse(time.DateOnly, f.Get("until"))
		if err != nil {
			return asked, wrong(manage.FieldExpires, "lifetime.nodate")
		}
		asked.At = date.AddDate(0, 0, 1) // the end of the day
		if !latest.IsZero() && asked.At.After(latest) && !date.After(latest) {
			asked.At = latest
		}
	default:
		if asked.In, err = config.ParseLifetime(chosen); err != nil {
			return asked, wrong(manage.FieldExpires, "lifetime.unknown")
		}
	}
	return asked, nil
}

func lifetimeLabel(l config.Lifetime) string {
	switch {
	case l.Unlimited:
		return text("lifetime.unlimited")
	case l.Duration == 365*day:
		return text("lifetime.year")
	case l.Duration%day == 0:
		return text("time.days", int(l.Duration/day))
	}
	return l.String()
}

// spanChoices returns the durations of a filter, including the one the address has.
func spanChoices(asked string) (all []choice) {
	known := asked == ""
	for _, days := range []time.Duration{7, 14, 30, 90, 365} {
		l := config.Lifetime{Duration: days * day}
		all = append(all, choice{l.String(), lifetimeLabel(l)})
		known = known || asked == l.String()
	}
	if !known {
		all = append(all, choice{asked, asked})
	}
	return all
}

// maxManagement is the maximum lifetime of a management token.
var maxManagement = config.Lifetime{Duration: 365 * day}

// maxLifetimeOf returns the maximum lifetime of tokens that the caller creates.
func maxLifetimeOf(me *manage.Me) config.Lifetime {
	if me.Terms == nil {
		return config.Lifetime{Unlimited: true}
	}
	return me.Terms.MaxLifetime
}

// maxLifetimeFor returns the maximum lifetime of a token that the caller rotates or edits.
func maxLifetimeFor(me *manage.Me, t manage.Token) config.Lifetime {
	if t.Kind == store.Management {
		return maxManagement
	}
	return maxLifetimeOf(me)
}

// latest returns the latest expiry of a token whose lifetime begins now; zero: none.
func latest(most config.Lifetime, now time.Time) time.Time {
	if most.Unlimited {
		return time.Time{}
	}
	return now.Add(most.Duration)
}

// latestOf returns the latest expiry that an edit can give a token; zero: none. An edit
// begins no new lifetime: the limit is what a new token could have had when this one
// was created, or the current expiry if a rotation has set a later one.
func latestOf(me *manage.Me, t manage.Token) time.Time {
	most := maxLifetimeFor(me, t)
	end := t.Created.Add(most.Duration)
	switch {
	case most.Unlimited, t.Expires.IsZero():
		return time.Time{}
	case end.Before(t.Expires):
		return t.Expires
	}
	return end
}

// overlaps returns the choices of how long the old secret stays valid, up to most.
func overlaps(most time.Duration) (choices []choice) {
	choices = []choice{{"", text("overlap.none")}}
	for _, d := range []time.Duration{10 * time.Minute, time.Hour, day, 7 * day, most} {
		if l := (config.Lifetime{Duration: d}); d > 0 && d <= most && choices[len(choices)-1].Value != l.String() {
			choices = append(choices, choice{l.String(), text("overlap.for", span(d))})
		}
	}
	return choices
}

// usualOverlap returns the initial choice: a day, or the longest that is shorter.
func usualOverlap(choices []choice) string {
	usual := ""
	for _, c := range choices {
		if usual = c.Value; usual == "1d" {
			break
		}
	}
	return usual
}

// overlap reads the chosen overlap.
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
