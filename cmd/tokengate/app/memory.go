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

// gcTuner tunes Go's garbage collector to the container and to the number of tokens.
// GOMEMLIMIT and GOGC in the environment take precedence.
type gcTuner struct {
	percent int // the last value set; 0: set by the environment
	live    []metrics.Sample
}

// headroom is how many bytes may be allocated before the garbage collector runs again.
// By default it runs when the heap has doubled: with few tokens, and so a heap of a few
// megabytes, dozens of times a second under load.
const headroom = 16 << 20

// newGCTuner sets 90 % of the container's memory as the soft limit: near it, the
// garbage collector runs more often, before the kernel kills the process.
func newGCTuner(ctx context.Context, log *zap.Logger) *gcTuner {
	// Kubernetes can change the limit of a running container.
	if _, err := memlimit.Set(memlimit.WithRatio(0.9), memlimit.WithRefreshInterval(ctx, time.Minute)); err != nil {
		log.Warn("cannot read the container's memory limit; Go's garbage collector has no limit", zap.Error(err))
	}
	t := &gcTuner{live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	if os.Getenv("GOGC") == "" {
		t.percent = 1 // so that the first fit sets it, whatever it finds
	}
	return t
}

// fit lets the garbage collector run when headroom is used up or the heap has grown by
// 60 %: with a million tokens, twice the heap would be too much. Call it regularly,
// because the live heap changes.
func (t *gcTuner) fit() {
	if t.percent == 0 {
		return
	}
	metrics.Read(t.live)
	wanted := percentFor(t.live[0].Value.Uint64())
	// A change briefly stops all threads.
	if wanted > t.percent+t.percent/4 || wanted < t.percent-t.percent/4 {
		t.percent = wanted
		debug.SetGCPercent(wanted)
	}
}

// percentFor returns how much the heap may grow, in percent of its live bytes. These are
// 0 before the first collection.
func percentFor(live uint64) int {
	// The runtime's minimum heap is 4 MiB, scaled by this percentage.
	const least, most = 60, 100 * headroom / (4 << 20)
	return int(min(max(100*headroom/max(live, 1), least), most))
}
