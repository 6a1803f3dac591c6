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

// pageOrigin is where browsers find the Jira of a page company: the tests have no
// certificate that a browser would take.
const (
	pageHost   = "jira.example.com"
	pageOrigin = "http://" + pageHost
)

// newPageCompany is a company whose people come with browsers, to pageOrigin. It
// may have a context path without more.
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

// browser is a Chromium with a profile of its own and one tab, which finds Envoy
// at pageOrigin and nothing anywhere else. It watches what its pages do.
type browser struct {
	*watch
	t             *testing.T
	ctx           context.Context // the tab's
	base          string          // pageOrigin and Jira's context path
	width, height int             // of the page, in CSS pixels
	noScripts     bool
}

// browserOption is a switch of Chromium.
type browserOption = chromedp.ExecAllocatorOption

// asSecure has the browser take pageOrigin for one with TLS, as people have it:
// only such origins get the clipboard, are sent Sec-Fetch-Site, and may have a
// Cross-Origin-Opener-Policy.
var asSecure browserOption = chromedp.Flag("unsafely-treat-insecure-origin-as-secure", pageOrigin)

// newBrowser starts a browser, which ends with the test. Whatever it has met by
// then that no page may do fails the test.
func newBrowser(t *testing.T, c *company, o ...browserOption) *browser {
	t.Helper()
	return startBrowser(t, c.envoy.Addr, c.context, o...)
}

// startBrowser is newBrowser with the address of any server in place of Envoy.
func startBrowser(t *testing.T, addr, contextPath string, o ...browserOption) *browser {
	t.Helper()
	// Chromium keeps a unix socket among its files: the name must be short.
	dir := envoytest.Dir(t)
	switches := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)),
		chromedp.UserDataDir(dir+"/profile"),
		chromedp.NoSandbox, // root has none, nor have many containers; all pages are the tests' own
		// It writes nothing into the home of whoever runs the tests, and does
		// not look for their desktop.
		chromedp.Env("HOME="+dir, "TMPDIR="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir, "DBUS_SESSION_BUS_ADDRESS=disabled:"),
		chromedp.Flag("host-resolver-rules", "MAP "+pageHost+" "+addr+", MAP * ~NOTFOUND"),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("disable-features", "Translate,HttpsUpgrades"),
	)
	alloc, end := chromedp.NewExecAllocator(context.Background(), append(switches, o...)...)
	b := &browser{watch: newWatch(t), t: t, base: pageOrigin + contextPath}
	// What cdproto does not understand of a newer Chromium is no news.
	ctx, kill := chromedp.NewContext(alloc, chromedp.WithListener(b.event), chromedp.WithErrorf(func(string, ...any) {}))
	b.ctx = ctx
	t.Cleanup(func() {
		kill()
		end()
		(&rig{t: t}).until("Chromium's files to go", func() bool { return os.RemoveAll(dir) == nil })
	})

	// The browser lives as long as the context of its first action.
	late := time.AfterFunc(waitTime, kill)
	err := chromedp.Do(ctx)
	if !late.Stop() {
		t.Fatalf("Chromium did not start in %v: %v", waitTime, err)
	}
	if err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	t.Cleanup(b.end) // only now: whatever asks for a browser that did not start starts another
	order(b, "watch for issues", audits.Enable, cdp.Empty{})
	// The load balancer that Envoy trusts says the same of the rig's requests.
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

// event takes an event of the tab. A dialog stops the page, so it is dismissed; that
// is a command, for which the loop of events is no place.
func (b *browser) event(event any) {
	b.see(event)
	if _, is := event.(*page.EventJavascriptDialogOpening); is {
		go func() {
			_, _ = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}()
	}
}

// chromium finds the browser: $TOKENGATE_CHROMIUM, or one on the PATH.
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
	t.Fatalf("no browser by the name of %s: run `make tools`, or set TOKENGATE_CHROMIUM to a Chromium or Chrome of your own",
		strings.Join(names, " or "))
	return ""
}

// end closes the browser in order and tells what it has met.
func (b *browser) end() {
	b.t.Helper()
	if b.ctx.Err() != nil {
		b.t.Error("Chromium is gone")
		return
	}
	for _, problem := range b.problems() {
		b.t.Errorf("the browser met %s", problem)
	}
	ctx, cancel := context.WithTimeout(b.ctx, waitTime)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		b.t.Errorf("close Chromium: %v", err)
	}
}

// drive runs an action in the tab, which must succeed in time.
func drive[T any](b *browser, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	value, err := try(b, action)
	if err != nil {
		b.fatalf("%s: %v", what, err)
	}
	return value
}

// try is drive for what may fail.
func try[T any](b *browser, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, waitTime)
	defer cancel()
	return chromedp.Run(ctx, action)
}

// order gives the tab one of its developer tools' commands.
func order[P, R any](b *browser, what string, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	return drive(b, what, func(ctx context.Context, t *chromedp.Target) (R, error) {
		return cdp.Call(ctx, t, command, params)
	})
}

// until waits until ok, by asking again and again.
func (b *browser) until(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.After(waitTime)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-b.ctx.Done():
			b.t.Fatalf("Chromium ended before it came: %s", what)
		case <-deadline:
			b.fatalf("it did not come in %v: %s", waitTime, what)
		}
	}
}

// fatalf ends the test, and shows where and what the page is.
func (b *browser) fatalf(format string, args ...any) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Second) // it may be what hangs
	defer cancel()
	shown, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body?.innerText`))
	if err != nil {
		shown = err.Error()
	}
	b.t.Fatal(token.Redact(fmt.Sprintf(format, args...) + "\nthe page is " + shown))
}
