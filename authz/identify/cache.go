package identify

import (
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

// recent is a map that keeps at least the max/2 entries put last, and at most max: when
// the newer half is full, it replaces the older.
type recent[K comparable, V any] struct {
	max          int
	newer, older map[K]V // disjoint
}

func (r *recent[K, V]) get(key K) (value V, ok bool) {
	if value, ok = r.newer[key]; !ok {
		value, ok = r.older[key]
	}
	return value, ok
}

func (r *recent[K, V]) put(key K, value V) {
	delete(r.older, key)
	if r.newer == nil {
		r.newer = make(map[K]V)
	}
	r.newer[key] = value
	if len(r.newer) >= r.max/2 {
		r.newer, r.older = nil, r.newer
	}
}

func (r *recent[K, V]) delete(key K) {
	delete(r.newer, key)
	delete(r.older, key)
}

func (r *recent[K, V]) len() int { return len(r.newer) + len(r.older) }

// answerCache is a cache of answers about credentials, each with a lifetime. It keeps
// those used last, and is safe for concurrent use.
type answerCache struct {
	mu      sync.Mutex
	answers recent[credentialHash, cachedAnswer]
}

func newAnswerCache(size int) answerCache {
	return answerCache{answers: recent[credentialHash, cachedAnswer]{max: size}}
}

type cachedAnswer struct {
	user  directory.User
	err   error
	until time.Time
}

// get returns an answer that has not expired.
func (a *answerCache) get(key credentialHash, now time.Time) (cachedAnswer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	entry, ok := a.answers.get(key)
	switch {
	case !ok:
		return cachedAnswer{}, false
	case !now.Before(entry.until):
		a.answers.delete(key)
		return cachedAnswer{}, false
	}
	a.answers.put(key, entry)
	return entry, true
}

// put stores an answer.
func (a *answerCache) put(key credentialHash, entry cachedAnswer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers.put(key, entry)
}

// delete removes the answer about a credential.
func (a *answerCache) delete(key credentialHash) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers.delete(key)
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
	user   string
	until  time.Time
	shared time.Time // when it was recorded in the store; zero: never
}

// get returns a recently accepted credential.
func (m *credentialMemory) get(hash credentialHash, now time.Time) (c knownCredential, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok = m.byHash[hash]
	return c, ok && now.Before(c.until)
}

// put remembers an accepted credential.
func (m *credentialMemory) put(hash credentialHash, c knownCredential, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byHash == nil {
		m.byHash, m.byUser = make(map[credentialHash]knownCredential), make(map[string][]credentialHash)
	}
	m.remove(hash) // it may have belonged to another user
	hashes, ok := m.byUser[c.user]
	if !ok && len(m.byUser) >= maxKnown {
		m.sweep(now)
	}
	if len(hashes) == maxPerUser {
		m.remove(hashes[0])
		hashes = m.byUser[c.user]
	}
	m.byUser[c.user] = append(hashes, hash)
	m.byHash[hash] = c
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
