package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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
		if diff := cmp.Diff(c.want, spreadOf(c.values)); diff != "" {
			t.Errorf("%v: (-want +got)\n%s", c.values, diff)
		}
		if !slices.Equal(given, c.values) {
			t.Errorf("%v was put in order: rounds lose their partners", given)
		}
	}
}

// A ratio of medians would be 1 here; each round says otherwise.
func TestRatiosAreTakenWithinARound(t *testing.T) {
	ours, theirs := []float64{1, 10, 4}, []float64{2, 20, 8}
	if diff := cmp.Diff([]float64{0.5, 0.5, 0.5}, ratios(ours, theirs)); diff != "" {
		t.Error(diff)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	if got := h.quantile(0.99); got != 0 {
		t.Errorf("an empty histogram has a p99 of %v", got)
	}
	var a, b histogram
	for i := range 1000 {
		part := &a
		if i%2 == 1 {
			part = &b
		}
		part.add(time.Duration(i+1) * time.Microsecond)
	}
	h.merge(&a)
	h.merge(&b)
	for q, want := range map[float64]time.Duration{0: time.Microsecond, 0.5: 501 * time.Microsecond, 0.99: 991 * time.Microsecond, 0.999: time.Millisecond, 1: time.Millisecond} {
		got := h.quantile(q)
		if got < want || float64(got) > float64(want)*(1+1.0/histogramSteps) {
			t.Errorf("quantile %v is %v, not %v or a little above", q, got, want)
		}
	}
}

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, d := range []time.Duration{-5, 0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 1000, 1_000_000, time.Second, time.Hour, math.MaxInt64} {
		b := bucketOf(d)
		if b < last || b >= histogramBuckets {
			t.Errorf("%d is in bucket %d, behind %d", d, b, last)
		}
		last = b
		if d >= 0 && d <= time.Hour && (endOf(b) < d || endOf(b) > d+d/histogramSteps) {
			t.Errorf("%d is in a bucket that ends at %d", d, endOf(b))
		}
	}
}

func TestAlternate(t *testing.T) {
	var order []string
	contend := func(name string) contender[int] {
		return contender[int]{name, func(context.Context) (int, error) {
			order = append(order, name)
			return len(order), nil
		}}
	}
	results, err := alternate(t.Context(), 2, []contender[int]{contend("a"), contend("b"), contend("c")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(order, ""), "abc"+"bca"+"cab"; got != want {
		t.Errorf("the order was %s, not %s", got, want)
	}
	if diff := cmp.Diff([][]int{{6, 8}, {4, 9}, {5, 7}}, results); diff != "" {
		t.Errorf("without the warm-up: (-want +got)\n%s", diff)
	}

	broken := errors.New("broken")
	_, err = alternate(t.Context(), 2, []contender[int]{{"a", func(context.Context) (int, error) { return 0, broken }}})
	if !errors.Is(err, broken) {
		t.Errorf("a slice that fails gives %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = alternate(ended, 2, []contender[int]{contend("a")}); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted run gives %v", err)
	}
}
