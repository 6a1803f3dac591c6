package identify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/store"
)

const (
	// storeTimeout bounds one use of the shared records, during which a request may hold a slot of its pool.
	storeTimeout = 3 * time.Second

	// sessionTTL is how long a session stays in the shared records, from when it was put there.
	sessionTTL = 12 * time.Hour

	// sessionRecords is the number of records of sessions, and maxSessions the maximum number of
	// sessions in each: 65,536 in all. A user's sessions are in one record, so that who makes many sessions, after which
	// older ones count as new, does not remove those of others.
	sessionRecords = 1 << 12
	maxSessions    = 16

	// maxLater limits the writes that are tried again at the same time.
	maxLater = 100
)

// sharedMemory is what the servers of one store remember together. Names and sessions are
// stored as HMACs with a key that these servers share. Passwords are not: who can read the store could guess them.
type sharedMemory struct {
	records store.SharedRecords
	key     store.SharedKey
	now     func() time.Time
	late    atomic.Int64 // writes that are tried again
}

func newSharedMemory(s store.SharedRecords, now func() time.Time) *sharedMemory {
	return &sharedMemory{records: s, now: now, key: store.SharedKey{Store: s, Name: "callers/key"}}
}

// sum returns the HMAC-SHA256 of a text of some kind.
func (m *sharedMemory) sum(ctx context.Context, kind, text string) (sum [sha256.Size]byte, err error) {
	key, err := m.key.Load(ctx)
	if err != nil {
		return sum, err
	}
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(kind + "\x00" + text))
	mac.Sum(sum[:0])
	return sum, nil
}

// acceptedSession is a session that the application has accepted, as it is stored.
type acceptedSession struct {
	Session [2]uint64 // its hash
	Until   int64     // when it is forgotten, in nanoseconds of Unix time
}

// acceptSession records that the application has accepted a user's session, and reports whether it is new: no server has
// recorded it for sessionTTL.
func (m *sharedMemory) acceptSession(ctx context.Context, user, session string) (isNew bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	sum, err := m.sum(ctx, "session", session)
	if err != nil {
		return false, err
	}
	of, err := m.sum(ctx, "sessions", store.FoldOwner(user))
	if err != nil {
		return false, err
	}
	record := fmt.Sprintf("sessions/%03x", binary.BigEndian.Uint16(of[:])%sessionRecords)
	accepted := acceptedSession{Session: [2]uint64{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}}
	now := m.now()
	accepted.Until = now.Add(sessionTTL).UnixNano()
	err = store.UpdateSharedList(ctx, m.records, record, func(all []acceptedSession) ([]acceptedSession, error) {
		isNew = true
		for _, s := range all {
			if left := time.Unix(0, s.Until).Sub(now); s.Session == accepted.Session && left > 0 {
				isNew = false
				if left >= knownTTL {
					return all, nil // no reason to write
				}
			}
		}
		all = slices.DeleteFunc(all, func(s acceptedSession) bool { return s.Session == accepted.Session || s.Until <= now.UnixNano() })
		all = append(all, accepted)
		return all[max(0, len(all)-maxSessions):], nil
	})
	return isNew && err == nil, err
}

// later tries to write in the background, after one second, and, until it succeeds, four times more within a minute.
func (m *sharedMemory) later(write func(context.Context) error) {
	if m.late.Add(1) > maxLater {
		m.late.Add(-1)
		return
	}
	go func() {
		defer m.late.Add(-1)
		for pause := time.Second; pause <= 16*time.Second; pause *= 2 {
			time.Sleep(pause)
			if err := write(context.Background()); err == nil || errors.Is(err, store.ErrClosed) {
				return
			}
		}
	}()
}
