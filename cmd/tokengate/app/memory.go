package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"
)

// collector fits Go's garbage collector to the container and to the tokens. It
// leaves alone what the environment says of GOMEMLIMIT and GOGC.
type collector struct {
	percent int // as set last; 0: the environment's
	live    []metrics.Sample
}

// headroom is what may be allocated, in bytes, until the garbage collector runs
// again. By itself it runs when the heap has doubled: with few tokens, whose
// heap is of some megabytes, that is dozens of times a second under load.
const headroom = 16 << 20

// newCollector takes 90 % of the container's memory for a soft limit: near it,
// the garbage collector runs more often rather than the kernel ends the
// process.
func newCollector(ctx context.Context, log *zap.Logger) *collector {
	// Kubernetes can change the limit of a container that runs.
	if _, err := memlimit.Set(memlimit.WithRatio(0.9), memlimit.WithRefreshInterval(ctx, time.Minute)); err != nil {
		log.Warn("cannot tell how much memory the container has; Go's garbage collector knows no limit", zap.Error(err))
	}
	c := &collector{live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	if os.Getenv("GOGC") == "" {
		c.percent = 100
	}
	return c
}

// fit makes the garbage collector wait until headroom is used up, or the heap
// has grown by some 60 %: with a million tokens twice the heap would be too much. It is to be called every now and then: what is live changes.
func (c *collector) fit() {
	if c.percent == 0 {
		return
	}
	metrics.Read(c.live)
	wanted := percentFor(c.live[0].Value.Uint64())
	// A change stops all threads for a moment.
	if wanted > c.percent+c.percent/4 || wanted < c.percent-c.percent/4 {
		c.percent = wanted
		debug.SetGCPercent(wanted)
	}
}

// percentFor returns how much the heap may grow, in percent of the bytes that
// live in it, which are 0 before the first collection.
func percentFor(live uint64) int {
	// The runtime lets the heap have 4 MiB in any case, times this figure.
	const least, most = 60, 100 * headroom / (4 << 20)
	return int(min(max(100*headroom/max(live, 1), least), most))
}
