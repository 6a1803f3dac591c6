package main

import (
	"strings"
	"testing"
)

func TestCell(t *testing.T) {
	for text, want := range map[string]string{
		"":                 "-",
		"-":                `"-"`,
		"build server":     "build server",
		"Fred's <b> 100 %": "Fred's <b> 100 %",
		`DOMAIN\fred`:      `DOMAIN\fred`,
		"Müller 世界":        "Müller 世界",
		"two  cells":       `"two  cells"`,
		" before":          `" before"`,
		"after ":           `"after "`,
		`"quoted"`:         `"\"quoted\""`,
		"line\nbreak":      `"line\nbreak"`,
		"tab\tstop":        `"tab\tstop"`,
		"clear\x1b[2J":     `"clear\x1b[2J"`,
		"back\u202ewards":  `"back\u202ewards"`,
		"none\u200bwidth":  `"none\u200bwidth"`,
		"wide\u3000space":  `"wide\u3000space"`,
		"no\u00a0break":    `"no\u00a0break"`,
		"no text \xff":     `"no text \xff"`,
		"del\x7f":          `"del\x7f"`,
	} {
		if got := cell(text); got != want {
			t.Errorf("cell(%q) is %s, want %s", text, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"There is no field \"x\" here.": "There is no field \"x\" here.",
		"a\x1b[2J\nb\u202ec":            `a\x1b[2J\nb\u202ec`,
		"it's":                          "it's",
		"":                              "",
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) is %s, want %s", text, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := (table{{"ID", "NAME"}, {"1", "long name"}, {"22", "x"}}).print(&b); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "ID  NAME\n1   long name\n22  x\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
