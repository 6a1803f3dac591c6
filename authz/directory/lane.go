package directory

import (
	"context"
	"time"
)

const (
	// unknownRate, unknownBurst and unknownWait are of credentials of which
	// nothing is known. Anybody can make them up, so that who would wait longer
	// is refused at once.
	unknownRate  = 10
	unknownBurst = 20
	unknownWait  = 2 * time.Second

	// provenRate, provenBurst and provenWait are of those that were good lately.
	provenRate  = 20
	provenBurst = 40
	provenWait  = identifyTime

	// laneAtOnce is how many questions of one lane are under way at once.
	laneAtOnce = 8

	// A credential that was good is remembered for provenLasts after the last
	// time that Jira said so, and of too many those that were used last.
	provenLasts = 8 * time.Hour
	maxProven   = 10_000
)

// lane is a way to Jira with a pace and places of its own: whoever is in
// another one holds up nobody here.
type lane struct {
	pace    pace
	wait    time.Duration // at most, before a question goes
	places  chan struct{}
	flights flights[credentialHash]
}

func newLane(now func() time.Time, rate, burst int, wait time.Duration) *lane {
	return &lane{
		pace:   pace{now: now, every: time.Second / time.Duration(rate), burst: burst},
		wait:   wait,
		places: make(chan struct{}, laneAtOnce),
	}
}

// enter returns when a question may go, or ErrBusy: at once if it is known that
// it would wait for too long. Who has entered leaves.
func (l *lane) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	if l.pace.wait(ctx) != nil {
		return ErrBusy
	}
	select {
	case l.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ErrBusy
	}
}

func (l *lane) leave() { <-l.places }
