package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 42: "42", 0.6123: "0.61", 1.5: "1.50", 9.994: "9.99", 9.996: "10.0", 22.64: "22.6",
		99.96: "100", 152.4: "152", 999.6: "1,000", 1234: "1,234", 82000.4: "82,000", 1e6: "1,000,000", -1234567: "-1,234,567", -0.5: "-0.50",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %s, not %s", v, got, want)
		}
	}
	if got := (spread{0.61, 0.58, 0.66}).String(); got != "0.61 (0.58–0.66)" {
		t.Error(got)
	}
	if got := (spread{200, 200, 200}).String(); got != "200" {
		t.Error(got)
	}
}

func sampleReport() *report {
	r := &report{Machine: machine{CPU: "a <fast> & small one", Cores: 2, Date: "2026-01-02"}}
	s := section{Row: "b", Title: "a table", Columns: []string{"", "req/s"}, Notes: []string{"a note"}}
	s.Lines = append(s.Lines, []string{"tokengate", s.cell("tokengate", "req/s", spread{82000, 80000, 84000})})
	r.Sections = append(r.Sections, s)
	r.judgeLoad(full, spread{0.61, 0.58, 0.66}, spread{1.6, 1.5, 1.7})
	return r
}

func TestReport(t *testing.T) {
	r := sampleReport()
	var text, markdown, data strings.Builder
	r.text(&text)
	r.markdown(&markdown)
	if err := r.json(&data); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a <fast> & small one", "82,000 (80,000–84,000)", "a note", "≤ 0.60 ×   0.61 (0.58–0.66) ×    missed", "≥ 1.55 ×   1.60 (1.50–1.70) ×   reached"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, &text)
		}
	}
	for _, want := range []string{"|  | req/s |\n|---|---:|\n| tokengate | 82,000 (80,000–84,000) |", "| ≤ 0.60 × | 0.61 (0.58–0.66) × | missed |"} {
		if !strings.Contains(markdown.String(), want) {
			t.Errorf("%q is not in\n%s", want, &markdown)
		}
	}
	var back report
	if err := json.Unmarshal([]byte(data.String()), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Sections, back.Sections, cmp.AllowUnexported(figure{})); diff != "" {
		t.Errorf("as JSON: (-want +got)\n%s", diff)
	}
}

// The picture must be well-formed, whatever the machine is called, and show
// every bar.
func TestPicture(t *testing.T) {
	r := sampleReport()
	var b strings.Builder
	r.svg(&b)
	rects, texts := 0, ""
	decoder := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, &b)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "rect" {
				rects++
			}
		case xml.CharData:
			texts += string(token)
		}
	}
	if rects != len(r.Bars) || len(r.Bars) != 2 {
		t.Errorf("%d bars are drawn, of %d", rects, len(r.Bars))
	}
	for _, want := range []string{"a <fast> & small one", "server CPU per request, full headers", "0.61× (mark 0.60)"} {
		if !strings.Contains(texts, want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
}

func TestGCSettings(t *testing.T) {
	for _, c := range []struct {
		metrics map[string]float64
		want    []string
	}{
		{map[string]float64{gcMetric: 100, limitMetric: 9.223372036854775807e18}, nil},
		{map[string]float64{}, nil},
		{map[string]float64{gcMetric: 400, limitMetric: 512 << 20}, []string{"GOGC=400", "GOMEMLIMIT=536870912"}},
		{map[string]float64{gcMetric: -1, limitMetric: 9.223372036854775807e18}, []string{"GOGC=off"}},
	} {
		if diff := cmp.Diff(c.want, gcSettings(c.metrics)); diff != "" {
			t.Errorf("%v: (-want +got)\n%s", c.metrics, diff)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-rows", "f"}, {"-rows", ""}, {"-rows", "a,,b"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
