package main

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"
)

// quietUser is a user whose tokens only settle and the tests create.
const quietUser = "quiet"

// settle waits until all replicas answer with the present state: writes work at each and act at all, and all
// accept the tokens that nobody wants to revoke.
func (l *replicaLoad) settle() {
	l.t.Helper()
	for _, r := range l.replicas {
		l.turn(r, r)
	}
	l.mu.Lock()
	all := slices.Clone(l.tokens)
	l.mu.Unlock()
	for _, token := range all {
		for _, r := range l.replicas {
			l.accepts(r, token)
		}
	}
}

// turn creates a token at a replica and revokes it at another, and waits until each acts at all.
func (l *replicaLoad) turn(creator, revoker *replica) {
	l.t.Helper()
	var token *loadToken
	eventually(l.t, "create at "+creator.name, func() (err error) {
		token, err = l.create(creator, quietUser)
		return err
	})
	for _, r := range l.replicas {
		l.accepts(r, token)
	}
	eventually(l.t, "revoke at "+revoker.name, func() error { return l.revoke(revoker, token) })
	for _, r := range l.replicas {
		eventually(l.t, "a token at "+r.name+" that was revoked at "+revoker.name, func() error {
			return wantReason("unknown_token", l.check(r, token))
		})
	}
}

// accepts waits until a replica accepts a token, unless somebody asks to revoke it.
func (l *replicaLoad) accepts(r *replica, token *loadToken) {
	l.t.Helper()
	eventually(l.t, "a token at "+r.name+" that was created at "+token.creator.name, func() error {
		if !l.isKept(token) {
			return nil
		}
		reason := l.check(r, token)
		if !l.isKept(token) {
			return nil
		}
		return wantReason("allowed", reason)
	})
}

func wantReason(want, got string) error {
	if got != want {
		return fmt.Errorf("the answer is %s, want %s", got, want)
	}
	return nil
}

// isKept reports whether nobody has asked to revoke a token.
func (l *replicaLoad) isKept(token *loadToken) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return token.revoking.IsZero()
}

// eventually waits until do works, by doing it again and again.
func eventually(t *testing.T, what string, do func() error) {
	t.Helper()
	deadline := time.After(3 * indexLimit)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := do()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("%s: it did not come in %v: %v", what, 3*indexLimit, err)
		}
	}
}

// verify ends the load and checks its whole history.
func (l *replicaLoad) verify() {
	l.t.Helper()
	l.stop()
	l.t.Logf("%d checks of %d tokens; %v", len(l.checks), len(l.tokens), l.counts)
	l.verifyAnswers()
	l.verifyLimits()
	l.verifyState()
}

// verifyAnswers checks each answer. A replica acts on what it has acknowledged itself at once. What another has
// acknowledged may come later, but a replica never goes back behind what it has shown, and never shows what is older than the limit.
func (l *replicaLoad) verifyAnswers() {
	l.t.Helper()
	type of struct {
		*loadToken
		*replica
	}
	slices.SortFunc(l.checks, func(a, b loadCheck) int { return a.ended.Compare(b.ended) })
	accepted, refused := make(map[of]time.Time), make(map[of]time.Time) // by the first answer that shows that the replica knows of it
	first := func(m map[of]time.Time, c loadCheck) {
		if _, there := m[of{c.token, c.by}]; !there {
			m[of{c.token, c.by}] = c.ended
		}
	}
	for _, c := range l.checks {
		t := c.token
		if c.reason == "allowed" {
			first(accepted, c)
		}
		if c.reason == "unknown_token" && !t.revoked.IsZero() && c.began.After(t.revoked) {
			first(refused, c)
		}
	}
	reasons := make(map[string]int)
	since := func(at time.Time, c loadCheck) time.Duration { return c.began.Sub(at).Round(time.Millisecond) }
	for _, c := range l.checks {
		t := c.token
		reasons[c.by.name+" "+c.reason]++
		shown, known := accepted[of{t, c.by}]
		known = known && c.began.After(shown) || c.by == t.creator && c.began.After(t.created) || c.began.After(t.created.Add(indexLimit))
		ended, ends := refused[of{t, c.by}]
		ends = ends && c.began.After(ended) || !t.revoked.IsZero() &&
			(c.by == t.revoker && c.began.After(t.revoked) || c.began.After(t.revoked.Add(indexLimit)))
		switch {
		case c.reason == "index_stale":
		case c.reason == "allowed" && ends:
			l.t.Errorf("%s has accepted a token %v after %s had revoked it", c.by.name, since(t.revoked, c), t.revoker.name)
		case c.reason == "unknown_token" && known && (t.revoking.IsZero() || c.ended.Before(t.revoking)):
			l.t.Errorf("%s has refused a token %v after %s had created it", c.by.name, since(t.created, c), t.creator.name)
		case c.reason != "allowed" && c.reason != "unknown_token":
			l.t.Errorf("%s has answered %s", c.by.name, c.reason)
		}
	}
	l.t.Logf("answers: %v", reasons)
}

// verifyLimits checks that no user had too many tokens at any time.
func (l *replicaLoad) verifyLimits() {
	l.t.Helper()
	type event struct {
		at   time.Time
		user string
		more int
	}
	var events []event
	for _, token := range l.tokens {
		if token.revoking.IsZero() || token.revoking.After(token.created) {
			events = append(events, event{token.created, token.user, 1})
			if !token.revoking.IsZero() {
				events = append(events, event{token.revoking, token.user, -1})
			}
		}
	}
	slices.SortFunc(events, func(a, b event) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.more, b.more)) })
	owned := make(map[string]int)
	for _, e := range events {
		if owned[e.user] += e.more; owned[e.user] > maxTokens {
			l.t.Errorf("%s has %d tokens", e.user, owned[e.user])
		}
	}
}

// verifyState checks what is in the store at the end.
func (l *replicaLoad) verifyState() {
	l.t.Helper()
	for _, r := range l.replicas {
		active, err := r.active()
		if err != nil {
			l.t.Fatal(err)
		}
		there := make(map[string]bool)
		for user, ids := range active {
			if len(ids) > maxTokens {
				l.t.Errorf("at %s, %s has %d tokens", r.name, user, len(ids))
			}
			for _, id := range ids {
				there[id] = true
			}
		}
		for _, token := range l.tokens {
			if token.revoking.IsZero() && !there[token.id] {
				l.t.Errorf("%s has lost a token", r.name)
			}
			if !token.revoked.IsZero() && there[token.id] {
				l.t.Errorf("%s has brought a revoked token back", r.name)
			}
		}
	}
}
