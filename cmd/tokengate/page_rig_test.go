package main

import (
	"regexp"
	"strings"

	"github.com/chromedp/cdproto/network"

	"github.com/tokengate/tokengate/authz/config"
)

// person returns a browser in which a user is logged in to Jira.
func (c *company) person(name string, o ...browserOption) *browser {
	c.t.Helper()
	b := newBrowser(c.t, c, o...)
	b.takeSession(c, name)
	return b
}

// takeSession gives the browser the session of a user.
func (b *browser) takeSession(c *company, name string) {
	b.t.Helper()
	cookie, value, _ := strings.Cut(c.session(name), "=")
	order(b, "log in", network.SetCookie, network.SetCookieParams{Name: cookie, Value: value, URL: b.base + "/", Path: c.context + "/"})
}

// value returns the token value that the page shows.
func (b *browser) value() issued {
	b.t.Helper()
	text := at[string](b, "#value", "e.value")
	remember(b.t, text)
	k := issued{PasswordValue: text, value: mustParse(b.t, text)}
	k.ID = k.value.ID().String()
	return k
}

// noValue fails the test if the page contains a token value.
func (b *browser) noValue() {
	b.t.Helper()
	whole := eval[string](b, "document.documentElement.outerHTML + [...document.querySelectorAll('input, textarea')].map(e => e.value).join(' ')")
	if found := findSecret(b.t, whole); found != "" {
		b.t.Errorf("%s contains %s", b.location(), found)
	}
}

// createByPage creates a token in the browser.
func (b *browser) createByPage(name string, more func()) issued {
	b.t.Helper()
	b.open(config.PagePath)
	b.submit(`a[href$="/new"]`)
	b.fill("#name", name)
	if more != nil {
		more()
	}
	b.submit("form.fields button.primary")
	if !b.has("#value") {
		b.fatalf("the page shows no value")
	}
	return b.value()
}

// cell returns the text of a column in the row of a token.
func (b *browser) cell(id, column string) string {
	b.t.Helper()
	text := at[string](b, "tbody tr:has(code)", `[...document.querySelectorAll("tbody tr")].filter(r => r.textContent.includes(`+quote(id)+`)).map(r => r.querySelector("td[data-label=" + JSON.stringify(`+quote(column)+`) + "]").innerText)[0] ?? ""`)
	return regexp.MustCompile(`\s+`).ReplaceAllString(text, " ")
}
