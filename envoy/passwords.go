package envoy

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// password counts a request that brought a password. It waits for no I/O, and
// keeps nothing of what the client sent but the name of a user whom the
// directory knows, the User-Agent and the address.
func (r *Recorder) password(q *authz.Request, d authz.Decision, now time.Time) {
	user, known := "", false
	if r.IsKnown != nil && d.ClaimedUser != "" {
		user, known = r.IsKnown(d.ClaimedUser)
	}
	if !known {
		r.unknown.Add(1)
		return
	}
	use := store.PasswordUse{User: user, Client: clientName(q.UserAgent), Address: q.Client, First: now, Last: now}
	switch {
	case d.Outcome != authz.PassThrough:
		use.Blocked = 1
	case d.WouldBlock:
		use.WouldBlock = 1
		fallthrough
	default:
		use.Passed = 1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(r.pending, use)
}

// keep adds a use to a table, or counts it where that has no room.
func (r *Recorder) keep(t passwordTable, use store.PasswordUse) {
	if !t.add(use) {
		r.unknown.Add(use.Requests())
	}
}

// flushPasswords writes the uses of passwords.
func (r *Recorder) flushPasswords(ctx context.Context) error {
	r.mu.Lock()
	fresh := r.pending
	r.pending = make(passwordTable)
	r.mu.Unlock()
	for _, uses := range fresh {
		for _, use := range uses {
			r.keep(r.kept, use)
		}
	}
	for len(r.kept) > 0 {
		users, batch := r.kept.batch()
		left, err := r.store.AddPasswordUses(ctx, batch)
		if err != nil {
			return err
		}
		r.unknown.Add(left)
		for _, user := range users {
			delete(r.kept, user)
		}
	}
	r.kept = make(passwordTable) // a map keeps the room it once had
	return nil
}

// passwordTable has the uses of passwords by their user. It is bounded as the
// store is.
type passwordTable map[string][]store.PasswordUse

// add adds a use, and reports whether there was room. The texts of the use may
// be good for this call only.
func (t passwordTable) add(use store.PasswordUse) bool {
	uses, there := t[use.User]
	if !there && len(t) == store.MaxPasswordUsers {
		return false
	}
	if more := store.AddPasswordUse(uses, use); len(more) > len(uses) {
		t[more[0].User] = more
	}
	return true
}

// batch returns users and their uses, as many as the store takes at once.
func (t passwordTable) batch() (users []string, uses []store.PasswordUse) {
	for user, more := range t {
		if len(users) == store.MaxPasswordBatch {
			break
		}
		users, uses = append(users, user), append(uses, more...)
	}
	return users, uses
}

// clientName returns a User-Agent as a record may hold it: short, printable,
// and with the secret of any token cut out.
func clientName(agent string) string {
	const most = 100
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, token.Redact(agent[:min(len(agent), most)]))
}
