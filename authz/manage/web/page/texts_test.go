package page

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
)

// Every text that the pages ask for is there, and every one that is there is asked
// for.
func TestTexts(t *testing.T) {
	used := map[string]bool{}
	ask := func(key string) {
		if _, ok := texts[key]; !ok {
			t.Errorf("there is no text %q", key)
		}
		used[key] = true
	}
	read := func(dir, pattern string) {
		names, err := fs.Glob(files, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			body, err := fs.ReadFile(files, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(body), -1) {
				ask(m[2])
				if m[1] == "n" {
					ask(m[2] + ".one")
				}
			}
		}
	}
	read("templates/*.html", `[({ ](t|n) "([\w.]+)"`)
	source := readSources(t)
	for _, m := range regexp.MustCompile(`(?:(?:text|add|problem)\((?:[\w.]+, ){0,2}|wrong\([\w.\"]+, )"([\w.]+\w)"[,)]`).FindAllStringSubmatch(source, -1) {
		ask(m[1])
	}
	for _, m := range regexp.MustCompile(`count\("([\w.]+)"`).FindAllStringSubmatch(source, -1) {
		ask(m[1])
		ask(m[1] + ".one")
	}
	for _, m := range regexp.MustCompile(`(?:return|key :?=|title :?=|\{) ?"([a-z]+\.[\w.]+\w)"`).FindAllStringSubmatch(source, -1) {
		ask(m[1])
		if strings.HasPrefix(m[1], "time.") && m[1] != "time.in" && m[1] != "time.ago" {
			ask(m[1] + ".one")
		}
	}
	// Keys that are put together.
	for _, s := range manage.States {
		ask("state." + string(s))
		ask("state." + string(s) + ".why")
	}
	for _, d := range actions {
		ask("confirm." + d.word)
		ask("confirm." + d.word + ".question")
		ask("confirm." + d.word + ".text")
		ask("confirm." + d.word + ".button")
		ask("done." + d.done)
		if !slices.Contains(notices, d.done) {
			t.Errorf("nothing is said when it is %s", d.done)
		}
	}
	for _, word := range notices {
		ask("done." + word)
	}
	for _, status := range []int{400, 401, 403, 404, 409, 429, 500, 503} {
		ask("problem.title." + number(titleFor(status)))
		ask(textFor(status))
	}
	for _, o := range []authz.Outcome{authz.Denied, authz.PassThrough, authz.Allowed} {
		ask("explain." + o.String())
	}
	ask("explain." + authz.Decision{Reason: authz.SessionKept}.Result())
	for _, word := range []string{"name", "user", "created", "expires", "used", "uses"} {
		ask("column." + word)
	}
	for _, word := range []string{"unused", "never", "soon", "suspended"} {
		ask("insights." + word)
		ask("insights." + word + ".why")
	}
	for _, word := range []string{"7d", "14d", "30d", "90d", "365d"} {
		ask("filter.within." + word)
	}
	for _, r := range policy.NewAccess(config.Default()).Settings() {
		part, _, _ := strings.Cut(r.Key, ".")
		ask("settings." + part)
	}
	ask("outcome.done")
	ask("outcome.refused")
	for key := range texts {
		if !used[key] {
			t.Errorf("nobody asks for the text %q", key)
		}
	}
}

// What is said of what was done takes the name of a token, where it is about one.
func TestNotices(t *testing.T) {
	for _, word := range notices {
		about := word != "changed" && word != "unchanged" && word != "all"
		if got := strings.Contains(texts["done."+word], "%s"); got != about {
			t.Errorf("%s: %q", word, texts["done."+word])
		}
	}
}

// A text for one thing and one for several take what is counted.
func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 tokens", 1: "1 token", 2: "2 tokens", 1234567: "1,234,567 tokens"} {
		if got := count("tokens.found", n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if got := text("no.such"); got != "[no.such]" {
		t.Errorf("a text that is not there is %q", got)
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain":         "plain",
		"two\nlines":    "two\nlines",
		"a\u202eb\x00c": "a�b�c",
		"שלום 😀":        "שלום 😀",
		"\u200ex\u2066": "�x�",
	} {
		if got := visible(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
