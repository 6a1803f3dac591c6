package page

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

const (
	// nonceLifetime is how long a form can stay open before it is sent.
	nonceLifetime = 12 * time.Hour

	// clockTolerance is how much the clocks of the servers of one store may differ.
	clockTolerance = 2 * time.Minute

	// maxUses is the maximum number of uses in each of the 256 records of used nonces.
	maxUses = 128

	// storeTimeout bounds how long a request for a page waits for the shared records.
	storeTimeout = 5 * time.Second
)

// nonces makes each form valid once, at one of the servers of a store. A nonce is a random number and its
// creation time with an HMAC-SHA256 over those, the caller and the form, under a key that these servers
// share. Only used nonces are stored, in shared records. Call load before any other method.
type nonces struct {
	now    func() time.Time
	store  store.SharedRecords
	shared store.SharedKey
	key    atomic.Pointer[[32]byte] // nil before load
}

// nonceHead identifies a nonce. The encoded form does not, because it is not unique.
type nonceHead [nonceRandom + nonceTime]byte

// made returns the creation time of the nonce.
func (h nonceHead) made() time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(h[nonceRandom:])))
}

// record returns the name of the shared record of the nonce's use.
func (h nonceHead) record() string { return fmt.Sprintf("forms/%02x", h[0]) }

// use is the use of a nonce, as it is stored.
type use struct {
	Head  nonceHead
	Token [store.IDLength]byte // the id of the issued token; zero: none yet
}

func newNonces(s store.SharedRecords, now func() time.Time) *nonces {
	return &nonces{now: now, store: s, shared: store.SharedKey{Store: s, Name: "forms/key"}}
}

// load gets the key. After an error, which refuses the request, no other method may be called.
func (n *nonces) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	key, err := n.shared.Load(ctx)
	if err != nil {
		return unanswered("form.unavailable", err)
	}
	n.key.Store(key)
	return nil
}

// unanswered refuses a request, with this text, because the store does not answer.
func unanswered(name string, cause error) error {
	return fmt.Errorf("%w: %w", &Error{Status: http.StatusServiceUnavailable, Text: text(name)}, cause)
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
	mac := hmac.New(sha256.New, n.key.Load()[:])
	for _, part := range append(parts, c.Name()) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}

// seal returns a proof that one of the servers told the caller some texts.
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
// record has noted for it. After an error, which refuses the form, it is unknown whether the nonce is used up.
func (n *nonces) use(ctx context.Context, nonce string, c manage.Caller, form string) (o outcome, token string, err error) {
	head, ok := n.open(nonce, c, form)
	if !ok {
		return invalid, "", nil
	}
	made, now := head.made(), n.now()
	err = n.update(ctx, head, func(uses []use) []use {
		o, token = invalid, ""
		if i := slices.IndexFunc(uses, func(u use) bool { return u.Head == head }); i >= 0 {
			o, token = replayed, strings.TrimRight(string(uses[i].Token[:]), "\x00")
			return uses
		}
		if made.Before(now.Add(-nonceLifetime)) || made.After(now.Add(clockTolerance)) {
			return uses
		}
		// No server accepts a nonce that is so old.
		uses = slices.DeleteFunc(uses, func(u use) bool { return u.Head.made().Before(now.Add(-nonceLifetime - clockTolerance)) })
		// A full record has no uses of nonces that were made before the earliest in it.
		if len(uses) == maxUses {
			if !made.After(uses[0].Head.made()) {
				return uses
			}
			uses = slices.Delete(uses, 0, 1)
		}
		o = fresh
		at, _ := slices.BinarySearchFunc(uses, made, func(u use, made time.Time) int { return u.Head.made().Compare(made) })
		return slices.Insert(uses, at, use{Head: head})
	})
	if err != nil {
		return invalid, "", unanswered("form.unchecked", err)
	}
	return o, token, nil
}

// update changes the shared record of a nonce's use: uses in the order in which their nonces were made.
func (n *nonces) update(ctx context.Context, head nonceHead, change func([]use) []use) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return store.UpdateSharedList(ctx, n.store, head.record(), func(uses []use) ([]use, error) { return change(uses), nil })
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

// record notes the token issued by the use of a nonce, even if the caller has left. It does nothing if the nonce was not used.
func (n *nonces) record(ctx context.Context, nonce, token string) error {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) < len(nonceHead{}) {
		return nil
	}
	head := nonceHead(raw[:len(nonceHead{})])
	return n.update(context.WithoutCancel(ctx), head, func(uses []use) []use {
		for i := range uses {
			if uses[i].Head == head {
				copy(uses[i].Token[:], token)
			}
		}
		return uses
	})
}
