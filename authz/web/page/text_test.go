package page

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

// literals returns the string literals of the package's sources, without tests and
// without the arguments of fmt.Errorf, whose errors are logged only.
func literals(t *testing.T) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				return false
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Errorf" {
					return false
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					value, err := strconv.Unquote(n.Value)
					if err != nil {
						t.Fatal(err)
					}
					all[value] = true
				}
			}
			return true
		})
	}
	return all
}

// Texts that users see are in the templates, not in Go files.
func TestNoTextInGo(t *testing.T) {
	words := regexp.MustCompile(`\pL\pL,? \pL|^\p{Lu}\p{Ll}+$`)
	for literal := range literals(t) {
		if words.MatchString(literal) && literal != "Location" {
			t.Errorf("%q belongs into templates/texts.txt", literal)
		}
	}
}

// Every text that Go code uses exists, and every text that exists is used.
func TestTexts(t *testing.T) {
	used := make(map[string]bool)
	for literal := range literals(t) {
		if texts.Lookup(literal) != nil {
			used[literal] = true
		}
	}
	source := regexp.MustCompile(`(?:text|problem|wrong)\((?:[\w.]+, ){0,2}"([a-z]+\.[\w.]*\w)"[,)]`)
	for _, name := range []string{"*.go", "templates/*.html"} {
		for _, body := range read(t, name) {
			for _, m := range source.FindAllStringSubmatch(body, -1) {
				used[m[1]] = true
			}
		}
	}
	// Composed names.
	for _, s := range manage.States {
		used["state."+string(s)], used["state."+string(s)+".why"] = true, true
	}
	for _, a := range actions {
		for _, part := range []string{"", ".question", ".text"} {
			used["confirm."+a.word+part] = true
		}
	}
	for _, word := range notices {
		used["done."+word] = true
	}
	for _, o := range []authz.Outcome{authz.Denied, authz.PassThrough, authz.Allowed} {
		used["explain."+o.String()] = true
	}
	used["explain."+authz.Decision{Reason: authz.SessionKept}.Result()] = true
	for _, word := range []string{"name", "user", "created", "expires", "used", "uses"} {
		used["column."+word] = true
	}
	for _, state := range []store.UpstreamState{0, store.UpstreamActive, store.UpstreamBroken} {
		used["connection."+stateName(state)], used["connection."+stateName(state)+".why"] = true, true
	}
	for _, word := range []string{"unused", "never", "soon", "suspended", "connected", "broken", "ends30", "ends14", "ends3"} {
		used["insights."+word], used["insights."+word+".why"] = true, true
	}
	for _, s := range policy.NewAccess(config.Default()).Settings() {
		section, _, _ := strings.Cut(s.Key, ".")
		used["settings."+section] = true
	}
	for _, name := range []string{"curl.user", "curl.bearer", "python", "fetch", "xhr", "jquery", "java"} {
		used["example."+name], used["example."+name+".title"] = true, true
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if texts.Lookup(name) == nil {
			t.Errorf("there is no text %q", name)
		}
	}
	for _, text := range texts.Templates() {
		if name := text.Name(); !used[name] && !strings.HasSuffix(name, ".txt") {
			t.Errorf("the text %q is not used", name)
		}
	}
	if got := text("no.such"); got != "[no.such]" {
		t.Errorf("an unknown text is %q", got)
	}
}

// read returns the package's files that match a pattern, without tests.
func read(t *testing.T, pattern string) (all []string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(body))
	}
	return all
}

func TestPlural(t *testing.T) {
	for n, want := range map[any]string{0: "0 tokens", 1: "1 token", uint64(1): "1 token", 2: "2 tokens", 999: "999 tokens", 1000: "1,000 tokens", uint64(1234567): "1,234,567 tokens"} {
		if got := plural(n, "token"); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
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

func TestWhen(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "just now"}, {-59 * time.Second, "just now"}, {time.Second, "in less than a minute"}, {-time.Minute, "1 minute ago"},
		{59 * time.Minute, "in 59 minutes"}, {-time.Hour, "60 minutes ago"}, {35 * time.Hour, "in 35 hours"}, {47 * time.Hour, "in 2 days"}, {2 * day, "in 2 days"},
		{90*day - time.Second, "in 90 days"}, {-179 * day, "179 days ago"}, {365 * day, "in 12 months"}, {730 * day, "in 2 years"}, {-10000 * day, "27 years ago"},
	} {
		if got := when(noon.Add(c.d), noon).Text; got != c.want {
			t.Errorf("%v: %q, want %q", c.d, got, c.want)
		}
	}
	m := when(noon.In(time.FixedZone("x", 3600)), noon)
	if m.Full != "2026-03-01 12:00 UTC" || m.Machine != "2026-03-01T12:00:00Z" {
		t.Errorf("%+v", m)
	}
}
