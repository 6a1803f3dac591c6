package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger/badgertest"
)

// A user creates a token in the browser, copies its value, uses it and sees its use. No
// other page shows the value.
func TestPageCreate(t *testing.T) {
	c := newPageCompany(t, options{})
	b := c.person("alice", asSecure)
	k := b.createByPage("nightly report", func() {
		b.fill("#networks", "10.1.0.0/16")
		b.fill("#lifetime", "30d")
	})
	b.click(`button[data-copy="value"]`)
	b.until("the button to say Copied", func() bool { return b.text(`button[data-copy="value"]`) == "Copied" })
	if b.clipboard() != k.PasswordValue {
		t.Fatal("the clipboard does not contain the value")
	}
	if user := c.myself(k, 200); user != "alice" {
		t.Errorf("Jira sees the user %q", user)
	}
	b.submit("main p > a.button")
	b.noValue()
	b.open(config.PagePath)
	b.noValue()
	if uses, used := b.cell(k.ID, "Uses"), b.cell(k.ID, "Last used"); uses != "1" || !strings.Contains(used, "just now") || !strings.Contains(used, "10.1.2.3") {
		t.Errorf("the uses are %q, last used %q", uses, used)
	}
	if access := b.cell(k.ID, "Access"); access != "Read and write 10.1.0.0/16" {
		t.Errorf("the access is %q", access)
	}
	// Going back shows the form again, without the value.
	for range 3 {
		b.back()
		b.noValue()
	}
	if b.has("#value") {
		t.Error("going back shows the value again")
	}
}

// Copying works without TLS too, where browsers give scripts no clipboard.
func TestPageCopyWithoutTLS(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	b := c.person("alice")
	b.createByPage("x", nil)
	if eval[bool](b, "navigator.clipboard !== undefined") {
		t.Fatal("this browser has a clipboard")
	}
	b.click(`button[data-copy="value"]`)
	b.until("the button to say Copied", func() bool { return b.text(`button[data-copy="value"]`) == "Copied" })
	if !eval[bool](b, `document.activeElement.id === "value" && document.activeElement.selectionEnd === 67`) {
		t.Error("the selection is not the value")
	}
}

// A rotation with an overlap keeps the old value valid; one without ends all old values.
func TestPageRotate(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	first := c.create("alice", `{"label":"ci"}`)
	b := c.person("alice")
	rotate := func(overlap string) issued {
		b.open(config.PagePath)
		b.submit(`a[href$="/rotate"]`)
		b.fill("#overlap", overlap)
		b.submit("form.fields button.primary")
		return b.value()
	}
	second := rotate("1h")
	if !strings.Contains(b.text("main"), "The old value works until") {
		t.Error("the page does not mention the old value")
	}
	c.myself(first, 200)
	c.myself(second, 200)
	third := rotate("")
	if !strings.Contains(b.text("main"), "The old value no longer works") {
		t.Error("the page does not mention the old value")
	}
	c.myself(first, 401)
	c.myself(second, 401)
	c.myself(third, 200)
}

// A token is revoked in a dialog that names it, and fails from the next request on.
func TestPageRevoke(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	k := c.create("alice", `{"label":"old <b>script</b>"}`)
	b := c.person("alice")
	b.open(config.PagePath)
	b.click(`a[href*="/revoke?"]`)
	if label := eval[string](b, `document.getElementById(document.querySelector("dialog").getAttribute("aria-labelledby")).innerText`); label != "Revoke “old <b>script</b>”?" {
		t.Errorf("the label of the dialog is %q", label)
	}
	if !eval[bool](b, `document.activeElement.matches("dialog [data-close]")`) {
		t.Error("the focus is not on Cancel")
	}
	if said := b.text("dialog"); !strings.Contains(said, "old <b>script</b>") || !strings.Contains(said, k.ID) {
		t.Errorf("the page asks %q", said)
	}
	b.click("dialog [data-close]")
	if b.has("dialog") || !eval[bool](b, `document.activeElement.matches('a[href*="/revoke?"]')`) {
		t.Error("the dialog does not close, or the focus is lost")
	}
	c.myself(k, 200)
	b.click(`a[href*="/revoke?"]`)
	b.submit("dialog button.danger")
	if got := b.text(".notice"); got != "“old <b>script</b>” was revoked." {
		t.Errorf("the notice is %q", got)
	}
	c.myself(k, 401)
}

// A token that needs approval works once an administrator approves it, and its owner is told so.
func TestPageApprove(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	vic, ada := c.person("vic"), c.person("ada")
	k := vic.createByPage("vendor sync", func() {
		if !strings.Contains(vic.text("main"), "An administrator has to approve this token") {
			t.Error("the form does not mention the approval")
		}
		vic.fill("#purpose", "copies issues every hour")
		vic.fill("#networks", "10.0.0.0/8")
	})
	if !strings.Contains(vic.text("main"), "an administrator has to approve it first") {
		t.Error("the page does not mention the approval")
	}
	c.myself(k, 401)
	ada.open(config.PagePath)
	if got := ada.text("nav .count"); got != "1" {
		t.Errorf("the number of pending tokens is %q", got)
	}
	ada.submit(`nav a[href$="/pending"]`)
	if got := ada.text("tbody"); !strings.Contains(got, "copies issues every hour") {
		t.Errorf("the pending token is %q", got)
	}
	ada.click(`a[href*="/approve?"]`)
	ada.submit("dialog button.primary")
	if got := ada.text(".notice"); !strings.Contains(got, "was approved") {
		t.Errorf("the notice is %q", got)
	}
	c.myself(k, 200)
}

// An administrator finds one of ten thousand tokens by a part of its name, without a
// reload, and disables it.
func TestPageFind(t *testing.T) {
	t.Parallel()
	const many = 10_000
	c := newPageCompany(t, options{before: func(dir string) {
		err := badgertest.Fill(t.Context(), dir, func(yield func(store.Token, error) bool) {
			for i := range many {
				k := store.Token{
					ID: fmt.Sprintf("%012d", i), Number: uint64(i) + 1, Owner: store.Owner{Name: []string{"alice", "rita", "vic", "rob"}[i%4]}, Name: fmt.Sprintf("token %06d", i),
					Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), CreatedBy: "test", State: store.Active,
					Secret: store.Secret{Salt: [16]byte{1}, Hash: [32]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}},
				}
				if i == 7_777 {
					k.Name = "the Zürich backup"
				}
				if !yield(k, nil) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}})
	b := c.person("ada")
	b.open(config.PagePath + "/tokens")
	if got := b.text(".found"); got != "10,000 tokens" {
		t.Errorf("the count is %q", got)
	}
	eval[bool](b, "window.still = true")
	b.fill("#f-name", "ZÜRICH")
	b.until("the one token", func() bool { return b.text(".found") == "1 token" })
	if !eval[bool](b, "window.still === true") {
		t.Error("the page was reloaded")
	}
	if got := b.location(); got != config.PagePath+"/tokens?name=Z%C3%9CRICH" {
		t.Errorf("the address is %s", got)
	}
	if got := eval[string](b, "document.activeElement.id"); got != "f-name" {
		t.Errorf("the focus is on %q", got)
	}
	// Sorting keeps the filter, filtering keeps the order, and Back restores both.
	b.click("#sort-expires")
	b.until("the order", func() bool { return strings.Contains(b.location(), "sort=expires") })
	if got := eval[string](b, "document.activeElement.id"); got != "sort-expires" {
		t.Errorf("the focus is on %q", got)
	}
	b.fill("#f-name", "zürich")
	b.until("the filter in that order", func() bool { return b.location() == config.PagePath+"/tokens?sort=expires&order=asc&name=z%C3%BCrich" })
	if got := at[string](b, "th[aria-sort]", "e.getAttribute('aria-sort') + ' ' + e.innerText"); !strings.HasPrefix(got, "ascending Expires") {
		t.Errorf("the sorted column is %q", got)
	}
	b.back()
	b.until("the list before", func() bool {
		return b.location() == config.PagePath+"/tokens?name=Z%C3%9CRICH" && b.text(".found") == "1 token"
	})
	b.click(`a[href*="/disable?"]`)
	b.submit("dialog button.primary")
	if got := b.location(); !strings.HasPrefix(got, config.PagePath+"/tokens?") || !strings.Contains(got, "name=Z%C3%9CRICH") {
		t.Errorf("the action leads to %s", got)
	}
	if got := b.cell("000000007777", "State"); got != "Disabled" {
		t.Errorf("the state is %q", got)
	}
}

// The audit log is filtered like the list of tokens.
func TestPageAudit(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	k := c.create("alice", `{"label":"ci"}`)
	c.do(c.by("alice", "DELETE", k.ID, ""), 204, nil)
	c.create("rita", `{"label":"hers"}`)
	b := c.person("ada")
	b.open(config.PagePath + "/audit")
	if got := b.text(".found"); got != "3 records on this page" {
		t.Errorf("the count is %q", got)
	}
	eval[bool](b, "window.still = true")
	b.fill("#f-action", "token.create")
	b.until("the creations", func() bool { return b.text(".found") == "2 records on this page" })
	b.fill("#f-actor", "ali")
	b.until("alice's", func() bool { return b.text(".found") == "1 record on this page" })
	if got := b.location(); got != config.PagePath+"/audit?actor=ali&action=token.create" || !eval[bool](b, "window.still === true") {
		t.Errorf("the address is %s", got)
	}
	b.click(".filters button")
	if !strings.Contains(b.text("tbody"), k.ID) {
		t.Errorf("the record is %q", b.text("tbody"))
	}
}

// Names with HTML or relative paths are shown as text on every page.
func TestPageHostileNames(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	const owner, script = "../../x", "<img src=x onerror=alert(1)>"
	c.jira.Put(jiratest.User{Name: owner, Password: "pw", Active: true, Groups: []string{"staff", "devs"}})
	c.refresh()
	names := []string{script, strings.Repeat("😀", 100), "שלום " + script}
	b := c.person("ada")
	for _, name := range names {
		b.open(config.PagePath + "/new?user=" + url.QueryEscape(owner))
		b.fill("#name", name)
		b.fill("#purpose", script)
		b.submit("form.fields button.primary")
		if got := b.text("h1"); got != "The token for ../../x is ready" {
			t.Errorf("%q: %q", name, got)
		}
		id := b.value().ID
		for _, below := range []string{"/token/" + id, "/token/" + id + "/edit", "/token/" + id + "/rotate", "/token/" + id + "/revoke", "/audit", "/tokens?user=" + url.QueryEscape(owner), "/tokens"} {
			b.open(config.PagePath + below)
			if n := eval[int](b, "document.images.length"); n != 1 { // the icon
				t.Errorf("%s: %d images", below, n)
			}
			if !strings.Contains(eval[string](b, `document.body.innerText + [...document.querySelectorAll("input, textarea")].map(e => e.value).join()`), name) {
				t.Errorf("%s does not show %q", below, name)
			}
		}
		b.click(`a[href*="/revoke?"]`)
		if got := b.text("dialog h1"); got != "Revoke “"+name+"”?" {
			t.Errorf("the dialog asks %q", got)
		}
	}
	b.open(config.PagePath + "/tokens")
	b.submit(`td.user a`)
	if got := b.location(); got != config.PagePath+"/tokens?user=..%2F..%2Fx" || b.text("h1") != "Tokens of ../../x" {
		t.Errorf("the link of the owner's name leads to %s, %q", got, b.text("h1"))
	}
	b.open(config.PagePath + "/new")
	eval[string](b, `document.getElementById("name").value = "safe\u202egnp.exe"`) // cannot be typed
	b.allowStatus(http.StatusBadRequest)
	b.submit("form.fields button.primary")
	if got := b.text("#name-wrong"); !strings.Contains(got, "U+202E") {
		t.Errorf("a name with a direction override: %q", got)
	}
}

// A user who cannot create tokens is told why, and what to ask an administrator for.
func TestPageWithoutPermission(t *testing.T) {
	c := newPageCompany(t, options{})
	b := c.person("nell", asSecure)
	b.open(config.PagePath)
	said := b.text("main")
	for _, part := range []string{"not permitted to create", "access.create", "Please let me, nell, create API tokens"} {
		if !strings.Contains(said, part) {
			t.Errorf("the page lacks %q: %s", part, said)
		}
	}
	if b.has(`a[href$="/new"]`) {
		t.Error("the page links to the form")
	}
	b.click(`button[data-copy="ask"]`)
	if got := b.clipboard(); !strings.HasPrefix(got, "Please let me, nell") {
		t.Errorf("the clipboard contains %q", got)
	}
	b.allowStatus(http.StatusForbidden)
	b.open(config.PagePath + "/tokens")
	if b.status() != 403 || !strings.Contains(b.text("main"), "access.admin") {
		t.Errorf("%d %s", b.status(), b.text("main"))
	}
}

// Without JavaScript a token can be created and revoked, and a reload creates no second
// one.
func TestPageWithoutScripts(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	b := newBrowser(t, c)
	b.scripts(false)
	b.login("alice")
	k := b.createByPage("plain", nil)
	if b.has("[data-copy]") {
		t.Error("there is a button that needs JavaScript")
	}
	c.myself(k, 200)
	b.allowStatus(http.StatusConflict)
	b.reload()
	if got := b.text("h1"); got != "This form was already sent" {
		t.Errorf("a reload shows %q", got)
	}
	b.noValue()
	b.allowStatus()
	var own []any
	c.do(c.by("alice", "GET", "", ""), 200, &own)
	if len(own) != 1 {
		t.Errorf("alice has %d tokens", len(own))
	}
	b.open(config.PagePath)
	b.submit(`a[href*="/revoke?"]`)
	if said := b.text("main"); !strings.Contains(said, "Revoke “plain”?") || !strings.Contains(said, k.ID) {
		t.Errorf("the page asks %q", said)
	}
	b.submit("button.danger")
	c.myself(k, 401)
}

// A double click on the button creates one token, and shows its value.
func TestPageDoubleClick(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	b := c.person("alice")
	b.open(config.PagePath + "/new")
	b.fill("#name", "twice")
	// Both in one task, which is faster than any mouse.
	b.load("submit twice", loading(chromedp.Evaluate[chromedp.Void](`(f => (f.requestSubmit(), f.requestSubmit()))(document.querySelector("form[data-once]"))`)))
	c.myself(b.value(), 200)
	var own []any
	c.do(c.by("alice", "GET", "", ""), 200, &own)
	if len(own) != 1 {
		t.Errorf("alice has %d tokens", len(own))
	}
}

// After logging in again, a user returns to the requested page, also below a context
// path.
func TestPageLogin(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{context: "/jira"})
	b := newBrowser(t, c)
	b.open(config.PagePath + "/tokens?name=x&sort=name")
	if !b.has("#login-form-username") {
		b.fatalf("the page is not the login")
	}
	b.logInHere("ada")
	if got := b.location(); !strings.HasPrefix(got, config.PagePath+"/tokens?") || !strings.Contains(got, "name=x") || !strings.Contains(got, "sort=name") {
		t.Errorf("the login leads to %s", got)
	}
	for _, a := range eval[[]string](b, `[...document.querySelectorAll("[href], [src], [action]")].map(e => e.getAttribute("href") || e.getAttribute("src") || e.getAttribute("action"))`) {
		if !strings.HasPrefix(a, "/jira/") && !strings.HasPrefix(a, "#") {
			t.Errorf("a link leaves the context path: %s", a)
		}
	}
	// The session ends while the form is open.
	b.open(config.PagePath + "/new")
	b.fill("#name", "late")
	eval[bool](b, `fetch("/jira/rest/auth/1/session", {method: "DELETE"}).then(r => r.ok)`)
	c.until("tokengate to notice", func() bool {
		return c.send(request{path: "/jira" + api + "me", header: http.Header{"Cookie": {b.cookies()}}}).status == 401
	})
	b.allowStatus(http.StatusUnauthorized)
	b.submit("form.fields button.primary")
	if b.status() != 401 || !strings.Contains(b.text("main"), "nothing was done") {
		t.Errorf("%d %s", b.status(), b.text("main"))
	}
	b.allowStatus()
	b.submit("main a.button.primary")
	b.logInHere("ada")
	if got := b.location(); !strings.HasPrefix(got, config.PagePath+"/new") {
		t.Errorf("the login leads to %s", got)
	}
	k := b.createByPage("in time", nil)
	if user := c.myself(k, 200); user != "ada" {
		t.Errorf("Jira sees the user %q", user)
	}
}

// A form posted by another site changes nothing.
func TestPageOfAnotherSite(t *testing.T) {
	t.Parallel()
	c := newPageCompany(t, options{})
	b := c.person("alice", asSecure)
	b.open(config.PagePath + "/new")
	nonce := at[string](b, "main form", `e.querySelector("[name=nonce]").value`)
	post := func(header http.Header) answer {
		header.Set("Cookie", b.cookies())
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		return c.send(request{method: "POST", path: config.PagePath + "/new", header: header, body: strings.NewReader("name=stolen&nonce=" + nonce)})
	}
	for name, header := range map[string]http.Header{
		"another origin": {"Origin": {"https://evil.example.net"}},
		"a frame":        {"Origin": {"null"}},
		"another site":   {"Sec-Fetch-Site": {"cross-site"}},
	} {
		if got := post(header); got.status != 403 {
			t.Errorf("%s: %d %s", name, got.status, token.Redact(got.body))
		}
	}
	var own []any
	c.do(c.by("alice", "GET", "", ""), 200, &own)
	if len(own) != 0 {
		t.Errorf("alice has %d tokens", len(own))
	}
}
