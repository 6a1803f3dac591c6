package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 42: "42", 0.6123: "0.61", 1.5: "1.50", 9.994: "9.99", 9.996: "10.0", 22.64: "22.6",
		99.96: "100", 152.4: "152", 999.6: "1,000", 1234: "1,234", 82000.4: "82,000", 1e6: "1,000,000", -0.5: "-0.50",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestReport(t *testing.T) {
	r := &report{head: []string{"a machine"}}
	s := r.add("(b) A table", "", "req/s")
	s.line("tokengate", spread{82000, 80000, 84000}.String())
	s.note("a %s", "note")
	r.atMost("CPU", 0.6, "×", spread{0.61, 0.58, 0.66})
	r.atLeast("rate", 1.55, "", spread{1.6, 1.6, 1.6})
	const want = `a machine  
Figures are medians over rounds, with the smallest and the largest in brackets. Ratios are taken within a round. The targets were set before measuring.

**(b) A table**

|           | req/s                  |
|---        |---:                    |
| tokengate | 82,000 (80,000–84,000) |

a note

**Targets**

| what | target   | measured           |      |
|---   |---:      |---:                |---:  |
| CPU  | ≤ 0.60 × | 0.61 (0.58–0.66) × | fail |
| rate | ≥ 1.55   | 1.60               | pass |
`
	if diff := cmp.Diff(want, r.markdown()); diff != "" {
		t.Error(diff)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}},
	} {
		given := slices.Clone(c.values)
		if got := spreadOf(given...); got != c.want {
			t.Errorf("spreadOf(%v) = %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(given, c.values) {
			t.Errorf("%v was sorted in place", c.values)
		}
	}
}

// The ratio of the medians would be 1.
func TestRatiosAreTakenWithinARound(t *testing.T) {
	if got := ratios([]float64{1, 10, 4}, []float64{2, 20, 8}); got != (spread{0.5, 0.5, 0.5}) {
		t.Error(got)
	}
}

func TestQuantile(t *testing.T) {
	var s samples
	if got := s.quantile(0.99); got != 0 {
		t.Errorf("no samples have a p99 of %v", got)
	}
	for i := range 1000 {
		s = append(s, time.Duration(1000-i))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 501, 0.99: 991, 0.999: 1000, 1: 1000} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
}

func TestAlternate(t *testing.T) {
	var order []string
	record := func(name string) variant[int] {
		return variant[int]{name, func(context.Context) (int, error) {
			order = append(order, name)
			return len(order), nil
		}}
	}
	results, err := alternate(t.Context(), 2, []variant[int]{record("a"), record("b"), record("c")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(order, ""), "abc"+"bca"+"cab"; got != want {
		t.Errorf("the order was %s, want %s", got, want)
	}
	if diff := cmp.Diff([][]int{{6, 8}, {4, 9}, {5, 7}}, results); diff != "" {
		t.Errorf("results without the first round: (-want +got)\n%s", diff)
	}
	broken := errors.New("broken")
	_, err = alternate(t.Context(), 2, []variant[int]{{"a", func(context.Context) (int, error) { return 0, broken }}})
	if !errors.Is(err, broken) {
		t.Errorf("a failed slice returns %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = alternate(canceled, 2, []variant[int]{record("a")}); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled run returns %v", err)
	}
}
