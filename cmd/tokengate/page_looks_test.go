package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

var screenshots = flag.String("screenshots", "", "write screenshots of the pages into this folder")

// look is a state of a page that is tested for its looks.
type look struct {
	name, path string
	do         func(*browser) // after opening the page
}

// newLooks returns a company with statistics of the last 30 days.
func newLooks(t *testing.T) *company {
	t.Helper()
	return newPageCompany(t, options{before: func(dir string) {
		db, err := badger.Open(t.Context(), badger.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		today := store.DayOf(time.Now())
		for ago := range 30 {
			n := uint64(ago)
			counts := map[string]uint64{
				"allowed": 900 + 37*(n*n%31), "password_unknown_user": 3,
				"expired": n * 5 % 23, "wrong_secret": n * 7 % 11, "read_only": n * 3 % 17, "network_not_allowed": n % 6, "rate_limited": n * 11 % 7, "disabled": n % 2,
			}
			if (today-store.Day(ago))%7 < 2 {
				counts["allowed"] /= 3
			}
			if err := db.AddTotals(t.Context(), today-store.Day(ago), counts); err != nil {
				t.Fatal(err)
			}
		}
		before := func(hours int) time.Time { return time.Now().Add(-time.Duration(hours) * time.Hour) }
		_, err = db.AddPasswordUses(t.Context(), []store.PasswordUse{
			{User: "rita", Client: "python-requests/2.31", Address: netip.MustParseAddr("10.4.0.9"), First: before(900), Last: before(3), Passed: 4180},
			{User: "rita", Client: "curl/8.5.0", Address: netip.MustParseAddr("10.4.0.9"), First: before(900), Last: before(50), Passed: 12},
			{User: "rob", Client: "Jenkins <b>2.440</b>\u202e", Address: netip.MustParseAddr("10.7.1.20"), First: before(900), Last: before(30), Passed: 391},
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}})
}

// looks adds tokens to a company and returns looks by user: of every kind of page, and
// of the results of forms and dialogs.
func looks(c *company) map[string][]look {
	c.t.Helper()
	names := []string{"nightly report", "ci pipeline", "on-call rota <script>", "Grafana dashboards of the platform team", "דוח לילה"}
	var ids []string
	for i, name := range names {
		k := c.create("alice", fmt.Sprintf(`{"label":%q,"readOnly":%v,"expiresInDays":%d,"purpose":"made by a test","networks":%s}`,
			name, i%2 == 0, 10+20*i%80, []string{`[]`, `["10.1.0.0/16","192.0.2.7","2001:db8::/32"]`}[i%2]))
		ids = append(ids, k.ID)
		if i%2 == 1 {
			c.myself(k, 200)
		}
	}
	c.create("ada", `{"label":"deployment","user":"rob","expiresIn":"unlimited"}`)
	c.create("ada", `{"label":"automation","type":"management","expiresIn":"30d","networks":["10.0.0.0/8"]}`)
	pending := c.create("vic", `{"label":"vendor sync","networks":["10.0.0.0/8"],"purpose":"copies issues to our own tracker, every hour"}`)
	c.create("vic", `{"label":"second","networks":["10.0.0.0/8"]}`)
	c.do(c.by("ada", "POST", ids[1]+"/disable", ""), 204, nil)
	c.do(c.by("alice", "DELETE", ids[2], ""), 204, nil)
	dialog := func(b *browser) { b.click("a[data-dialog]") }
	wrong := func(b *browser) {
		b.fill("#name", "x")
		b.fill("#networks", "10.1.2.3/8")
		b.allowStatus(400)
		b.submit("form.fields button.primary")
		b.allowStatus()
	}
	issue := func(b *browser) {
		b.fill("#name", "release notes")
		b.submit("form.fields button.primary")
		b.value()
	}
	again := func(b *browser) { // sends the form twice
		b.fill("#name", "board sync")
		eval[bool](b, `fetch(location.href, {method: "POST", body: new URLSearchParams(new FormData(document.querySelector("main form")))}).then(r => r.ok)`)
		b.allowStatus(409)
		b.submit("form.fields button.primary")
		b.allowStatus()
	}
	return map[string][]look{
		anonymous: {{"login", "?login=true", nil}},
		"nell":    {{"no-permission", "", nil}},
		"vic": {
			{"own-pending", "", nil},
			{"create-pending", "/new", nil},
			{"issued-pending", "/new", func(b *browser) {
				b.fill("#networks", "10.0.0.0/8")
				issue(b)
			}},
		},
		"rita": {{"own-empty", "", nil}},
		"alice": {
			{"own", "", nil},
			{"own-all", "?show=all", nil},
			{"own-dialog", "", dialog},
			{"create", "/new", nil},
			{"create-date", "/new", func(b *browser) { b.fill("#lifetime", "date") }},
			{"create-wrong", "/new", wrong},
			{"issued", "/new", issue},
			{"token", "/token/" + ids[3], nil},
			{"rotate", "/token/" + ids[0] + "/rotate", nil},
			{"edit", "/token/" + ids[3] + "/edit", nil},
			{"revoke", "/token/" + ids[0] + "/revoke", nil},
			{"revoke-all", "/revoke-all", nil},
			{"explain", "/explain?id=" + ids[0], func(b *browser) {
				b.fill("#method", "POST")
				b.fill("#path", "/rest/api/2/issue")
				b.submit("form.fields button.primary")
			}},
			{"forbidden", "/tokens", nil},
			{"again", "/new", again},
			{"rotated", "/token/" + ids[0] + "/rotate", func(b *browser) {
				b.submit("form.fields button.primary")
				b.value()
			}},
			{"changed", "/token/" + ids[0] + "/edit", func(b *browser) {
				b.fill("#purpose", "changed by a test")
				b.submit("form.fields button.primary")
			}},
		},
		"ada": {
			{"tokens", "/tokens", nil},
			{"tokens-more", "/tokens?type=ordinary&sort=name", nil},
			{"tokens-of", "/tokens?user=alice", nil},
			{"tokens-none", "/tokens?name=nothing", nil},
			{"pending", "/pending", nil},
			{"approve", "/token/" + pending.ID + "/approve", nil},
			{"insights", "/insights", nil},
			{"audit", "/audit", nil},
			{"settings", "/settings", nil},
			{"nothing", "/nothing", nil},
		},
	}
}

// anonymous is a user without a session.
const anonymous = ""

// looker returns a browser with the session of a user.
func (c *company) looker(name string) *browser {
	c.t.Helper()
	if name == anonymous {
		return newBrowser(c.t, c)
	}
	return c.person(name)
}

// visit brings up a look.
func (b *browser) visit(l look) {
	b.t.Helper()
	if slices.Contains([]string{"login", "forbidden", "nothing"}, l.name) {
		b.allowStatus(401, 403, 404)
		defer b.allowStatus()
	}
	b.open(config.PagePath + l.path)
	if l.do != nil {
		l.do(b)
	}
}

// Every page passes axe in light and dark, fits into 320 pixels, and can be used with the
// Tab key. With -screenshots it is photographed too.
func TestPageLooks(t *testing.T) {
	t.Parallel()
	c := newLooks(t)
	c.checkLooks(looks(c))
}

// checkLooks tests looks, by user.
func (c *company) checkLooks(all map[string][]look) {
	t := c.t
	t.Helper()
	for who, pages := range all {
		b := c.looker(who)
		for _, l := range pages {
			passes := func(scheme, checks string) {
				t.Helper()
				for _, violation := range b.axe(checks) {
					t.Errorf("%s, %s: %s", l.name, scheme, violation)
				}
				b.picture(l.name+"-"+scheme, b.width)
			}
			b.emulate(1280, 800, false)
			b.visit(l)
			passes("light", axeAll)
			b.emulate(1280, 800, true)
			passes("dark", axeColours)
			b.emulate(320, 640, false)
			passes("narrow", axePlaces)
			if wide := eval[int](b, "document.documentElement.scrollWidth"); wide > 320 {
				t.Errorf("%s is %d pixels wide: %v", l.name, wide, eval[[]string](b, `[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > 320 && !e.closest("pre")).slice(0, 5).map(e => e.outerHTML.slice(0, 120))`))
			}
			b.emulate(1280, 800, false)
			b.checkTab(l.name)
		}
	}
}

func (b *browser) picture(name string, width int) {
	b.t.Helper()
	if *screenshots != "" {
		b.screenshot(filepath.Join(*screenshots, name+".png"), width)
	}
}

// checkTab checks that the Tab key reaches every control of the page, or of the open dialog, in
// document order (tabIndex 0), and that the focused control is marked.
func (b *browser) checkTab(name string) {
	b.t.Helper()
	b.press("Tab") // controls that get the focus from a script after a key are marked as well
	for _, problem := range eval[[]string](b, `(() => {
		const inside = document.querySelector("dialog[open]") || document;
		const unreachable = e => e.tabIndex !== 0 ? "is not in the order of the document" :
			(e.focus(), document.activeElement !== e) ? "gets no focus" :
			e.type !== "date" && getComputedStyle(e).outlineStyle === "none" ? "has no outline" : "";
		return [...inside.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
			.filter(e => e.type !== "hidden" && e.checkVisibility({visibilityProperty: true}))
			.map(e => [unreachable(e), e.outerHTML.slice(0, 120)]).filter(([problem]) => problem).map(found => found.join(": "));
	})()`) {
		b.t.Errorf("%s: a control %s", name, problem)
	}
}

// A token is created, restricted and revoked with the keyboard only.
func TestPageByKeyboard(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	b := c.person("alice")
	b.open(config.PagePath)
	b.tabTo(`a[href$="/new"]`)
	b.submitBy("Enter")
	b.tabTo("#name")
	b.press("k", "e", "y", "s")
	b.tabTo("#lifetime")
	b.press("ArrowUp") // from 90 days to 30
	b.tabTo("[name=readOnly]")
	b.press("Space")
	b.tabTo("[name=here]")
	b.press("Space")
	b.tabTo("form.fields button.primary")
	b.submitBy("Enter")
	k := b.value()
	c.myself(k, 200)
	b.tabTo("main p > a.button")
	b.submitBy("Enter")
	shown := b.text("main")
	for _, part := range []string{"keys", "Read-only", "10.1.2.3", "in 30 days"} {
		if !strings.Contains(shown, part) {
			t.Errorf("the token's page lacks %q: %s", part, shown)
		}
	}
	revoke := `a[href$="/revoke"]`
	b.tabTo(revoke)
	b.press("Enter")
	if !b.has("dialog") {
		b.fatalf("there is no dialog")
	}
	b.press("Escape")
	if b.has("dialog") || !eval[bool](b, "document.activeElement.matches("+quote(revoke)+")") {
		t.Error("the dialog does not close, or the focus is lost")
	}
	b.press("Enter")
	b.tabTo("dialog button.danger")
	b.submitBy("Enter")
	c.myself(k, 401)
	// The first Tab stop skips the navigation without loading a page, so that neither
	// entered values nor the token's value are lost.
	k = b.createByPage("skipped", func() {
		eval[bool](b, "(document.activeElement.blur(), scrollTo(0, 0), window.still = true)")
		b.tabTo("a.skip")
		b.press("Enter")
		if !eval[bool](b, `document.activeElement.id === "main" && window.still === true`) || at[string](b, "#name", "e.value") != "skipped" {
			t.Error("the skip link does not lead to the content, or loads a page")
		}
	})
	b.tabTo("a.skip")
	b.press("Enter")
	if b.value().PasswordValue != k.PasswordValue {
		t.Error("the value is lost")
	}
}

// An administrator finds, sorts, approves and copies with the keyboard only.
func TestPageAdministrationByKeyboard(t *testing.T) {
	c := newPageCompany(t, options{})
	k := c.create("vic", `{"label":"vendor sync","networks":["10.0.0.0/8"]}`)
	c.create("alice", `{"label":"other"}`)
	b := c.person("ada", asSecure)
	b.open(config.PagePath)
	b.tabTo(`nav a[href$="/tokens"]`)
	b.submitBy("Enter")
	b.tabTo("#f-name")
	b.press("v", "e", "n")
	b.until("the one token", func() bool { return b.text(".found") == "1 token" })
	b.tabTo("summary")
	b.press("Space")
	b.tabTo("[name=neverUsed]")
	b.press("Space")
	b.until("the filter", func() bool { return strings.Contains(b.location(), "neverUsed=true") })
	b.tabTo("#sort-uses")
	b.press("Enter")
	b.until("the order", func() bool { return strings.Contains(b.location(), "sort=uses") })
	b.tabTo(`a[href*="/approve?"]`)
	b.press("Enter")
	b.tabTo("dialog button.primary")
	b.submitBy("Enter")
	c.myself(k, 200)
	issued := b.createByPage("by hand", nil)
	b.tabTo(`button[data-copy="value"]`)
	b.press("Enter")
	b.until("the button to say Copied", func() bool { return b.text(`button[data-copy="value"]`) == "Copied" })
	if b.clipboard() != issued.PasswordValue {
		t.Error("the clipboard does not contain the value")
	}
	b.tabTo(`nav a[href$="/explain"]`)
	b.submitBy("Enter")
	b.tabTo("#id")
	b.press(strings.Split(issued.ID, "")...)
	b.tabTo("form.fields button.primary")
	b.submitBy("Enter")
	if got := b.text("#result"); got != "This request would be allowed." {
		t.Errorf("the result is %q", got)
	}
}

// tabTo presses Tab until an element has the focus.
func (b *browser) tabTo(selector string) {
	b.t.Helper()
	for range 100 {
		if eval[bool](b, "document.activeElement.matches("+quote(selector)+")") {
			return
		}
		b.press("Tab")
	}
	b.fatalf("Tab does not lead to %s", selector)
}
