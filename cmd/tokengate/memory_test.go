package main

import (
	"strings"
	"testing"
)

func TestPercentFor(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 400}, {1 << 20, 400}, {4 << 20, 400}, {8 << 20, 200}, {16 << 20, 100}, {32 << 20, 60}, {200 << 20, 60}, {1 << 40, 60},
	} {
		if got := percentFor(c.live); got != c.want {
			t.Errorf("with %d bytes alive the heap grows by %d %%, want %d", c.live, got, c.want)
		}
	}
}

// A server with few tokens collects less often than Go's default would, and
// leaves what the environment says alone.
func TestCollectorFits(t *testing.T) {
	r := newRig(t, options{})
	_, figures := r.probe("/metrics")
	if strings.Contains(figures, "\ngo_gc_gogc_percent 100\n") || !strings.Contains(figures, "\ngo_gc_gogc_percent ") {
		t.Error("the garbage collector is Go's default")
	}

	t.Setenv("GOGC", "55")
	t.Setenv("GOMEMLIMIT", "777MiB")
	r = newRig(t, options{})
	for _, line := range []string{"go_gc_gogc_percent 55", "go_gc_gomemlimit_bytes 8.14743552e+08"} {
		if !r.hasMetric(line) {
			t.Errorf("no metric %s", line)
		}
	}
}
