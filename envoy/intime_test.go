package envoy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Every question ends within ten seconds, whatever deadline its client sets.
func TestQuestionsEndInTime(t *testing.T) {
	for name, c := range map[string]struct{ deadline, want time.Duration }{
		"Envoy's":  {2 * time.Second, 2 * time.Second},
		"none":     {0, checkTimeout},
		"far away": {time.Hour, checkTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, c.deadline)
				defer cancel()
			}
			began := time.Now()
			ctx, err := limitTime(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
			if took := time.Since(began); took != c.want {
				t.Errorf("%s: it ended after %v, want %v", name, took, c.want)
			}
		})
	}
}
