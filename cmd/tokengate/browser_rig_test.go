package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	devtools "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/tokengate/tokengate/authz/token"
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
	c := newCompany(t, o)
	c.origin = pageOrigin
	return c
}

// browser is a tab with its own profile in a Chromium that the tests share. It
// reaches Envoy at pageOrigin and no other host, and watches its pages.
type browser struct {
	*watch
	t             *testing.T
	ctx           context.Context // the tab's
	base          string          // pageOrigin and Jira's context path
	width, height int             // of the page, in CSS pixels
	noScripts     bool
}

// browserOption chooses the Chromium.
type browserOption bool

// asSecure treats pageOrigin as if it had TLS, as in production: only secure origins get
// the clipboard, Sec-Fetch-Site and Cross-Origin-Opener-Policy. Tests that use the
// clipboard must not run in parallel.
const asSecure browserOption = true

// chromiums are the shared Chromiums, by asSecure.
var chromiums = map[browserOption]*chromium{false: {}, asSecure: {}}

// chromium is a Chromium that starts when the first test needs it and runs until end.
type chromium struct {
	start sync.Once
	ctx   context.Context
	err   error // of the start
	end   func() error
}

func (c *chromium) launch(secure browserOption) error {
	program, err := chromiumPath(secure)
	if err != nil {
		return err
	}
	// The path must be short, because Chromium creates a Unix socket in it.
	dir, err := os.MkdirTemp("", "tg")
	if err != nil {
		return err
	}
	switches := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program),
		chromedp.UserDataDir(dir+"/profile"),
		chromedp.NoSandbox, // unavailable to root and in many containers; all pages are from the tests
		// It must not use the developer's home or desktop.
		chromedp.Env("HOME="+dir, "TMPDIR="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir, "DBUS_SESSION_BUS_ADDRESS=disabled:"),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"), // of its proxies
		// Each window would load pages of Chromium's own, and each page prepare a process.
		chromedp.Flag("disable-features", "Translate,HttpsUpgrades,WebUIOmniboxPopup,WebUIOmniboxAimPopup,SpareRendererForSitePerProcess"),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-software-rasterizer", true),
	)
	if secure {
		switches = append(switches, chromedp.Flag("unsafely-treat-insecure-origin-as-secure", pageOrigin))
	}
	alloc, free := chromedp.NewExecAllocator(context.Background(), switches...)
	// Events of a newer Chromium that cdproto does not know are ignored.
	ctx, kill := chromedp.NewContext(alloc, chromedp.WithErrorf(func(string, ...any) {}))
	c.ctx = ctx
	c.end = func() error {
		closing, cancel := context.WithTimeout(ctx, waitTime)
		defer cancel()
		err := chromedp.Cancel(closing)
		kill()
		free()
		for deadline := time.Now().Add(waitTime); os.RemoveAll(dir) != nil && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond) // its last processes still write
		}
		return err
	}
	// The browser ends with the context of its first action.
	late := time.AfterFunc(waitTime, kill)
	if err = chromedp.Do(ctx); !late.Stop() {
		err = fmt.Errorf("not ready after %v: %w", waitTime, err)
	}
	return err
}

// endChromiums ends the Chromium processes that were started.
func endChromiums() (err error) {
	for _, c := range chromiums {
		if c.end != nil {
			err = errors.Join(err, c.end())
		}
	}
	return err
}

// newBrowser returns a browser, which ends with the test. Problems that it has found by
// then fail the test.
func newBrowser(t *testing.T, c *company, o ...browserOption) *browser {
	t.Helper()
	return startBrowser(t, c.envoy.Addr, c.context, o...)
}

// startBrowser is newBrowser for another server than Envoy.
func startBrowser(t *testing.T, addr, contextPath string, o ...browserOption) *browser {
	t.Helper()
	secure := browserOption(slices.Contains(o, asSecure))
	shared := chromiums[secure]
	shared.start.Do(func() { shared.err = shared.launch(secure) })
	if shared.err != nil {
		t.Fatalf("start Chromium: %v", shared.err)
	}
	b := &browser{watch: newWatch(t), t: t, base: pageOrigin + contextPath}
	proxy := startProxy(t, addr)
	ctx, end := chromedp.NewContext(shared.ctx, chromedp.WithListener(b.event), chromedp.WithNewBrowserContext(func(p *target.CreateBrowserContextParams) {
		p.ProxyServer, p.ProxyBypassList = "socks5://"+proxy, "<-loopback>"
	}))
	b.ctx = ctx
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	t.Cleanup(b.end)
	profile := chromedp.FromContext(ctx).BrowserContextID
	b.belongs(profile)
	order(b, "keep the focus beside other windows", emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	order(b, "watch for issues", audits.Enable, cdp.Empty{})
	// Requests of the tests' client have the same address, set by the trusted proxy.
	order(b, "set the client's address", network.SetExtraHTTPHeaders,
		network.SetExtraHTTPHeadersParams{Headers: network.Headers{"X-Forwarded-For": "10.1.2.3"}})
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		drive(b, "permit "+name, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.CallBrowser(ctx, devtools.SetPermission, devtools.SetPermissionParams{
				Permission: &devtools.PermissionDescriptor{Name: name}, Setting: devtools.PermissionSettingGranted, BrowserContextID: profile,
			})
			return err
		}))
	}
	b.emulate(1280, 800, false)
	return b
}

// startProxy serves SOCKS5 (RFC 1928) until the test ends: pageHost leads to addr, and
// other hosts are refused.
func startProxy(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go forward(client, addr)
		}
	}()
	return l.Addr().String()
}

// forward serves one client of startProxy.
func forward(client net.Conn, addr string) {
	defer client.Close()
	message := make([]byte, 512)
	says := func(want, answer string) bool {
		n, err := client.Read(message) // Chromium sends each message in one piece
		if err != nil || string(message[:n]) != want {
			return false
		}
		_, err = io.WriteString(client, answer)
		return err == nil
	}
	const port80 = "\x00\x50"
	connect := "\x05\x01\x00\x03" + string(rune(len(pageHost))) + pageHost + port80
	if !says("\x05\x01\x00", "\x05\x00") || !says(connect, "\x05\x00\x00\x01\x00\x00\x00\x00"+port80) {
		return
	}
	relay(client, addr, client)
}

// relay forwards a client's connection to a server, and what the server sends to a writer.
func relay(client io.Reader, addr string, received io.Writer) {
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client)
		server.Close()
	}()
	_, _ = io.Copy(received, server)
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

// chromiumPath returns the path of the browser: $TOKENGATE_CHROMIUM, or one in PATH. Debian's
// chromium-headless-shell is Chromium without its windows, which saves a third of the processor
// time, but it has no asSecure.
func chromiumPath(secure browserOption) (string, error) {
	names := []string{"chromium", "google-chrome", "chromium-browser"}
	if !secure {
		names = slices.Insert(names, 0, "chromium-headless-shell")
	}
	if named := os.Getenv("TOKENGATE_CHROMIUM"); named != "" {
		names = []string{named}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no browser named %s: run `make tools`, or set TOKENGATE_CHROMIUM to the path of Chromium or Chrome",
		strings.Join(names, " or "))
}

// end reports the problems that the browser found.
func (b *browser) end() {
	b.t.Helper()
	if b.ctx.Err() != nil {
		b.t.Error("Chromium ended early")
		return
	}
	for _, problem := range b.problems() {
		b.t.Errorf("the browser found %s", problem)
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
