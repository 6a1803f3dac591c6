package authz

import (
	"bufio"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/index"
)

// dispatch is how a real Tomcat dispatched a request target.
type dispatch struct {
	line    int
	context string
	target  string
	servlet string // rest, servlet, default; or a status, where none ran
	path    string // contextPath + servletPath + pathInfo
	session string // the session asked for in the path
}

func (d dispatch) ran() bool { return d.servlet[0] >= 'a' }

func corpus(t *testing.T) (rows []dispatch) {
	t.Helper()
	file, err := os.Open("../testdata/paths/corpus.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		columns := strings.Split(lines.Text(), "\t")
		if len(columns) != 6 {
			t.Fatalf("line %d has %d columns", n, len(columns))
		}
		text := func(i int) string {
			s, err := strconv.Unquote(columns[i])
			if err != nil {
				t.Fatalf("line %d: %v", n, err)
			}
			return s
		}
		rows = append(rows, dispatch{n, text(1), text(2), columns[3], text(4), text(5)})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(rows) < 1000 {
		t.Fatalf("the corpus has %d rows only", len(rows))
	}
	return rows
}

// Unless a target is ambiguous, the checks see the path that Tomcat dispatches.
func TestPathsMatchTomcat(t *testing.T) {
	plain := 0
	for _, row := range corpus(t) {
		raw, _, _ := strings.Cut(row.target, "?")
		got := parseTarget(new(memory), raw, &policy.Policy{Product: jira.Product, ContextPath: row.context})
		if got.ambiguous || !row.ran() {
			continue
		}
		plain++
		if decoded := string([]rune(decodePath(new(memory), raw))); decoded != row.path {
			t.Errorf("line %d: %q is decided on as %q, Tomcat runs %q", row.line, row.target, decoded, row.path)
		}
		if got.isREST != (row.servlet == "rest") {
			t.Errorf("line %d: %q: taken for REST: %v, Tomcat runs %s", row.line, row.target, got.isREST, row.servlet)
		}
		if row.session != "" {
			t.Errorf("line %d: %q asks for session %q and is not ambiguous", row.line, row.target, row.session)
		}
	}
	if plain < 500 {
		t.Errorf("only %d targets were compared: the rule refuses too much, or the corpus is thin", plain)
	}
}

// A token gets 400 on an ambiguous target, and a password matches no exemption.
func TestAmbiguousTargets(t *testing.T) {
	value, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	tokens := &index.Index{}
	tokens.SetTokensFresh(store.Forever)
	tokens.UpdateOwnerStatus(func(store.Owner, index.OwnerStatus) index.OwnerStatus { return index.OwnerPermitted }, store.Forever)
	tokens.Put(store.Token{ID: value.ID().String(), Owner: store.Owner{Name: "fred"}, State: store.Active, Secret: store.Secret{Hash: value.Hash([16]byte{})}})
	ambiguous := 0
	for _, row := range corpus(t) {
		settings := config.Default()
		settings.Upstream.ContextPath = row.context
		settings.Tokens.Paths = []string{"/"}
		settings.Passwords.Mode = config.PasswordsBlock
		settings.Passwords.AllowedPaths = []string{"*"}
		view := View{Policy: policy.New(settings), Index: tokens, Now: time.Unix(1e9, 0)}
		raw, _, _ := strings.Cut(row.target, "?")
		if ambiguity(raw, row.context) == 0 {
			continue
		}
		ambiguous++
		r := &Request{Method: "GET", Path: row.target, Client: netip.MustParseAddr("127.0.0.1"), Authorization: "Bearer " + value.Reveal()}
		if d := Decide(r, view); d.Reason != AmbiguousPath || d.Reason.Status() != 400 {
			t.Errorf("line %d: a token on %q: %v", row.line, row.target, d.Reason)
		}
		r.Authorization = "Basic ZnJlZDpw"
		if d := Decide(r, view); d.Reason != PasswordBlocked {
			t.Errorf("line %d: a password on %q: %v", row.line, row.target, d.Reason)
		}
	}
	if ambiguous < 500 {
		t.Errorf("only %d targets are ambiguous", ambiguous)
	}
}

// A login over REST is recognized in every spelling.
func TestSessionLoginSpellings(t *testing.T) {
	login := regexp.MustCompile(`^(/jira)?(/s/.*/_)?/rest/auth/[^/]+/session(\.\w+)?/?$`)
	seen := 0
	for _, row := range corpus(t) {
		if !row.ran() || !login.MatchString(row.path) {
			continue
		}
		seen++
		if raw, _, _ := strings.Cut(row.target, "?"); !isSessionLogin(new(memory), raw, jira.Product.Session.Pattern()) {
			t.Errorf("line %d: %q reaches %q unseen", row.line, row.target, row.path)
		}
	}
	if seen < 100 {
		t.Errorf("only %d logins in the corpus", seen)
	}
}
