package jiratest

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestDispatch compares dispatch with what real Tomcats did.
func TestDispatch(t *testing.T) {
	f, err := os.Open("../../../../testdata/paths/corpus.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unquote := func(s string) string {
		u, err := strconv.Unquote(s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		return u
	}
	rows := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		columns := strings.Split(lines.Text(), "\t")
		if len(columns) != 6 {
			t.Fatalf("%q: %d columns, want 6", lines.Text(), len(columns))
		}
		tomcat, outcome := columns[0], columns[3]
		target, wantPath, wantSession := unquote(columns[2]), unquote(columns[4]), unquote(columns[5])
		if !strings.HasSuffix(tomcat, "10") {
			continue
		}
		rows++
		path, session, err := dispatch(target)
		switch outcome {
		case "400":
			if err == nil {
				t.Errorf("dispatch(%q) = %q, Tomcat answers 400", target, path)
			}
		case "302", "404": // outside the context path, at it, or in WEB-INF
			if err != nil {
				t.Errorf("dispatch(%q): %v, Tomcat answers %s", target, err, outcome)
			}
		default:
			if err != nil || path != wantPath || session != wantSession {
				t.Errorf("dispatch(%q) = %q, %q, %v, Tomcat: %q, %q", target, path, session, err, wantPath, wantSession)
			}
		}
	}
	if rows < 1000 {
		t.Errorf("%d rows compared, want at least 1000", rows)
	}
}

func TestCanonical(t *testing.T) {
	for path, want := range map[string]string{
		"/":                              "/",
		"/secure/x.json":                 "/secure/x.json",
		"/rest":                          "/rest",
		"/rest/":                         "/rest",
		"/rest/api/latest/myself":        "/rest/api/2/myself",
		"/rest/api/2.0/myself.json":      "/rest/api/2/myself",
		"/rest/api/2/myself/":            "/rest/api/2/myself",
		"/rest/auth/latest/session.xml":  "/rest/auth/1/session",
		"/s/abc/-/_/rest/auth/1/session": "/rest/auth/1/session",
		"/s/abc/_/images/x.png":          "/images/x.png",
		"/s/abc/rest/auth/1/session":     "/s/abc/rest/auth/1/session",
	} {
		if got := canonical(path); got != want {
			t.Errorf("canonical(%q) = %q, want %q", path, got, want)
		}
	}
}
