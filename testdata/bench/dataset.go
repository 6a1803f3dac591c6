package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// The dataset is the bench's tokens. Each is derived from its number alone, so
// that no run has to store their values, which only the bench's servers accept.

// owners is the number of owners: 20 tokens each at a million.
const owners = 50_000

// benchTime is the time of every decision in this process.
var benchTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// ownerOf returns the owner of token i. All names have the same length.
func ownerOf(i int) string { return fmt.Sprintf("user%05d", i%owners) }

// reads reports whether token i allows a reading request from 10/8. All do but one of
// a thousand, which is pending.
func reads(i int) bool { return i%1000 != 8 }

var (
	firstCreated = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	lastExpiry   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// distinct is the number of tokens with different times of creation and expiry.
const distinct = 1_000_000

// expiryOf returns when token i expires: one of ten never does, and the others
// within the two years before 2100, not in the order of their numbers.
func expiryOf(i int) time.Time {
	if i%10 == 3 {
		return time.Time{}
	}
	const prime = 7919 // so that all times differ
	return lastExpiry.Add(-time.Duration(i%distinct*prime%distinct) * time.Minute)
}

// randomOf returns the random numbers from which token i is made.
func randomOf(i int, purpose string) *rand.ChaCha8 {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(i))
	copy(seed[8:], purpose)
	return rand.NewChaCha8(seed)
}

// valueOf returns the value of token i.
func valueOf(i int) (token.Value, error) {
	return token.Mint(token.Ordinary, randomOf(i, "bench token"))
}

// idOf returns the id of token i.
func idOf(i int) (string, error) {
	value, err := valueOf(i)
	return value.ID().String(), err
}

// recordOf returns the record of token i. Records share no memory, as if they were
// read from a store.
func recordOf(i int) (store.Token, error) {
	value, err := valueOf(i)
	if err != nil {
		return store.Token{}, err
	}
	salt, err := token.Salt(randomOf(i, "bench salt"))
	if err != nil {
		return store.Token{}, err
	}
	t := store.Token{
		ID:        value.ID().String(),
		Number:    uint64(i) + 1,
		Owner:     store.Owner{Name: ownerOf(i)},
		Name:      fmt.Sprintf("nightly report %d", i),
		Purpose:   "reads the backlog for the status page",
		Created:   firstCreated.Add(time.Duration(i%distinct) * 10 * time.Second),
		CreatedBy: "uid:0",
		Expires:   expiryOf(i),
		State:     store.Active,
		Secret:    store.Secret{Salt: salt, Hash: value.Hash(salt)},
	}
	switch {
	case !reads(i):
		t.State = store.Pending
	case i%20 == 1:
		t.ReadOnly = true
	case i%20 == 2:
		t.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8")}
	}
	return t, nil
}

// records calls yield with the records of the first size tokens.
func records(size int, yield func(store.Token, error) bool) {
	for i := range size {
		if !yield(recordOf(i)) {
			return
		}
	}
}

// pickAmong returns at most n numbers below size that accept accepts, in random
// order, each once, and the same ones in every run.
func pickAmong(size, n int, accept func(i int) bool) []int {
	var picked []int
	for _, i := range rand.New(randomOf(size, "bench order")).Perm(size) {
		if len(picked) == n {
			break
		}
		if accept(i) {
			picked = append(picked, i)
		}
	}
	return picked
}

// credentials are the Authorization values of tokens picked at random from the
// store, alternately Bearer and Basic. They lie in memory in the order in which they
// are sent, so that the load does not wait for memory.
type credentials struct {
	texts  [forms][]byte
	owners [forms][]string
}

// form is how a token is sent.
type form int

const (
	bearer form = iota
	basic
	forms
)

// valueLength is the length of a token's value.
const valueLength = 67

// formLength is the length of an Authorization value.
var formLength = [forms]int{
	bearer: len("Bearer ") + valueLength,
	basic:  len("Basic ") + (len("user00000:")+valueLength+2)/3*4,
}

// maxCredentials bounds the load's memory. So many random entries of the index
// exceed any cache.
const maxCredentials = 1 << 19

// newCredentials picks among the first size tokens those that allow a reading
// request.
func newCredentials(size int) (*credentials, error) {
	c := &credentials{}
	names := make([]string, min(owners, size))
	for i := range names {
		names[i] = ownerOf(i)
	}
	picked := pickAmong(size, maxCredentials, reads)
	if len(picked) < int(forms) {
		return nil, errors.New("too few tokens to send")
	}
	for n, i := range picked {
		value, err := valueOf(i)
		if err != nil {
			return nil, err
		}
		f, owner := form(n%int(forms)), names[i%owners]
		c.texts[f] = append(c.texts[f], authorization(f, owner, value.Reveal())...)
		c.owners[f] = append(c.owners[f], owner)
	}
	return c, nil
}

// authorization returns the value of an Authorization header.
func authorization(f form, owner, value string) string {
	if f == basic {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(owner+":"+value))
	}
	return "Bearer " + value
}

// at returns credential n modulo their number, its form and its owner.
func (c *credentials) at(n int) (f form, text []byte, owner string) {
	f = form(n % int(forms))
	length := formLength[f]
	n = n / int(forms) % len(c.owners[f])
	return f, c.texts[f][n*length:][:length], c.owners[f][n]
}

// of returns the Authorization values of one form as strings.
func (c *credentials) of(f form) []string {
	texts := make([]string, 0, len(c.owners[f]))
	all := string(c.texts[f])
	for ; len(all) > 0; all = all[formLength[f]:] {
		texts = append(texts, all[:formLength[f]])
	}
	return texts
}
