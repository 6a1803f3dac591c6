package directory

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"
)

// What callers can make grow has an end.
func TestMemoryIsBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func() time.Time { return now }

	kept := answers{most: maxAnswers}
	h := newHasher()
	first := h.sum(byCookie, "0")
	for i := range maxAnswers + 10 {
		kept.put(keptAnswer{key: h.sum(byCookie, strconv.Itoa(i)), until: now.Add(time.Second)}, now)
		kept.get(first, now) // in use, so it stays
	}
	if _, ok := kept.get(first, now); !ok || len(kept.byKey) != maxAnswers || kept.order.Len() != maxAnswers {
		t.Errorf("%d answers, the one in use: %v", len(kept.byKey), ok)
	}
	kept.put(keptAnswer{key: first, until: now.Add(2 * time.Second)}, now.Add(time.Second))
	if len(kept.byKey) != 1 || kept.order.Len() != 1 {
		t.Errorf("%d answers are kept for longer than they are good", len(kept.byKey))
	}
	kept.put(keptAnswer{key: first, until: now}, now)
	if len(kept.byKey) != 0 {
		t.Error("an answer is kept that was never good")
	}
	if h.sum(byBasic, "0") == first || newHasher().sum(byCookie, "0") == first {
		t.Error("a hash does not depend on the kind and the key")
	}

	l := lockout{now: clock}
	for i := range maxFailing {
		if err := l.begin("user"+strconv.Itoa(i), false); err != nil {
			t.Fatal(err)
		}
		l.failed("user" + strconv.Itoa(i))
	}
	if err := l.begin("one more", false); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("one name too many: %v", err)
	}
	if err := l.begin("proven", true); err != nil {
		t.Errorf("one whose password was right lately: %v", err)
	}
	l.succeeded("proven")
	if err := l.begin("user0", false); err != nil {
		t.Errorf("one that is counted: %v", err)
	}
	now = now.Add(failuresLast)
	if err := l.begin("one more", false); err != nil || len(l.names) > 2 {
		t.Errorf("a week later: %v, %d names", err, len(l.names))
	}

	var f flights[int]
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	land := make(chan struct{})
	for i := range maxFlights {
		_, _ = f.do(gone, i, time.Minute, func(context.Context) (User, error) { <-land; return User{}, nil })
	}
	if _, err := f.do(t.Context(), -1, time.Minute, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("one question too many: %v", err)
	}
	close(land)
}
