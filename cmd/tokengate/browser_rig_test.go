package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	devtools "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// pageOrigin is the origin of Jira for browsers. It has no TLS, because the tests have no
// certificate that a browser accepts.
const (
	pageHost   = "jira.example.com"
	pageOrigin = "http://" + pageHost
)

// newPageCompany returns a company whose users have browsers and reach it at pageOrigin.
// options.context needs no further settings.
func newPageCompany(t *testing.T, o options) *company {
	t.Helper()
	more := o.settings
	o.settings = func(yaml string) string {
		if more != nil {
			yaml = more(yaml)
		}
		return strings.NewReplacer("https://"+pageHost, pageOrigin+o.context, "upstream:\n", "upstream:\n  contextPath: \""+o.context+"\"\n").Replace(yaml)
	}
	if o.context != "" && o.bootstrap == nil {
		o.bootstrap = []string{} // k8s/base has none
	}
	c := newCompany(t, o)
	c.origin = pageOrigin
	return c
}

// browser is a Chromium with its own profile and one tab. It reaches Envoy at pageOrigin
// and no other host, and watches its pages.
type browser struct {
	*watch
	t             *testing.T
	ctx           context.Context // the tab's
	base          string          // pageOrigin and Jira's context path
	width, height int             // of the page, in CSS pixels
	noScripts     bool
}

// browserOption is a command-line switch of Chromium.
type browserOption = chromedp.ExecAllocatorOption

// asSecure treats pageOrigin as if it had TLS, as in production: only secure origins get
// the clipboard, Sec-Fetch-Site and Cross-Origin-Opener-Policy.
var asSecure browserOption = chromedp.Flag("unsafely-treat-insecure-origin-as-secure", pageOrigin)

// newBrowser starts a browser, which ends with the test. Problems that it has found by
// then fail the test.
func newBrowser(t *testing.T, c *company, o ...browserOption) *browser {
	t.Helper()
	return startBrowser(t, c.envoy.Addr, c.context, o...)
}

// startBrowser is newBrowser for another server than Envoy.
func startBrowser(t *testing.T, addr, contextPath string, o ...browserOption) *browser {
	t.Helper()
	// The path must be short, because Chromium creates a Unix socket in it.
	dir := envoytest.Dir(t)
	switches := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)),
		chromedp.UserDataDir(dir+"/profile"),
		chromedp.NoSandbox, // unavailable to root and in many containers; all pages are from the tests
		// It must not use the developer's home or desktop.
		chromedp.Env("HOME="+dir, "TMPDIR="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir, "DBUS_SESSION_BUS_ADDRESS=disabled:"),
		chromedp.Flag("host-resolver-rules", "MAP "+pageHost+" "+addr+", MAP * ~NOTFOUND"),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("disable-features", "Translate,HttpsUpgrades"),
	)
	alloc, end := chromedp.NewExecAllocator(context.Background(), append(switches, o...)...)
	b := &browser{watch: newWatch(t), t: t, base: pageOrigin + contextPath}
	// Events of a newer Chromium that cdproto does not know are ignored.
	ctx, kill := chromedp.NewContext(alloc, chromedp.WithListener(b.event), chromedp.WithErrorf(func(string, ...any) {}))
	b.ctx = ctx
	t.Cleanup(func() {
		kill()
		end()
		(&rig{t: t}).until("Chromium's files to go", func() bool { return os.RemoveAll(dir) == nil })
	})

	// The browser ends with the context of its first action.
	late := time.AfterFunc(waitTime, kill)
	err := chromedp.Do(ctx)
	if !late.Stop() {
		t.Fatalf("Chromium did not start in %v: %v", waitTime, err)
	}
	if err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	t.Cleanup(b.end) // only now: end would start another browser
	order(b, "watch for issues", audits.Enable, cdp.Empty{})
	// Requests of the tests' client have the same address, set by the trusted proxy.
	order(b, "set the client's address", network.SetExtraHTTPHeaders,
		network.SetExtraHTTPHeadersParams{Headers: network.Headers{"X-Forwarded-For": "10.1.2.3"}})
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		drive(b, "permit "+name, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.CallBrowser(ctx, devtools.SetPermission, devtools.SetPermissionParams{
				Permission: &devtools.PermissionDescriptor{Name: name}, Setting: devtools.PermissionSettingGranted,
			})
			return err
		}))
	}
	b.emulate(1280, 800, false)
	return b
}

// event handles an event of the tab. Dialogs are dismissed, because they block the page;
// the event loop cannot run commands, so a goroutine does it.
func (b *browser) event(event any) {
	b.see(event)
	if _, is := event.(*page.EventJavascriptDialogOpening); is {
		go func() {
			_, _ = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}()
	}
}

// chromium returns the path of the browser: $TOKENGATE_CHROMIUM, or one in PATH.
func chromium(t *testing.T) string {
	t.Helper()
	names := []string{"chromium", "google-chrome", "chromium-browser"}
	if named := os.Getenv("TOKENGATE_CHROMIUM"); named != "" {
		names = []string{named}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("no browser named %s: run `make tools`, or set TOKENGATE_CHROMIUM to the path of Chromium or Chrome",
		strings.Join(names, " or "))
	return ""
}

// end closes the browser and reports the problems it found.
func (b *browser) end() {
	b.t.Helper()
	if b.ctx.Err() != nil {
		b.t.Error("Chromium ended early")
		return
	}
	for _, problem := range b.problems() {
		b.t.Errorf("the browser found %s", problem)
	}
	ctx, cancel := context.WithTimeout(b.ctx, waitTime)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		b.t.Errorf("close Chromium: %v", err)
	}
}

// drive runs an action in the tab. It must succeed within waitTime.
func drive[T any](b *browser, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	value, err := try(b, action)
	if err != nil {
		b.fatalf("%s: %v", what, err)
	}
	return value
}

// try is drive for an action that can fail.
func try[T any](b *browser, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, waitTime)
	defer cancel()
	return chromedp.Run(ctx, action)
}

// order runs a DevTools command in the tab.
func order[P, R any](b *browser, what string, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	return drive(b, what, func(ctx context.Context, t *chromedp.Target) (R, error) {
		return cdp.Call(ctx, t, command, params)
	})
}

// until polls until ok returns true.
func (b *browser) until(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.After(waitTime)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-b.ctx.Done():
			b.t.Fatalf("Chromium ended while waiting for %s", what)
		case <-deadline:
			b.fatalf("timed out after %v waiting for %s", waitTime, what)
		}
	}
}

// fatalf ends the test and logs the address and text of the page.
func (b *browser) fatalf(format string, args ...any) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Second) // the browser may hang
	defer cancel()
	shown, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body?.innerText`))
	if err != nil {
		shown = err.Error()
	}
	b.t.Fatal(token.Redact(fmt.Sprintf(format, args...) + "\nthe page is " + shown))
}
