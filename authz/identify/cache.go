package identify

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

// Limits on the number of cached answers.
const (
	maxAnswers  = 2000
	maxRefusals = 1000
)

// credentialHash identifies a credential: its HMAC-SHA256 with a key that is
// random per process, so that passwords can't be guessed from it.
type credentialHash [sha256.Size]byte

// hasher computes credentialHashes.
type hasher struct{ key [32]byte }

func newHasher() hasher {
	var h hasher
	_, _ = rand.Read(h.key[:]) // never fails
	return h
}

// sum returns the hash of a credential of this kind.
func (h hasher) sum(kind credentialKind, credential string) (sum credentialHash) {
	mac := hmac.New(sha256.New, h.key[:])
	mac.Write([]byte{byte(kind)})
	mac.Write([]byte(credential))
	mac.Sum(sum[:0])
	return sum
}

// answerCache is an LRU cache of answers about credentials, each with a
// lifetime.
type answerCache struct {
	maxSize int

	mu    sync.Mutex
	byKey map[credentialHash]*list.Element
	order list.List // of cachedAnswer, most recently used first
}

type cachedAnswer struct {
	key   credentialHash
	user  directory.User
	err   error
	until time.Time
}

// get returns an answer that has not expired.
func (a *answerCache) get(key credentialHash, now time.Time) (cachedAnswer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.byKey[key]
	if !ok {
		return cachedAnswer{}, false
	}
	entry := e.Value.(cachedAnswer)
	if !now.Before(entry.until) {
		a.remove(e)
		return cachedAnswer{}, false
	}
	a.order.MoveToFront(e)
	return entry, true
}

// put stores an answer and removes expired ones.
func (a *answerCache) put(entry cachedAnswer, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byKey == nil {
		a.byKey = make(map[credentialHash]*list.Element)
	}
	if e, ok := a.byKey[entry.key]; ok {
		a.remove(e)
	}
	a.byKey[entry.key] = a.order.PushFront(entry)
	for e := a.order.Back(); len(a.byKey) > a.maxSize || !now.Before(e.Value.(cachedAnswer).until); e = a.order.Back() {
		a.remove(e)
		if len(a.byKey) == 0 {
			return
		}
	}
}

// delete removes the answer about a credential.
func (a *answerCache) delete(key credentialHash) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.byKey[key]; ok {
		a.remove(e)
	}
}

func (a *answerCache) remove(e *list.Element) {
	a.order.Remove(e)
	delete(a.byKey, e.Value.(cachedAnswer).key)
}

const (
	// knownTTL is how long a credential stays known after it was last
	// accepted.
	knownTTL = 8 * time.Hour

	// maxPerUser limits the known credentials of a user, who can have any
	// number: each cookie beside the session can make another.
	maxPerUser = 8

	// maxKnown limits the users. When it is reached, a tenth is removed at
	// once, so that sweeps are rare.
	maxKnown    = 10_000
	sweepTarget = maxKnown - maxKnown/10
)

// credentialMemory remembers which credentials were accepted recently, for each
// user the latest. It is safe for concurrent use.
type credentialMemory struct {
	mu     sync.Mutex
	byHash map[credentialHash]knownCredential
	byUser map[string][]credentialHash // by user, most recently used last
}

type knownCredential struct {
	user  string
	until time.Time
}

// get returns the user of a recently accepted credential.
func (m *credentialMemory) get(hash credentialHash, now time.Time) (user string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.byHash[hash]
	return c.user, ok && now.Before(c.until)
}

// put remembers an accepted credential.
func (m *credentialMemory) put(user string, hash credentialHash, until, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byHash == nil {
		m.byHash, m.byUser = make(map[credentialHash]knownCredential), make(map[string][]credentialHash)
	}
	m.remove(hash) // it may have belonged to another user
	hashes, ok := m.byUser[user]
	if !ok && len(m.byUser) >= maxKnown {
		m.sweep(now)
	}
	if len(hashes) == maxPerUser {
		m.remove(hashes[0])
		hashes = m.byUser[user]
	}
	m.byUser[user] = append(hashes, hash)
	m.byHash[hash] = knownCredential{user, until}
}

// delete removes a credential.
func (m *credentialMemory) delete(hash credentialHash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(hash)
}

// remove must be called with mu held.
func (m *credentialMemory) remove(hash credentialHash) {
	c, ok := m.byHash[hash]
	if !ok {
		return
	}
	delete(m.byHash, hash)
	m.byUser[c.user] = slices.DeleteFunc(m.byUser[c.user], func(other credentialHash) bool { return other == hash })
	if len(m.byUser[c.user]) == 0 {
		delete(m.byUser, c.user)
	}
}

// sweep removes expired credentials, and if needed arbitrary users down to
// sweepTarget.
func (m *credentialMemory) sweep(now time.Time) {
	for hash, c := range m.byHash {
		if !now.Before(c.until) {
			m.remove(hash)
		}
	}
	for user, hashes := range m.byUser {
		if len(m.byUser) <= sweepTarget {
			return
		}
		for _, hash := range slices.Clone(hashes) {
			m.remove(hash)
		}
		delete(m.byUser, user)
	}
}
