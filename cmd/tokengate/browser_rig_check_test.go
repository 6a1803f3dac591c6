package main

import (
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/token"
)

// A browser logs in through Envoy with Jira's form, returns to the requested page, and
// manages tokens with its session.
func TestBrowserLogin(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]options{"at the root": {}, "in a context path": {context: "/jira"}} {
		t.Run(name, func(t *testing.T) {
			c := newPageCompany(t, o)
			b := newBrowser(t, c)
			b.login("alice")
			if at, status := b.location(), b.status(); at != "/secure/Dashboard.jspa" || status != 200 {
				t.Errorf("after the login at %s, %d", at, status)
			}
			if got := b.text("p"); got != "You are alice (alice), known by session." {
				t.Errorf("the dashboard says %q", got)
			}

			const there = "/secure/Dashboard.jspa?a=%22b%22&c=d#e"
			b.open("/login.jsp?os_destination=" + url.QueryEscape(there))
			b.logInHere("ada")
			if at := b.location(); at != there {
				t.Errorf("the login leads to %s, want %s", at, there)
			}
			if got := b.text("p"); got != "You are ada (ada), known by session." {
				t.Errorf("the dashboard says %q", got)
			}

			value := eval[string](b, `fetch("`+c.context+api+`", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"label":"x"}'})
				.then(r => r.json()).then(k => k.passwordValue)`)
			remember(t, value)
			c.myself(issued{value: mustParse(t, value)}, 200)
			var audit struct {
				Values []struct{ Actor, From string }
			}
			c.do(c.by("ada", "GET", "audit?action=token.create", ""), 200, &audit)
			if len(audit.Values) != 1 || audit.Values[0].Actor != "ada" || audit.Values[0].From != "10.1.2.3" {
				t.Errorf("the audit log: %+v", audit)
			}
			c.create("alice", `{"label":"by another client"}`)
		})
	}
}

// site serves pages by path: a body, a whole document, a status or a handler. Paths that
// begin with /strict have a Content-Security-Policy.
func site(t *testing.T, pages map[string]any) (addr string) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/strict") {
			w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:")
		}
		switch page := pages[r.URL.Path].(type) {
		case http.HandlerFunc:
			page(w, r)
		case int:
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(page)
			fmt.Fprint(w, "status ", page)
		case string:
			if strings.HasSuffix(r.URL.Path, ".js") {
				w.Header().Set("Content-Type", "text/javascript")
				_, _ = io.WriteString(w, page)
				return
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			if strings.HasPrefix(page, "<html>") {
				_, _ = io.WriteString(w, page)
				return
			}
			fmt.Fprintf(w, "<!DOCTYPE html>\n<html lang=\"en\"><head><title>A page</title></head><body>\n%s\n</body></html>\n", page)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(web.Close)
	return web.Listener.Addr().String()
}

// A browser reports what no page may do, and nothing else.
func TestBrowserNotices(t *testing.T) {
	t.Parallel()
	value, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	secret := value.Reveal()
	script := func(text string) string { return "<p>a page</p><script>" + text + "</script>" }
	tests := map[string]struct {
		page  any
		where string // appended to the path
		want  string // a prefix of the problem
	}{
		"error":            {page: script(`console.error("bad", {a: 1})`), want: `console.error: "bad" Object`},
		"warning":          {page: script(`console.warn("careful")`), want: `console.warning: "careful"`},
		"assertion":        {page: script(`console.assert(false, "not so")`), want: `console.assert: "not so"`},
		"exception":        {page: script(`throw new Error("thrown")`), want: "an exception: Uncaught Error: thrown"},
		"promise":          {page: script(`Promise.reject(new Error("rejected"))`), want: "an exception: Uncaught (in promise) Error: rejected"},
		"strict-inline":    {page: script(`1`), want: "error of security: Executing inline script violates"},
		"strict-style":     {page: `<p style="color: red">a page</p>`, want: "error of security: Applying inline style violates"},
		"strict-image":     {page: `<p>a page</p><img alt="" src="http://other.example.com/">`, want: "error of security: Loading the image"},
		"image":            {page: `<p>a page</p><img alt="" src="http://other.example.com/image">`, want: "a request to another origin: http://other.example.com/image"},
		"address":          {page: script(`fetch("http://127.0.0.1:8080/fetch").catch(() => {})`), want: "a request to another origin: http://127.0.0.1:8080/fetch"},
		"port":             {page: script(`fetch("http://jira.example.com:8080/").catch(() => {})`), want: "a request to another origin: http://jira.example.com:8080/"},
		"socket":           {page: script(`new WebSocket("ws://other.example.com/socket")`), want: "a request to another origin: ws://other.example.com/socket"},
		"tls":              {page: script(`fetch("https://jira.example.com/").catch(() => {})`), want: "a request to another origin: https://jira.example.com/"},
		"frame":            {page: `<p>a page</p><iframe title="x" src="http://other.example.com/frame"></iframe>`, want: "a request to another origin: http://other.example.com/frame"},
		"dialog":           {page: script(`alert("look")`), want: "a dialog: look"},
		"tab":              {page: script(`open("/ok.js")`), want: "something that is not watched: a page of"},
		"worker":           {page: script(`new Worker("/ok.js")`), want: "something that is not watched: a worker of"},
		"gone":             {page: 410, want: "error of network: Failed to load resource: the server responded with a status of 410"},
		"fetch":            {page: script(`fetch("/gone")`), want: "error of network: Failed to load resource: the server responded with a status of 410"},
		"quirks":           {page: `<html><title>x</title><p>a page</p>`, want: "an issue: QuirksModeIssue"},
		"query":            {page: "<p>a page</p>", where: "?x=" + secret, want: "a token in a URL: http://jira.example.com/query?x=" + token.Redact(secret)},
		"escaped":          {page: "<p>a page</p>", where: "?x=%74" + secret[1:], want: "a token in a URL: http://jira.example.com/escaped?x=" + token.Redact(secret)},
		"fragment":         {page: "<p>a page</p>", where: "#" + secret, want: "a token in a URL: http://jira.example.com/fragment#" + token.Redact(secret)},
		"asked":            {page: script(`fetch("/ok.js#` + secret + `")`), want: "a token in a URL: http://jira.example.com/ok.js#" + token.Redact(secret)},
		"history":          {page: script(`history.pushState({}, "", "?x=` + secret + `"); history.pushState({}, "", "/")`), want: "a token in a URL: http://jira.example.com/history?x=" + token.Redact(secret)},
		"title":            {page: script(`document.title = "` + secret + `"`), want: "a token in a URL: " + token.Redact(secret)},
		"beacon":           {page: script(`navigator.sendBeacon("/ok.js?` + secret + `")`), want: "a token in a URL: http://jira.example.com/ok.js?" + token.Redact(secret)},
		"token-on-console": {page: script(`console.log("made", "` + secret + `")`), want: `a token on the console: "made" "` + token.Redact(secret)},
	}
	pages := map[string]any{
		"/ok.js":       "1",
		"/good":        script(`console.log("well"); fetch("/ok.js"); document.title = "x"; history.pushState({}, "", "/?id=` + secret[:18] + `")`),
		"/strict-good": `<p>a page</p><img alt="" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="><script src="/ok.js"></script>`,
	}
	for path, test := range tests {
		pages["/"+path] = test.page
	}
	addr := site(t, pages)
	b := startBrowser(t, addr, "")
	// These come first, because some problems of the others are reported late.
	for _, path := range []string{"/good", "/strict-good"} {
		b.open(path)
		if got := b.problems(); len(got) != 0 {
			t.Errorf("%s: the browser reports %q", path, got)
		}
	}
	for path, test := range tests {
		b.open("/" + path + test.where)
		var got []string
		b.until("/"+path+" to be found out: "+test.want, func() bool {
			got = append(got, b.problems()...)
			return slices.ContainsFunc(got, func(problem string) bool { return strings.HasPrefix(problem, test.want) })
		})
		if strings.Contains(strings.Join(got, ""), secret) {
			t.Errorf("/%s: the problem contains the token's value", path)
		}
	}
	// No other host name resolves.
	_, port, _ := strings.Cut(addr, ":")
	for _, host := range []string{"127.0.0.1:" + port, "localhost:" + port, "other.example.com"} {
		if got := eval[string](b, `fetch("http://`+host+`/ok.js", {mode: "no-cors"}).then(() => "reached", () => "failed")`); got != "failed" {
			t.Errorf("%s was %s", host, got)
		}
	}
	b.open("/good")
	b.problems()
}

// A status is a problem unless the test expects it.
func TestBrowserAllowsStatus(t *testing.T) {
	t.Parallel()
	b := startBrowser(t, site(t, map[string]any{
		"/": `<p>a page</p><script>fetch("/refused").then(r => document.body.append(r.status))</script>`, "/refused": 403, "/gone": 410,
		"/around": `<p>a page</p><iframe title="gone" src="/gone"></iframe>`,
	}), "")
	for _, step := range []struct {
		allowed  []int
		path     string
		status   int
		problems int
	}{
		{[]int{403, 410}, "/", 200, 0}, {nil, "/gone", 410, 0}, {nil, "/refused", 403, 0}, {nil, "/around", 200, 0},
		{[]int{410}, "/gone", 410, 0}, {nil, "/refused", 403, 1},
		{[]int{}, "/gone", 410, 1},
	} {
		if step.allowed != nil {
			b.allowStatus(step.allowed...)
		}
		b.open(step.path)
		if got := b.problems(); b.status() != step.status || len(got) != step.problems {
			t.Errorf("%s, where %v are allowed: status %d, problems %q", step.path, step.allowed, b.status(), got)
		}
	}
}

// The browser acts and sees as a user does.
func TestBrowserHands(t *testing.T) {
	never := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	b := startBrowser(t, site(t, map[string]any{"/never": never, "/jira/next": "<h1>Next</h1>", "/jira/": `
		<style>:root { color-scheme: light dark } body { min-height: 2000px } @media (width < 500px) { h1 { display: none } }</style>
		<h1>A  form</h1><h2 hidden>Nowhere</h2><h2>Here</h2>
		<noscript><p id="without">without scripts</p></noscript>
		<form action="/jira/next">
		<label>Name <input name="name" value="before"></label>
		<label>Day <input name="day" type="date"></label>
		<label>Kind <select name="kind"><option>a<option>b</select></label>
		<label>More <textarea name="more"></textarea></label>
		<label><input name="check" type="checkbox"> Check</label>
		<button>Go</button>
		</form>
		<button id="later">Later</button>
		<script>
		later.onclick = e => fetch("/never", {signal: AbortSignal.timeout(300)}).catch(() => { later.insertAdjacentHTML("afterend", "<output>"+e.isTrusted+"</output>") })
		</script>`}), "/jira", asSecure)
	b.open("/")
	if got := b.text("h1") + ", " + b.text("h2"); got != "A form, Here" || b.has("h2[hidden]") || b.has("output, #without") || !b.has("form") {
		t.Errorf("the page shows %q", got)
	}
	b.click("#later")
	if !b.has("output") || b.text("output") != "true" {
		t.Error("the click was not trusted, or click did not wait for its request")
	}
	for name, value := range map[string]string{"name": `Zoë "x" 😀`, "day": "2030-01-31", "kind": "b", "more": "two\nlines"} {
		b.fill("[name="+name+"]", value)
	}
	b.fill("[name=name]", "")
	b.press("a", "Shift+Tab", "Tab", "End", "B", "Backspace", "c")
	b.click("[name=check]")
	b.press("Space", "Space", "Tab")
	b.submitBy("Enter")
	if at, title := b.location(), b.text("h1"); at != "/next?name=ac&day=2030-01-31&kind=b&more=two%0D%0Alines&check=on" || title != "Next" {
		t.Errorf("the form leads to %s, %s", at, title)
	}

	// The requests of the previous page are no longer waited for.
	eval[any](b, `(fetch("/never"), null)`)
	b.open("/")
	dark := func() bool { return eval[bool](b, `matchMedia("(prefers-color-scheme: dark)").matches`) }
	if dark() {
		t.Error("the page is dark")
	}
	b.emulate(400, 700, true)
	if !dark() || b.has("h1") {
		t.Error("the page is not dark, or not narrow")
	}
	file := filepath.Join(t.TempDir(), "pictures", "page.png")
	b.screenshot(file, 640)
	picture, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	if size, err := png.DecodeConfig(picture); err != nil || size.Width != 640 || size.Height < 2000 || b.has("h1") {
		t.Errorf("the screenshot is %d by %d: %v", size.Width, size.Height, err)
	}

	eval[any](b, `navigator.clipboard.writeText("copied")`)
	if got := b.clipboard(); got != "copied" {
		t.Errorf("the clipboard contains %q", got)
	}

	b.scripts(false)
	b.open("/")
	b.click("#later")
	if got := b.text("#without"); got != "without scripts" || b.has("output") {
		t.Errorf("without scripts the page shows %q", got)
	}
	b.submit("form button")
	if got := b.text("h1"); got != "Next" {
		t.Errorf("without scripts the form leads to %q", got)
	}
	b.scripts(true)
	b.open("/")
	if b.has("#without") {
		t.Error("the scripts stay off")
	}
}

// axe finds violations whatever the Content-Security-Policy of the page.
func TestBrowserAxe(t *testing.T) {
	t.Parallel()
	b := startBrowser(t, site(t, map[string]any{
		"/strict-good": `<main><h1>A page</h1><p>Good.</p></main>`,
		"/strict-bad":  `<main><h1>A page</h1><p><font color="#ccc">Pale.</font></p><img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="><input name="x"></main><p>Outside.</p><noscript><p id="off">Off.</p></noscript>`,
	}), "")
	for _, on := range []bool{true, false} {
		b.scripts(on)
		b.open("/strict-good")
		if got := b.axe(axeAll); len(got) != 0 {
			t.Errorf("scripts %v: found in a good page: %q", on, got)
		}
		b.open("/strict-bad")
		if b.has("#off") == on {
			t.Errorf("scripts %v: the page has the opposite", on)
		}
		got := b.axe(axeAll)
		for _, want := range []string{
			`color-contrast  serious  font  <font color="#ccc">Pale.</font>`, "image-alt  critical  img  <img", `label  critical  input  <input name="x">`,
			"region  moderate  body > p  <p>Outside.</p>",
		} {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, want) }) {
				t.Errorf("scripts %v: found %q, but not %s", on, got, want)
			}
		}
	}
}
