package store

import "time"

// Day is a day of UTC, as the number of days since 1970-01-01.
type Day uint32

// DayOf returns the day in which t lies; that of 1970-01-01 for all before.
func DayOf(t time.Time) Day { return Day(max(t.Unix(), 0) / (24 * 60 * 60)) }

// Time returns the instant at which the day begins.
func (d Day) Time() time.Time { return time.Unix(int64(d)*24*60*60, 0).UTC() }

// String returns the day as 2006-01-02.
func (d Day) String() string { return d.Time().Format(time.DateOnly) }

// DayTotals says how many requests there were on a day, by a word for what came
// of them. The store knows nothing of the words.
type DayTotals struct {
	Day    Day
	Counts map[string]uint64
}

// KeepDays is the number of days whose totals a Store keeps. It is not by the
// calendar: a clock that was once wrong costs no more than one of them.
const KeepDays = 40
