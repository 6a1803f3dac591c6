package page

import (
	"time"
)

// timestamp is an instant as a page shows it.
type timestamp struct {
	Text    string // how long it is from now, in words
	Full    string // the date, in UTC
	Machine string // RFC 3339
}

// when returns an instant that is not zero, seen from now.
func when(at, now time.Time) timestamp {
	at = at.UTC()
	return timestamp{
		Text:    relative(at.Sub(now)),
		Full:    at.Format("2006-01-02 15:04 UTC"),
		Machine: at.Format(time.RFC3339),
	}
}

// relative says in words how far away something is.
func relative(d time.Duration) string {
	ago := d <= 0
	if ago {
		d = -d
	}
	if d < time.Minute {
		if ago {
			return text("time.now")
		}
		return text("time.soon")
	}
	key := "time.in"
	if ago {
		key = "time.ago"
	}
	return text(key, span(d))
}

// span is a length of time in its largest unit, rounded to the nearest.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		word   string
		length time.Duration
		least  time.Duration
	}{
		{"time.years", 365 * day, 2 * 365 * day},
		{"time.months", 365 * day / 12, 181 * day},
		{"time.days", day, 36 * time.Hour},
		{"time.hours", time.Hour, 90 * time.Minute},
		{"time.minutes", time.Minute, 0},
	} {
		if d >= unit.least {
			return count(unit.word, int((d+unit.length/2)/unit.length))
		}
	}
	return ""
}
