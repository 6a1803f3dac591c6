package page

import (
	"fmt"
	"strings"
	"text/template"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz/token"
)

// texts are the texts that Go code chooses by name, as plain text.
var texts = template.Must(template.New("").Funcs(template.FuncMap{
	"plural": plural,
	"shell":  func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" },
}).ParseFS(files, "templates/*.txt"))

// text returns a text by name, given what it is about, if anything. An unknown name is
// returned in brackets; a test finds them.
func text(name string, about ...any) string {
	var dot any
	if len(about) > 0 {
		dot = about[0]
	}
	var b strings.Builder
	if err := texts.ExecuteTemplate(&b, name, dot); err != nil {
		return "[" + name + "]"
	}
	return b.String()
}

// plural returns a number with a noun, which gets an s unless the number is 1.
func plural(n any, noun string) string {
	if digits := number(n); digits != "1" {
		return digits + " " + noun + "s"
	}
	return "1 " + noun
}

// number writes a non-negative integer with commas between thousands.
func number(n any) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// visible replaces the characters of a text that are invisible or change its direction.
// Line breaks stay.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) || r == '\n' {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// maxBrief is the length of a text in a listing, in characters.
const maxBrief = 120

// brief returns the beginning of a text, visible and without token secrets.
func brief(text string) string {
	text = visible(token.Redact(text))
	if utf8.RuneCountInString(text) <= maxBrief {
		return text
	}
	return string([]rune(text)[:maxBrief]) + "…"
}

// timestamp is a time as a page shows it.
type timestamp struct {
	Text    string // relative to now, in words
	Full    string // the date and time in UTC
	Machine string // RFC 3339
}

// when returns a nonzero time, relative to now.
func when(at, now time.Time) timestamp {
	at = at.UTC()
	return timestamp{
		Text:    relative(at.Sub(now)),
		Full:    at.Format("2006-01-02 15:04 UTC"),
		Machine: at.Format(time.RFC3339),
	}
}

// optionalTime is when for a time that may be zero, for which it returns nil.
func optionalTime(at, now time.Time) *timestamp {
	if at.IsZero() {
		return nil
	}
	return new(when(at, now))
}

// relative describes a time that is d from now.
func relative(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return text("time.in", span(d))
	case d > 0:
		return text("time.soon")
	case d > -time.Minute:
		return text("time.now")
	}
	return text("time.ago", span(-d))
}

// span describes a duration in its largest unit, rounded to the nearest.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		name   string
		length time.Duration
		least  time.Duration
	}{
		{"time.years", 365 * day, 2 * 365 * day},
		{"time.months", 365 * day / 12, 181 * day},
		{"time.days", day, 36 * time.Hour},
		{"time.hours", time.Hour, 90 * time.Minute},
	} {
		if d >= unit.least {
			return text(unit.name, int((d+unit.length/2)/unit.length))
		}
	}
	return text("time.minutes", int((d+time.Minute/2)/time.Minute))
}
