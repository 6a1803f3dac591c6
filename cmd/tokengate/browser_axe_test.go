package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/tokengate/tokengate/authz/token"
)

// Options of an axe run. The contrast check takes longer than all others together. The dark
// scheme changes only colours, and the narrow layout only sizes and places.
const (
	axeAll     = `runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`
	axeColours = `runOnly: ["color-contrast", "link-in-text-block"]`
	axePlaces  = `runOnly: ["target-size", "scrollable-region-focusable", "bypass", "region"]`
)

// axe returns the violations of WCAG 2.2 AA and best practices in the page, one line per
// element: rule, impact, selector and HTML.
func (b *browser) axe(checks string) []string {
	b.t.Helper()
	if b.noScripts { // axe needs timers
		b.scripts(true)
		defer b.scripts(false)
	}
	source := axeSource(b.t)
	lines := drive(b, "run axe", func(ctx context.Context, t *chromedp.Target) ([]string, error) {
		tree, err := cdp.Call(ctx, t, page.GetFrameTree, cdp.Empty{})
		if err != nil {
			return nil, err
		}
		// An isolated world has the page's elements, but not its scripts or its
		// Content-Security-Policy.
		world, err := cdp.Call(ctx, t, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: tree.FrameTree.Frame.ID, WorldName: "axe"})
		if err != nil {
			return nil, err
		}
		there := func(p *runtime.EvaluateParams) { p.ContextID = world.ExecutionContextID }
		known, err := chromedp.Evaluate[bool]("typeof axe === 'object'", there)(ctx, t) // since the last run on this document
		if err == nil && !known {
			_, err = chromedp.Evaluate[chromedp.Void](source, there)(ctx, t)
		}
		if err != nil {
			return nil, err
		}
		return chromedp.Evaluate[[]string](`axe.run(document, {resultTypes: ["violations"], `+checks+`})
			.then(found => found.violations.flatMap(v => v.nodes.map(n => [v.id, n.impact, n.target.join(" "), n.html].join("  "))))`,
			there, chromedp.EvalAwaitPromise)(ctx, t)
	})
	for i := range lines {
		lines[i] = token.Redact(lines[i])
	}
	return lines
}

// axeSource returns .tools/axe.js, which `make tools` downloads.
func axeSource(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("..", "..", ".tools", "axe.js"))
	if err != nil {
		t.Fatalf("run `make tools`: %v", err)
	}
	return string(source)
}
