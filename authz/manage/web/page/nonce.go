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
	used  map[nonceHead]*use
	floor time.Time // older ones are not good any more: whether they were used is forgotten
}

// nonceHead tells one nonce from another. What is sent is no key: it may be written
// in more than one way, and be a part of something large.
type nonceHead [nonceRandom + nonceTime]byte

// made returns when the nonce was made.
func (h nonceHead) made() time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(h[nonceRandom:])))
}

// use is what came of a nonce.
type use struct {
	token string // the id of the token that came of it; empty: none yet
}

func newNonces(now func() time.Time) *nonces {
	n := &nonces{now: now, used: make(map[nonceHead]*use)}
	_, _ = rand.Read(n.key[:]) // it never fails
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

// sum is an HMAC of texts, for the caller.
func (n *nonces) sum(c manage.Caller, parts ...string) []byte {
	mac := hmac.New(sha256.New, n.key[:])
	for _, part := range append(parts, c.Name()) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}

// seal returns a proof that this process has told the caller something.
func (n *nonces) seal(c manage.Caller, said ...string) string {
	return base64.RawURLEncoding.EncodeToString(n.sum(c, append(said, "seal")...)[:12])
}

// sealed reports whether a proof is one of that.
func (n *nonces) sealed(proof string, c manage.Caller, said ...string) bool {
	return hmac.Equal([]byte(proof), []byte(n.seal(c, said...)))
}

// outcome is what is to be said of a nonce.
type outcome int

const (
	invalid  outcome = iota // not one of ours, or too old
	fresh                   // good, and used with this
	replayed                // it was used before
)

// use uses a nonce. Of one that was used before it returns the id of the token that
// record of it, if one did by now.
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
	if made.Before(now.Add(-nonceLasts)) || made.After(now) || !made.After(n.floor) {
		return invalid, ""
	}
	n.sweep()
	n.used[head] = &use{}
	return fresh, ""
}

// open returns the head of a nonce of ours.
func (n *nonces) open(nonce string, c manage.Caller, form string) (head nonceHead, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != len(head)+sha256.Size {
		return head, false
	}
	copy(head[:], raw)
	return head, hmac.Equal(raw[len(head):], n.sum(c, form, string(head[:])))
}

// record notes which token came of a nonce's use.
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

// sweep forgets the older half where there are too many, and with them all that
// were made before.
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
