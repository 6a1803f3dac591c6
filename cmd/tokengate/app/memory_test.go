package app

import "testing"

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
