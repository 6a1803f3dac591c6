package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// open loads a path of Jira.
func (b *browser) open(path string) {
	b.t.Helper()
	b.load("open "+path, chromedp.NavigateResponse(b.base+path))
}

// login logs a user in with Jira's form.
func (b *browser) login(name string) {
	b.t.Helper()
	b.open("/login.jsp")
	b.logInHere(name)
}

// logInHere is login if the page is the form already.
func (b *browser) logInHere(name string) {
	b.t.Helper()
	b.fill("#login-form-username", name)
	b.fill("#login-form-password", name+"'s password")
	b.submit("#login-form-submit")
	if b.has("#login-form-username") {
		b.fatalf("%s could not log in", name)
	}
}

// submit clicks on an element that loads another document, and waits for that.
func (b *browser) submit(selector string) {
	b.t.Helper()
	b.load("click on "+selector, loading(click(selector)))
}

// submitBy is submit with keys, as in press.
func (b *browser) submitBy(keys ...string) {
	b.t.Helper()
	b.load("press "+strings.Join(keys, ", "), loading(b.keys(keys)))
}

// loading waits for the document that steps load.
func loading(steps ...chromedp.Action[chromedp.Void]) chromedp.Action[*network.Response] {
	return func(ctx context.Context, _ *chromedp.Target) (*network.Response, error) {
		return chromedp.RunResponse(ctx, steps...)
	}
}

// load waits for a document and the requests it makes while loading.
func (b *browser) load(what string, action chromedp.Action[*network.Response]) {
	b.t.Helper()
	_, err := try(b, action)
	// Chromium shows its own page for an error status without a body.
	if refused := new(chromedp.LoadError); errors.As(err, &refused) && refused.ErrorText == "net::ERR_HTTP_RESPONSE_CODE_FAILURE" {
		err = nil
	}
	if err != nil {
		b.fatalf("%s: no page was loaded: %v", what, err)
	}
	b.settle()
}

// settle waits until all requests are answered.
func (b *browser) settle() {
	b.t.Helper()
	b.until("the answers to all requests", func() bool {
		// The events of earlier requests arrive before this result.
		_, err := try(b, chromedp.Evaluate[chromedp.Void]("0"))
		return err == nil && b.idle()
	})
}

// click clicks on an element with the mouse and waits for the requests this makes. If it
// loads another document, use submit.
func (b *browser) click(selector string) {
	b.t.Helper()
	drive(b, "click on "+selector, click(selector))
	b.settle()
}

func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.JSPath(visible(selector)), chromedp.NodeVisible)
}

// press presses keys such as Tab, Space, "a" or "Shift+Tab" in turn, and waits like
// click.
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
			b.t.Fatalf("there is no key %s", key)
		}
		steps = append(steps, chromedp.KeyEvent(key, with...))
	}
	return chromedp.Steps(steps...)
}

// fill replaces the value of a field: with mouse and keyboard, or by script if it is
// chosen rather than typed.
func (b *browser) fill(selector, text string) {
	b.t.Helper()
	chosen := quote("select, [type=date], [type=time], [type=datetime-local], [type=color], [type=range]")
	if at[bool](b, selector, "e.matches("+chosen+")") {
		at[bool](b, selector, "(e.value = "+quote(text)+`, ["input", "change"].every(type => e.dispatchEvent(new Event(type, {bubbles: true}))))`)
	} else {
		drive(b, "fill "+selector, chromedp.Steps(click(selector), b.keys([]string{"Control+a", "Delete"}), enter(text)))
	}
	if got := at[string](b, selector, "e.value"); got != text {
		b.fatalf("%s is %q after %q was entered", selector, got, text)
	}
	b.settle()
}

// enter types a text, or inserts a long one as if it were pasted.
func enter(text string) chromedp.Action[chromedp.Void] {
	if len(text) <= 30 {
		return chromedp.KeyEvent(text)
	}
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: text})
		return chromedp.Void{}, err
	}
}

// has reports whether the page shows such an element now.
func (b *browser) has(selector string) bool {
	b.t.Helper()
	return eval[bool](b, visible(selector)+" !== undefined")
}

// text waits for a visible element and returns its text.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return strings.TrimSpace(at[string](b, selector, "e.innerText"))
}

// visible returns a script expression for the first such element that is visible, or
// undefined.
func visible(selector string) string {
	return "[...document.querySelectorAll(" + quote(selector) + ")].find(e => e.checkVisibility({visibilityProperty: true}))"
}

// at waits for a visible element e and returns the value of an expression.
func at[T any](b *browser, selector, expression string) T {
	b.t.Helper()
	var value *T
	b.until("a visible element "+selector, func() bool {
		var err error
		value, err = try(b, chromedp.Evaluate[*T]("(e => e ? "+expression+" : null)("+visible(selector)+")"))
		if wrong := new(chromedp.ExceptionError); errors.As(err, &wrong) {
			b.fatalf("%s: %v", selector, wrong)
		}
		return err == nil && value != nil // it fails between two documents
	})
	return *value
}

// eval evaluates an expression in the page, awaiting promises.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	return drive(b, "evaluate "+expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// quote returns text as a script literal.
func quote(text string) string {
	quoted, _ := json.Marshal(text) // never fails for a string
	return string(quoted)
}

// location returns the page's address as open takes it, or in full if it is not Jira's.
func (b *browser) location() string {
	b.t.Helper()
	return strings.TrimPrefix(eval[string](b, "location.href"), b.base)
}

// emulate sets the size of the window, and a light or dark color scheme.
func (b *browser) emulate(width, height int, dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	order(b, "set the colours", emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme},
			{Name: "prefers-reduced-motion", Value: "reduce"}, // no transition between two schemes
		},
	})
	b.resize(width, height)
}

func (b *browser) resize(width, height int) {
	b.t.Helper()
	b.width, b.height = width, height
	drive(b, "set the size", chromedp.EmulateViewport(int64(width), int64(height)))
}

// screenshot writes the whole page, at a window width, into a PNG file.
func (b *browser) screenshot(file string, width int) {
	b.t.Helper()
	before := b.width
	b.resize(width, b.height)
	png := drive(b, "take a screenshot", chromedp.FullScreenshot(100))
	b.resize(before, b.height)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, png, 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

// scripts turns JavaScript on or off for pages loaded from now on. The methods of
// browser work either way.
func (b *browser) scripts(on bool) {
	b.t.Helper()
	b.noScripts = !on
	order(b, "switch scripts", emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// clipboard returns the text on the clipboard; it needs asSecure.
func (b *browser) clipboard() string {
	b.t.Helper()
	return eval[string](b, "navigator.clipboard.readText()")
}

// back goes back in the history and waits for the page.
func (b *browser) back() {
	b.t.Helper()
	drive(b, "go back", chromedp.NavigateBack())
	b.settle()
}

// reload reloads the page, sending its form again if the page is the response to one.
func (b *browser) reload() {
	b.t.Helper()
	b.load("reload", loading(chromedp.Reload()))
}

// cookies returns the page's cookies as a Cookie header.
func (b *browser) cookies() string {
	b.t.Helper()
	found := order(b, "read the cookies", network.GetCookies, network.GetCookiesParams{})
	var all []string
	for _, cookie := range found.Cookies {
		all = append(all, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(all, "; ")
}
