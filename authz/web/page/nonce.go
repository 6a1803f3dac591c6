package page

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
)

const (
	// nonceLifetime is how long a form can stay open before it is sent.
	nonceLifetime = 12 * time.Hour

	// maxNonces is the maximum number of used nonces kept in memory.
	maxNonces = 20_000
)

// nonces makes each form valid once. A nonce is a random number and its creation time
// with an HMAC-SHA256 over those, the caller and the form, under a key that exists only
// in this process. Only used nonces are stored.
type nonces struct {
	now func() time.Time
	key [32]byte

	mu    sync.Mutex
	used  map[nonceHead]*use
	floor time.Time // nonces up to it are invalid: their use is no longer on record
}

// nonceHead identifies a nonce. The encoded form does not, because it is not unique.
type nonceHead [nonceRandom + nonceTime]byte

// made returns the creation time of the nonce.
func (h nonceHead) made() time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(h[nonceRandom:])))
}

// use is the use of a nonce.
type use struct {
	token string // the id of the issued token; empty: none yet
}

func newNonces(now func() time.Time) *nonces {
	n := &nonces{now: now, used: make(map[nonceHead]*use)}
	_, _ = rand.Read(n.key[:]) // never fails
	return n
}

// The parts of a nonce, in bytes.
const (
	nonceRandom = 16
	nonceTime   = 8
)

// make returns a nonce for one sending of the form at an address by the caller.
func (n *nonces) make(c manage.Caller, form string) string {
	var head nonceHead
	_, _ = rand.Read(head[:nonceRandom])
	binary.BigEndian.PutUint64(head[nonceRandom:], uint64(n.now().UnixNano()))
	return base64.RawURLEncoding.EncodeToString(append(head[:], n.sum(c, form, string(head[:]))...))
}

// sum returns an HMAC of texts and the caller.
func (n *nonces) sum(c manage.Caller, parts ...string) []byte {
	mac := hmac.New(sha256.New, n.key[:])
	for _, part := range append(parts, c.Name()) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}

// seal returns a proof that this process told the caller some texts.
func (n *nonces) seal(c manage.Caller, said ...string) string {
	return base64.RawURLEncoding.EncodeToString(n.sum(c, append(said, "seal")...)[:12])
}

// sealed reports whether a proof is the seal of those texts.
func (n *nonces) sealed(proof string, c manage.Caller, said ...string) bool {
	return hmac.Equal([]byte(proof), []byte(n.seal(c, said...)))
}

// outcome is the result of using a nonce.
type outcome int

const (
	invalid  outcome = iota // forged, for another caller or form, or too old
	fresh                   // valid, and now used
	replayed                // used before
)

// use uses up a nonce. If it is replayed, use also returns the id of the token that
// record has noted for it.
func (n *nonces) use(nonce string, c manage.Caller, form string) (o outcome, token string) {
	head, ok := n.open(nonce, c, form)
	if !ok {
		return invalid, ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if before, ok := n.used[head]; ok {
		return replayed, before.token
	}
	made, now := head.made(), n.now()
	if made.Before(now.Add(-nonceLifetime)) || made.After(now) || !made.After(n.floor) {
		return invalid, ""
	}
	n.sweep()
	n.used[head] = &use{}
	return fresh, ""
}

// open verifies a nonce and returns its head.
func (n *nonces) open(nonce string, c manage.Caller, form string) (head nonceHead, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != len(head)+sha256.Size {
		return head, false
	}
	copy(head[:], raw)
	return head, hmac.Equal(raw[len(head):], n.sum(c, form, string(head[:])))
}

// record notes the token issued by the use of a nonce.
func (n *nonces) record(nonce, token string) {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) < len(nonceHead{}) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if u := n.used[nonceHead(raw[:len(nonceHead{})])]; u != nil {
		u.token = token
	}
}

// sweep deletes the older half of the used nonces if there are too many, which makes
// all nonces of that age invalid.
func (n *nonces) sweep() {
	if len(n.used) < maxNonces {
		return
	}
	all := slices.SortedFunc(maps.Keys(n.used), func(a, b nonceHead) int { return a.made().Compare(b.made()) })
	for _, head := range all[:len(all)/2] {
		n.floor = head.made()
		delete(n.used, head)
	}
}
