package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// The picture's measures, in pixels.
const (
	pictureWidth = 760
	labelWidth   = 300
	barTop       = 64
	barPitch     = 40
	barHeight    = 16
	barRoom      = pictureWidth - labelWidth - 145 // for bars and their whiskers
)

// pictureStyle follows the reader's light or dark setting, where the page lets
// it; its greys can be read on both.
const pictureStyle = `
  text { font: 13px system-ui, sans-serif; fill: #57606a }
  .title { font-weight: 600; font-size: 15px }
  .small { font-size: 11px }
  .bar { fill: #4c8dae }
  .missed { fill: #b08a4f }
  .line { stroke: #8c959f; stroke-width: 1 }
  .whisker { stroke: #6e7781; stroke-width: 1.5 }
  .mark { stroke: #8c959f; stroke-width: 1.5; stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9da7b3 }
    .bar { fill: #5b9dbf }
    .missed { fill: #c09a5f }
    .whisker { stroke: #b1bac4 }
  }
`

// svg draws the ratios of rows b and c as bars around 1, with their extremes
// and their marks.
func (r *report) svg(w io.Writer) {
	height := barTop + barPitch*len(r.Bars) + 34
	// One slice that went wrong must not make all bars short.
	largest := 1.0
	for _, b := range r.Bars {
		for _, v := range []float64{1.25 * b.Found.Median, 1.25 * b.Mark} {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				largest = max(largest, v)
			}
		}
	}
	x := func(v float64) float64 {
		if math.IsNaN(v) {
			v = 0
		}
		return labelWidth + barRoom*min(max(v, 0), largest)/largest
	}
	p := &picture{w: w}
	p.line(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="tokengate compared with a stock server that allows everything">`, pictureWidth, height)
	p.line(`<style>%s</style>`, pictureStyle)
	p.text(12, 24, "title", "start", "tokengate ÷ a stock gRPC server that allows everything")
	p.text(12, 44, "small", "start", strings.Join(r.Machine.lines()[:1], " ")+", "+r.Machine.Date)
	bottom := float64(barTop + barPitch*len(r.Bars))
	for i, b := range r.Bars {
		middle := float64(barTop + barPitch*i + barPitch/2)
		class, better := "bar", "more is better"
		if b.Less {
			better = "less is better"
		}
		if b.Less && b.Found.Median > b.Mark || !b.Less && b.Found.Median < b.Mark {
			class = "bar missed"
		}
		p.text(labelWidth-12, middle-1, "", "end", b.Label)
		p.text(labelWidth-12, middle+12, "small", "end", better)
		p.line(`<rect class="%s" x="%d" y="%.1f" width="%.1f" height="%d" rx="2"/>`, class, labelWidth, middle-barHeight/2, x(b.Found.Median)-labelWidth, barHeight)
		p.rule("whisker", x(b.Found.Min), middle, x(b.Found.Max), middle)
		p.rule("mark", x(b.Mark), middle-barHeight/2-5, x(b.Mark), middle+barHeight/2+5)
		p.text(pictureWidth-130, middle+4, "", "start", fmt.Sprintf("%s× (mark %s)", number(b.Found.Median), number(b.Mark)))
	}
	p.rule("line", labelWidth, barTop, labelWidth, bottom)
	p.rule("line", x(1), barTop, x(1), bottom)
	p.text(x(1), bottom+14, "small", "middle", "1 = the stock server")
	p.text(12, bottom+28, "small", "start", "Bars: median of the rounds. Thin lines: smallest to largest, or to the edge. Dashed: the mark to reach.")
	p.line(`</svg>`)
}

// picture writes SVG elements.
type picture struct{ w io.Writer }

func (p *picture) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

func (p *picture) rule(class string, x1, y1, x2, y2 float64) {
	p.line(`<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

func (p *picture) text(x, y float64, class, anchor, text string) {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(text)) // a Builder takes everything
	p.line(`<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, class, x, y, anchor, &escaped)
}
