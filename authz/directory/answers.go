package directory

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// maxAnswers and maxRefusals bound the answers that are kept.
const (
	maxAnswers  = 2000
	maxRefusals = 1000
)

// credentialHash stands for a credential: its HMAC-SHA256 under a key that is
// made at the start and never leaves the process. From it nobody can try
// passwords.
type credentialHash [sha256.Size]byte

// hasher makes credentialHashes.
type hasher struct{ key [32]byte }

func newHasher() hasher {
	var h hasher
	_, _ = rand.Read(h.key[:]) // it never fails
	return h
}

// sum returns the hash of a credential of a kind.
func (h hasher) sum(kind credentialKind, credential string) (sum credentialHash) {
	mac := hmac.New(sha256.New, h.key[:])
	mac.Write([]byte{byte(kind)})
	mac.Write([]byte(credential))
	mac.Sum(sum[:0])
	return sum
}

// answerCache keeps what was said of credentials for a time, and of too many those
// that were used last.
type answerCache struct {
	most int

	mu    sync.Mutex
	byKey map[credentialHash]*list.Element
	order list.List // of keptAnswer; the one used last is in front
}

type keptAnswer struct {
	key   credentialHash
	user  User
	err   error
	until time.Time
}

// get returns an answer that is still good.
func (a *answerCache) get(key credentialHash, now time.Time) (keptAnswer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.byKey[key]
	if !ok {
		return keptAnswer{}, false
	}
	kept := e.Value.(keptAnswer)
	if !now.Before(kept.until) {
		a.remove(e)
		return keptAnswer{}, false
	}
	a.order.MoveToFront(e)
	return kept, true
}

// put keeps an answer, and forgets those that are not good any more.
func (a *answerCache) put(kept keptAnswer, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byKey == nil {
		a.byKey = make(map[credentialHash]*list.Element)
	}
	if e, ok := a.byKey[kept.key]; ok {
		a.remove(e)
	}
	a.byKey[kept.key] = a.order.PushFront(kept)
	for e := a.order.Back(); len(a.byKey) > a.most || !now.Before(e.Value.(keptAnswer).until); e = a.order.Back() {
		a.remove(e)
		if len(a.byKey) == 0 {
			return
		}
	}
}

// forget drops the answer about a credential.
func (a *answerCache) forget(key credentialHash) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.byKey[key]; ok {
		a.remove(e)
	}
}

func (a *answerCache) remove(e *list.Element) {
	a.order.Remove(e)
	delete(a.byKey, e.Value.(keptAnswer).key)
}
