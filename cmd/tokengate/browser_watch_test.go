package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/tokengate/tokengate/authz/token"
)

// watch collects what no page may do: errors and warnings on the console, including
// policy violations, requests to other origins, dialogs that block the page, tabs and
// workers that are not watched, and token values in URLs and on the console.
type watch struct {
	t *testing.T

	mu       sync.Mutex
	found    []string
	urls     []string        // requested
	searched map[string]bool // history entries
	allowed  []int           // statuses of requests from now on
	requests map[network.RequestID]*asked
	frames   map[cdp.FrameID]bool // subframes
	document int64                // its status
	profile  cdp.BrowserContextID // others have the tabs of other browsers
}

// asked is a request of a page.
type asked struct {
	url     string
	loader  cdp.LoaderID // the requesting document
	allowed []int        // statuses that are expected
	done    bool
}

func newWatch(t *testing.T) *watch {
	return &watch{t: t, searched: map[string]bool{}, requests: map[network.RequestID]*asked{}, frames: map[cdp.FrameID]bool{}}
}

// belongs sets the browser's profile.
func (w *watch) belongs(profile cdp.BrowserContextID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.profile = profile
}

// allowStatus sets the statuses of 400 and above that responses to requests from now on
// may have; others are problems, because Chromium logs them as errors.
func (w *watch) allowStatus(statuses ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allowed = statuses
}

// status returns the status of the last document.
func (w *watch) status() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int(w.document)
}

// idle reports whether all requests are answered.
func (w *watch) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.requests {
		if !r.done {
			return false
		}
	}
	return true
}

// see handles every event of a tab, in order and before the results of later commands.
func (w *watch) see(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		w.ask(e.Request.URL + e.Request.URLFragment)
		// The end of a worker's request is not reported.
		w.requests[e.RequestID] = &asked{url: e.Request.URL, loader: e.LoaderID, allowed: w.allowed, done: e.LoaderID == ""}
	case *network.EventWebSocketCreated:
		w.ask(e.URL)
	case *network.EventWebTransportCreated:
		w.ask(e.URL)
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument && !w.frames[e.FrameID] {
			w.document = e.Response.Status
		}
	case *network.EventLoadingFinished:
		w.answered(e.RequestID)
	case *network.EventLoadingFailed:
		w.answered(e.RequestID)
	case *page.EventFrameAttached:
		w.frames[e.FrameID] = true
	case *page.EventFrameNavigated:
		if e.Frame.ParentID == "" {
			w.leave(e.Frame.LoaderID)
		}
	case *page.EventJavascriptDialogOpening:
		w.add("a dialog: %s", e.Message)
	case *runtime.EventConsoleAPICalled:
		w.console(e)
	case *runtime.EventExceptionThrown:
		d := e.ExceptionDetails
		if d.Exception != nil {
			d.Text += " " + d.Exception.Description
		}
		w.add("an exception: %s (%s:%d)", d.Text, d.URL, d.LineNumber+1)
	case *log.EventEntryAdded:
		w.entry(e.Entry)
	case *audits.EventIssueAdded:
		// Generic issues are hints, and some appear at random.
		if e.Issue.Code == audits.InspectorIssueCodeGenericIssue {
			break
		}
		details, _ := json.Marshal(e.Issue.Details)
		w.add("an issue: %s %s", e.Issue.Code, details)
	case *target.EventTargetCreated:
		// The tab itself is attached already.
		kinds := []string{"page", "iframe", "worker", "shared_worker", "service_worker"}
		if i := e.TargetInfo; i.BrowserContextID == w.profile && !i.Attached && slices.Contains(kinds, i.Type) {
			w.add("something that is not watched: a %s of %s", i.Type, i.URL)
		}
	}
}

func (w *watch) add(format string, args ...any) {
	w.found = append(w.found, fmt.Sprintf(format, args...))
}

// ask notes a URL that a page requests.
func (w *watch) ask(text string) {
	w.urls = append(w.urls, text)
	u, err := url.Parse(text)
	if err != nil {
		w.add("an invalid URL: %s", text)
	} else if u.Scheme+"://"+u.Host != pageOrigin && !slices.Contains([]string{"data", "blob", "about"}, u.Scheme) {
		w.add("a request to another origin: %s", text)
	}
}

func (w *watch) answered(id network.RequestID) {
	if r := w.requests[id]; r != nil {
		r.done = true
	}
}

// leave marks the requests of other documents as done.
func (w *watch) leave(loader cdp.LoaderID) {
	for _, r := range w.requests {
		if r.loader != loader {
			r.done = true
		}
	}
}

// console notes console messages that are warnings or errors, or contain a token.
func (w *watch) console(e *runtime.EventConsoleAPICalled) {
	var text string
	for _, arg := range e.Args {
		text += " " + cmp.Or(string(arg.Value), arg.Description, string(arg.UnserializableValue))
	}
	worse := []runtime.ConsoleAPICalledType{runtime.ConsoleAPICalledTypeError, runtime.ConsoleAPICalledTypeWarning, runtime.ConsoleAPICalledTypeAssert}
	if found := findSecret(w.t, text); found != "" {
		w.add("%s on the console:%s", found, text)
	} else if slices.Contains(worse, e.Type) {
		w.add("console.%s:%s", e.Type, text)
	}
}

var failedWith = regexp.MustCompile(`the server responded with a status of (\d+)`)

// entry notes what Chromium writes to the console.
func (w *watch) entry(e *log.Entry) {
	if e.Level != log.EntryLevelWarning && e.Level != log.EntryLevelError {
		return
	}
	if m := failedWith.FindStringSubmatch(e.Text); m != nil && e.Source == log.EntrySourceNetwork {
		// Chromium requests /favicon.ico for pages without an icon.
		r, status := w.requests[e.NetworkRequestID], m[1]
		if r != nil && (r.url == pageOrigin+"/favicon.ico" || slices.ContainsFunc(r.allowed, func(n int) bool { return strconv.Itoa(n) == status })) {
			return
		}
	}
	w.add("%s of %s: %s (%s)", e.Level, e.Source, e.Text, e.URL)
}

// problems returns the problems since the last call, including tokens in the history.
func (b *browser) problems() (found []string) {
	b.t.Helper()
	history := drive(b, "read the history", chromedp.NavigationEntries())
	w := b.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, entry := range history.Entries {
		for _, text := range []string{entry.URL, entry.UserTypedURL, entry.Title} {
			if !w.searched[text] {
				w.searched[text] = true
				w.urls = append(w.urls, text)
			}
		}
	}
	for _, text := range w.urls {
		plain, err := url.QueryUnescape(text)
		if err != nil {
			plain = text
		}
		if secret := findSecret(w.t, plain); secret != "" {
			w.add("%s in a URL: %s", secret, plain)
		}
	}
	for _, problem := range w.found {
		found = append(found, token.Redact(problem))
	}
	w.found, w.urls = nil, nil
	return found
}
