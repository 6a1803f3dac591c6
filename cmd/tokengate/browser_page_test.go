package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// open goes to a path of Jira's.
func (b *browser) open(path string) {
	b.t.Helper()
	b.load("open "+path, chromedp.NavigateResponse(b.base+path))
}

// login logs somebody in by Jira's form.
func (b *browser) login(name string) {
	b.t.Helper()
	b.open("/login.jsp")
	b.logInHere(name)
}

// logInHere is login with the form that is there already.
func (b *browser) logInHere(name string) {
	b.t.Helper()
	b.fill("#login-form-username", name)
	b.fill("#login-form-password", name+"'s password")
	b.submit("#login-form-submit")
	if b.has("#login-form-username") {
		b.fatalf("%s could not log in", name)
	}
}

// submit clicks on what leads to another document, and waits for that.
func (b *browser) submit(selector string) {
	b.t.Helper()
	b.load("click on "+selector, loading(click(selector)))
}

// submitBy is submit by keys: see press.
func (b *browser) submitBy(keys ...string) {
	b.t.Helper()
	b.load("press "+strings.Join(keys, ", "), loading(b.keys(keys)))
}

// loading waits for the document that steps lead to.
func loading(steps ...chromedp.Action[chromedp.Void]) chromedp.Action[*network.Response] {
	return func(ctx context.Context, _ *chromedp.Target) (*network.Response, error) {
		return chromedp.RunResponse(ctx, steps...)
	}
}

// load waits for a document, and for what it asks for at once.
func (b *browser) load(what string, action chromedp.Action[*network.Response]) {
	b.t.Helper()
	_, err := try(b, action)
	// Chromium shows a page of its own where an error has no text.
	if refused := new(chromedp.LoadError); errors.As(err, &refused) && refused.ErrorText == "net::ERR_HTTP_RESPONSE_CODE_FAILURE" {
		err = nil
	}
	if err != nil {
		b.fatalf("%s: no page came: %v", what, err)
	}
	b.settle()
}

// settle waits until what was asked for has its answer.
func (b *browser) settle() {
	b.t.Helper()
	b.until("an answer to everything that was asked for", func() bool {
		// All that the page asked for before it evaluates this was seen.
		_, err := try(b, chromedp.Evaluate[chromedp.Void]("0"))
		return err == nil && b.idle()
	})
}

// click clicks on an element with the mouse, and waits for the answers to what
// that asks for. Where it leads to another document, submit waits for that.
func (b *browser) click(selector string) {
	b.t.Helper()
	drive(b, "click on "+selector, click(selector))
	b.settle()
}

func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.JSPath(visible(selector)), chromedp.NodeVisible)
}

// press presses keys on the keyboard, like Tab, Space, "a" or "Shift+Tab", one
// after the other, and waits as click does.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	drive(b, "press "+strings.Join(keys, ", "), b.keys(keys))
	b.settle()
}

var keyNames = map[string]string{
	"Tab": kb.Tab, "Enter": kb.Enter, "Space": " ", "Escape": kb.Escape, "Backspace": kb.Backspace, "Delete": kb.Delete,
	"ArrowUp": kb.ArrowUp, "ArrowDown": kb.ArrowDown, "ArrowLeft": kb.ArrowLeft, "ArrowRight": kb.ArrowRight,
	"Home": kb.Home, "End": kb.End,
}

func (b *browser) keys(keys []string) chromedp.Action[chromedp.Void] {
	b.t.Helper()
	var steps []chromedp.Action[chromedp.Void]
	for _, key := range keys {
		var with []chromedp.KeyOption
		for name, modifier := range map[string]chromedp.Modifier{"Shift+": chromedp.ModifierShift, "Control+": chromedp.ModifierCtrl} {
			if rest, ok := strings.CutPrefix(key, name); ok {
				key, with = rest, append(with, chromedp.KeyModifiers(modifier))
			}
		}
		if named, ok := keyNames[key]; ok {
			key = named
		} else if len([]rune(key)) != 1 {
			b.t.Fatalf("no key is called %s", key)
		}
		steps = append(steps, chromedp.KeyEvent(key, with...))
	}
	return chromedp.Steps(steps...)
}

// fill puts text into a field in place of what is there: by mouse and keyboard, or
// at once where a person would choose.
func (b *browser) fill(selector, text string) {
	b.t.Helper()
	chosen := quote("select, [type=date], [type=time], [type=datetime-local], [type=color], [type=range]")
	if at[bool](b, selector, "e.matches("+chosen+")") {
		at[bool](b, selector, "(e.value = "+quote(text)+`, ["input", "change"].every(type => e.dispatchEvent(new Event(type, {bubbles: true}))))`)
	} else {
		drive(b, "fill "+selector, chromedp.Steps(click(selector), b.keys([]string{"Control+a", "Delete"}), chromedp.KeyEvent(text)))
	}
	if got := at[string](b, selector, "e.value"); got != text {
		b.fatalf("%s is %q after %q was put in", selector, got, text)
	}
	b.settle()
}

// has reports whether there is such an element to be seen, as the page is now.
func (b *browser) has(selector string) bool {
	b.t.Helper()
	return eval[bool](b, visible(selector)+" !== undefined")
}

// text returns the text of the first such element to be seen, and waits for one.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return strings.TrimSpace(at[string](b, selector, "e.innerText"))
}

// visible is what finds, in a script, the first such element to be seen, by
// whoever can see.
func visible(selector string) string {
	return "[...document.querySelectorAll(" + quote(selector) + ")].find(e => e.checkVisibility({visibilityProperty: true}))"
}

// at waits for an element to be seen, and returns what an expression makes of e.
func at[T any](b *browser, selector, expression string) T {
	b.t.Helper()
	var value *T
	b.until("something to be seen at "+selector, func() bool {
		var err error
		value, err = try(b, chromedp.Evaluate[*T]("(e => e ? "+expression+" : null)("+visible(selector)+")"))
		if wrong := new(chromedp.ExceptionError); errors.As(err, &wrong) {
			b.fatalf("%s: %v", selector, wrong)
		}
		return err == nil && value != nil // without a page for the moment, it fails
	})
	return *value
}

// eval evaluates an expression in the page, and awaits it if it is a promise.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	return drive(b, "evaluate "+expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// quote writes text for a script.
func quote(text string) string {
	quoted, _ := json.Marshal(text) // a string has no error
	return string(quoted)
}

// location returns where the browser is: as open takes it, or whole where that is
// not Jira's.
func (b *browser) location() string {
	b.t.Helper()
	return strings.TrimPrefix(eval[string](b, "location.href"), b.base)
}

// emulate makes the window so large, for somebody who likes it dark or not.
func (b *browser) emulate(width, height int, dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	order(b, "set the colours", emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	b.resize(width, height)
}

func (b *browser) resize(width, height int) {
	b.t.Helper()
	b.width, b.height = width, height
	drive(b, "set the size", chromedp.EmulateViewport(int64(width), int64(height)))
}

// screenshot writes the whole page into a PNG, as it is in a window of a width.
func (b *browser) screenshot(file string, width int) {
	b.t.Helper()
	before := b.width
	b.resize(width, b.height)
	png := drive(b, "take a picture", chromedp.FullScreenshot(100))
	b.resize(before, b.height)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, png, 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

// scripts switches the scripts of pages on or off, for those that are loaded from
// now on. The helpers go on to work.
func (b *browser) scripts(on bool) {
	b.t.Helper()
	b.noScripts = !on
	order(b, "switch scripts", emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// clipboard returns the text on the clipboard; only a browser asSecure has it.
func (b *browser) clipboard() string {
	b.t.Helper()
	return eval[string](b, "navigator.clipboard.readText()")
}

// back goes back in the history, and waits for what is shown then.
func (b *browser) back() {
	b.t.Helper()
	drive(b, "go back", chromedp.NavigateBack())
	b.settle()
}

// reload loads the page again, and sends its form again if it came of one.
func (b *browser) reload() {
	b.t.Helper()
	b.load("reload", loading(chromedp.Reload()))
}

// cookies are those of the page's address, as a request has them.
func (b *browser) cookies() string {
	b.t.Helper()
	found := order(b, "look at the cookies", network.GetCookies, network.GetCookiesParams{})
	var all []string
	for _, cookie := range found.Cookies {
		all = append(all, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(all, "; ")
}
