package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

const (
	// goodLasts is how long it is remembered that a credential was good.
	goodLasts = 8 * time.Hour

	// maxOfUser bounds the credentials of one user that are remembered. Somebody
	// may have any number: each cookie beside the session makes another.
	maxOfUser = 8
)

// credentialHash stands for a credential: its HMAC-SHA256 under a key that is made
// at the start and never leaves the process. From it nobody can try passwords.
type credentialHash [sha256.Size]byte

// credentials remember which ones were good lately: those of each user that were
// used last, and of too many users some.
type credentials struct {
	key [32]byte

	mu    sync.Mutex
	until map[credentialHash]time.Time
	of    map[string][]credentialHash // by user; the one used last comes last
}

func newCredentials() *credentials {
	c := &credentials{until: make(map[credentialHash]time.Time), of: make(map[string][]credentialHash)}
	_, _ = rand.Read(c.key[:]) // it never fails
	return c
}

// hash returns what stands for a credential.
func (c *credentials) hash(credential directory.Credential) (sum credentialHash) {
	mac := hmac.New(sha256.New, c.key[:])
	session := credential.Session()
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(session))))
	mac.Write([]byte(session))
	mac.Write([]byte(credential.Authorization))
	mac.Sum(sum[:0])
	return sum
}

// has reports whether a credential was good lately.
func (c *credentials) has(hash credentialHash, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.until[hash])
}

// put remembers that a credential is good.
func (c *credentials) put(user string, hash credentialHash, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hashes, known := c.of[user]
	if !known && len(c.of) >= maxLimited {
		c.sweep(now)
	}
	switch i := slices.Index(hashes, hash); {
	case i >= 0:
		hashes = slices.Delete(hashes, i, i+1)
	case len(hashes) == maxOfUser:
		delete(c.until, hashes[0])
		hashes = slices.Delete(hashes, 0, 1)
	}
	c.of[user] = append(hashes, hash)
	c.until[hash] = now.Add(goodLasts)
}

// drop forgets a credential.
func (c *credentials) drop(hash credentialHash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.until, hash)
}

// sweep forgets users whose credentials were good too long ago. Where there are
// none, it forgets some others.
func (c *credentials) sweep(now time.Time) {
	forget := func(user string) {
		for _, hash := range c.of[user] {
			delete(c.until, hash)
		}
		delete(c.of, user)
	}
	for user, hashes := range c.of {
		if !slices.ContainsFunc(hashes, func(hash credentialHash) bool { return now.Before(c.until[hash]) }) {
			forget(user)
		}
	}
	for user := range c.of {
		if len(c.of) <= sweepTo {
			return
		}
		forget(user)
	}
}
