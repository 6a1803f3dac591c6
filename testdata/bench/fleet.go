package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// The fleet is the bench's tokens: numbered from 0, and made from their number
// alone, so that no run has to keep their values. They open nothing but the
// bench's own servers.

// owners is how many people the tokens belong to: 20 each at a million.
const owners = 50_000

// ownerOf returns the owner of token i. All names have the same length.
func ownerOf(i int) string { return fmt.Sprintf("user%05d", i%owners) }

// kind is what sets a token apart.
type kind int

const (
	plain kind = iota
	readOnly
	networked // good from 10/8 and 127/8 only
	rotated   // its fleet value is the old one, in an overlap that does not end
	disabled
	pending
	expired

	// Only in the indexes of row a.
	gone       // whose owner is not active
	banned     // whose owner may not use tokens
	limited    // over its rate
	management // a token of that kind
	kindCount
)

// kindOf returns the kind of token i. Of a thousand 894 are plain.
func kindOf(i int) kind {
	switch i % 1000 {
	case 7:
		return disabled
	case 8:
		return pending
	case 9:
		return expired
	case 10, 11, 12:
		return rotated
	}
	switch i % 20 {
	case 1:
		return readOnly
	case 2:
		return networked
	}
	return plain
}

// decideKindOf returns the kind of token i in the indexes of row a.
func decideKindOf(i int) kind {
	if k := gone + kind(i%1000-13); k >= gone && k < kindCount {
		return k
	}
	return kindOf(i)
}

// reads reports whether token i lets a reading request from 10/8 in.
func reads(i int) bool {
	k := kindOf(i)
	return k == plain || k == readOnly || k == networked || k == rotated
}

var (
	made     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ended    = time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC)
	endless  = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8")}
)

// createdEvery is how many tokens have instants of creation of their own: what
// is made beyond the fleet has one of those, too.
const createdEvery = 1_000_000

// expiryOf returns when token i expires, if it is not of the kind that has: one
// of ten never does, and the others in no order within two years that nobody
// who runs this will see.
func expiryOf(i int) time.Time {
	if i%10 == 3 {
		return time.Time{}
	}
	const other = 7919 // prime, and so all of them differ
	return endless.Add(-time.Duration(i%createdEvery*other%createdEvery) * time.Minute)
}

// randomOf returns the randomness that token i is made from.
func randomOf(i int, purpose string) *rand.ChaCha8 {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(i))
	copy(seed[8:], purpose)
	return rand.NewChaCha8(seed)
}

// valueOf returns the value of token i.
func valueOf(i int) (token.Value, error) {
	v, err := token.Mint(token.Ordinary, randomOf(i, "bench token"))
	if err != nil {
		return v, fmt.Errorf("mint token %d: %w", i, err)
	}
	return v, nil
}

// managementValueOf returns the value of token i where it is one for management.
func managementValueOf(i int) (token.Value, error) {
	v, err := token.Mint(token.Management, randomOf(i, "bench token"))
	if err != nil {
		return v, fmt.Errorf("mint management token %d: %w", i, err)
	}
	return v, nil
}

// keyOf are the keys of owners who do not stand well.
var keyOf = map[kind]string{gone: "GONE", banned: "BANNED"}

// standing is how the owners of row a stand.
func standing(o store.Owner, _ store.OwnerStatus) store.OwnerStatus {
	switch o.Key {
	case keyOf[gone]:
		return store.OwnerInactive
	case keyOf[banned]:
		return store.OwnerNotPermitted
	}
	return store.OwnerPermitted
}

// recordOf returns the record of token i, as if it were of kind k. It shares no
// memory with other records, as one read from a store would not.
func recordOf(i int, k kind) (store.Token, error) {
	value, err := valueOf(i)
	if err != nil {
		return store.Token{}, err
	}
	secret, err := secretOf(i, value)
	if err != nil {
		return store.Token{}, err
	}
	t := store.Token{
		ID:        value.ID().String(),
		Number:    uint64(i) + 1,
		Owner:     store.Owner{Name: ownerOf(i)},
		Name:      fmt.Sprintf("nightly report %d", i),
		Purpose:   "reads the backlog for the status page",
		Created:   made.Add(time.Duration(i%createdEvery) * 10 * time.Second),
		CreatedBy: "uid:0",
		Expires:   expiryOf(i),
		State:     store.Active,
		Secret:    secret,
	}
	switch k {
	case gone, banned:
		t.Owner.Key = keyOf[k]
	case limited:
		t.Rate = store.Rate{Requests: 1, Per: store.MaxRatePer, Burst: 1}
	case management:
		t.Kind, t.Owner = store.Management, store.Owner{}
		value, err := managementValueOf(i)
		if err != nil {
			return store.Token{}, err
		}
		if t.Secret, err = secretOf(i, value); err != nil {
			return store.Token{}, err
		}
	case readOnly:
		t.ReadOnly = true
	case networked:
		t.Networks = append(t.Networks, networks...)
	case disabled:
		t.State = store.Disabled
	case pending:
		t.State = store.Pending
	case expired:
		t.Expires = ended
	case rotated:
		fresh, err := token.Remint(token.Ordinary, value.ID(), randomOf(i, "bench rotation"))
		if err != nil {
			return store.Token{}, fmt.Errorf("mint token %d again: %w", i, err)
		}
		t.Previous = store.Previous{Secret: secret, Until: endless}
		if t.Secret, err = secretOf(i, fresh); err != nil {
			return store.Token{}, err
		}
	}
	return t, nil
}

func secretOf(i int, v token.Value) (store.Secret, error) {
	salt, err := token.Salt(randomOf(i, "bench salt"))
	if err != nil {
		return store.Secret{}, err
	}
	return store.Secret{Salt: salt, Hash: v.Hash(salt)}, nil
}

// pickAmong returns at most count numbers below size that wanted accepts, in
// random order, each once, and the same ones in every run.
func pickAmong(size, count int, wanted func(i int) bool) []int {
	random := rand.New(randomOf(size, "bench order"))
	var picked []int
	for _, i := range random.Perm(size) {
		if len(picked) == count {
			break
		}
		if wanted(i) {
			picked = append(picked, i)
		}
	}
	return picked
}
