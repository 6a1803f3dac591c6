package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/token"
)

// indexLimit is how old the state of tokens may be with which a replica decides.
const indexLimit = 30 * time.Second

// replicaLoad creates, changes, revokes and checks tokens at several replicas at the same time, and keeps the history.
type replicaLoad struct {
	t        *testing.T
	replicas []*replica
	ctx      context.Context
	stop     func() // returns when all requests have been answered

	mu       sync.Mutex
	names    int
	creating map[string]int // requests by user
	tokens   []*loadToken
	checks   []loadCheck
	counts   map[string]int // of outcomes
}

// loadToken is a token whose creation was acknowledged. The load's lock guards it.
type loadToken struct {
	value    token.Value
	id       string
	user     string
	creator  *replica
	created  time.Time // when it was acknowledged
	revoking time.Time // when the first request to revoke it was sent; zero: none was
	revoker  *replica
	revoked  time.Time // when that was acknowledged; zero: it was not
}

// loadCheck is an answer to a check.
type loadCheck struct {
	token        *loadToken
	by           *replica
	began, ended time.Time
	reason       string
}

// startReplicaLoad starts a load on replicas, which ends with the test.
func startReplicaLoad(t *testing.T, replicas ...*replica) *replicaLoad {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &replicaLoad{t: t, replicas: replicas, ctx: ctx, creating: make(map[string]int), counts: make(map[string]int)}
	var running sync.WaitGroup
	repeat := func(pause time.Duration, do func()) {
		running.Go(func() {
			again := time.NewTicker(pause)
			defer again.Stop()
			for ctx.Err() == nil {
				do()
				select {
				case <-again.C:
				case <-ctx.Done():
				}
			}
		})
	}
	for _, r := range replicas {
		for range 2 {
			repeat(50*time.Millisecond, func() { l.write(r) })
			repeat(20*time.Millisecond, func() {
				if token := l.pick(func(*loadToken) bool { return true }); token != nil {
					l.check(r, token)
				}
			})
		}
	}
	l.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(l.stop)
	return l
}

// write creates, changes or revokes a token.
func (l *replicaLoad) write(r *replica) {
	switch n := rand.IntN(10); {
	case n < 4:
		// Of a few users, so that several servers often want a user's last slot.
		l.create(r, fmt.Sprint("user", rand.IntN(3)))
	case n < 6:
		if token := l.pick(func(token *loadToken) bool { return token.revoking.IsZero() }); token != nil {
			l.count("change", r.change(token.id, fmt.Sprint("change ", n)))
		}
	default:
		if token := l.pick(func(token *loadToken) bool { return token.revoked.IsZero() }); token != nil {
			l.revoke(r, token)
		}
	}
}

// pick returns one of the newest tokens, or any, that is wanted; nil if none is.
func (l *replicaLoad) pick(wanted func(*loadToken) bool) *loadToken {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.tokens
	if rand.IntN(3) > 0 {
		from = from[max(0, len(from)-40):]
	}
	for range 100 {
		if len(from) == 0 {
			return nil
		}
		if token := from[rand.IntN(len(from))]; wanted(token) {
			return token
		}
	}
	return nil
}

// count counts an outcome.
func (l *replicaLoad) count(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		what += " done"
	case isLimit(err):
		what += " beyond the limit"
	default:
		what += " failed"
	}
	l.counts[what]++
}

// create creates a token of a user.
func (l *replicaLoad) create(r *replica, user string) (*loadToken, error) {
	l.mu.Lock()
	l.names++
	name := fmt.Sprint("load ", l.names)
	l.creating[user]++
	l.mu.Unlock()
	value, err := r.create(user, name)
	l.count("create", err)
	l.mu.Lock()
	l.creating[user]--
	if err == nil {
		defer l.mu.Unlock()
		token := &loadToken{value: value, id: value.ID().String(), user: user, creator: r, created: time.Now()}
		l.tokens = append(l.tokens, token)
		return token, nil
	}
	l.mu.Unlock()
	if isLimit(err) {
		l.revokeUnknown(r, user)
	}
	return nil, err
}

func isLimit(err error) bool { return err != nil && strings.Contains(err.Error(), "tokens.maxPerUser") }

// revokeUnknown revokes a user's tokens that nobody knows, because the answers to their creations were errors.
func (l *replicaLoad) revokeUnknown(r *replica, user string) {
	if _, sure := l.known(user); !sure {
		return
	}
	active, err := r.active()
	known, sure := l.known(user)
	if err != nil || !sure {
		return
	}
	for _, id := range active[user] {
		if !known[id] {
			l.count("revoke of an unknown token", r.revoke(id))
		}
	}
}

// known returns the user's tokens whose creation was acknowledged. sure is false while one is being created.
func (l *replicaLoad) known(user string) (ids map[string]bool, sure bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids = make(map[string]bool)
	for _, token := range l.tokens {
		ids[token.id] = true
	}
	return ids, l.creating[user] == 0
}

func (l *replicaLoad) revoke(r *replica, token *loadToken) error {
	l.mu.Lock()
	if token.revoking.IsZero() {
		token.revoking = time.Now()
	}
	l.mu.Unlock()
	err := r.revoke(token.id)
	l.count("revoke", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && token.revoked.IsZero() {
		token.revoked, token.revoker = time.Now(), r
	}
	return err
}

// check checks a token at a replica, and returns the reason.
func (l *replicaLoad) check(r *replica, token *loadToken) string {
	began := time.Now()
	reason, err := r.check(token.value)
	if err != nil {
		reason = err.Error()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks = append(l.checks, loadCheck{token, r, began, time.Now(), reason})
	return reason
}
