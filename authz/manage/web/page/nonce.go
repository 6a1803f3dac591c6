package page

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
)

const (
	// nonceLasts is how long a form may lie open before it is sent.
	nonceLasts = 12 * time.Hour

	// maxNonces bounds the used ones that are remembered.
	maxNonces = 20_000
)

// nonces make a form good once. Those that were not used yet are nowhere kept: they
// prove themselves by an HMAC-SHA256, under a key that is made at the start and
// never leaves the process, of when they were made, for whom and for which form.
type nonces struct {
	now func() time.Time
	key [32]byte

	mu    sync.Mutex
	used  map[string]*use
	floor time.Time // older ones are not good any more: whether they were used is forgotten
}

// use is a nonce that was used.
type use struct {
	made  time.Time
	token string // the id of the token that came of it; empty: none yet
}

func newNonces(now func() time.Time) *nonces {
	n := &nonces{now: now, used: make(map[string]*use)}
	_, _ = rand.Read(n.key[:]) // it never fails
	return n
}

// The parts of a nonce, in bytes.
const (
	nonceRandom = 16
	nonceTime   = 8
)

// make returns a nonce for one sending of the form at an address.
func (n *nonces) make(c manage.Caller, form string) string {
	head := make([]byte, nonceRandom, nonceRandom+nonceTime+sha256.Size)
	_, _ = rand.Read(head)
	head = binary.BigEndian.AppendUint64(head, uint64(n.now().UnixNano()))
	return base64.RawURLEncoding.EncodeToString(append(head, n.sum(head, c, form)...))
}

func (n *nonces) sum(head []byte, c manage.Caller, form string) []byte {
	mac := hmac.New(sha256.New, n.key[:])
	for _, part := range []string{string(head), c.Name(), form} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}

// outcome is what is to be said of a nonce.
type outcome int

const (
	strange outcome = iota // not one of ours, or too old
	first                  // good, and used with this
	again                  // it was used before
)

// use uses a nonce. Of one that was used before it returns the id of the token that
// came of it, if one did by now.
func (n *nonces) use(nonce string, c manage.Caller, form string) (o outcome, token string) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != nonceRandom+nonceTime+sha256.Size {
		return strange, ""
	}
	head := raw[:nonceRandom+nonceTime]
	if !hmac.Equal(raw[len(head):], n.sum(head, c, form)) {
		return strange, ""
	}
	made := time.Unix(0, int64(binary.BigEndian.Uint64(head[nonceRandom:])))
	n.mu.Lock()
	defer n.mu.Unlock()
	if before, ok := n.used[nonce]; ok {
		return again, before.token
	}
	if now := n.now(); made.Before(now.Add(-nonceLasts)) || made.After(now) || !made.After(n.floor) {
		return strange, ""
	}
	n.sweep()
	n.used[nonce] = &use{made: made}
	return first, ""
}

// came notes which token came of a nonce's use.
func (n *nonces) came(nonce, token string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if u := n.used[nonce]; u != nil {
		u.token = token
	}
}

// sweep forgets the older half where there are too many, and with them all that
// were made before.
func (n *nonces) sweep() {
	if len(n.used) < maxNonces {
		return
	}
	all := make([]string, 0, len(n.used))
	for nonce := range n.used {
		all = append(all, nonce)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(n.used[a].made.UnixNano(), n.used[b].made.UnixNano()) })
	for _, nonce := range all[:len(all)/2] {
		n.floor = n.used[nonce].made
		delete(n.used, nonce)
	}
}
