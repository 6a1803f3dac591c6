package main

import (
	"encoding/base64"
	"errors"
)

// credentials are the Authorization values that the load sends: tokens picked
// at random over the whole store, every other one as Basic, the rest as Bearer.
// They lie one behind another in memory in the order in which they are sent, so
// that the load itself has no random memory to wait for.
type credentials struct {
	texts  [forms][]byte
	owners [forms][]uint32 // the token's number modulo owners
	names  []byte          // the owners' names one behind another
}

// form is how a token is sent.
type form int

const (
	bearer form = iota
	basic
	forms
)

// The lengths of the two forms' Authorization values, and of an owner's name.
const (
	nameLength = len("user00000")
	valueLen   = 67
)

var formLength = [forms]int{
	bearer: len("Bearer ") + valueLen,
	basic:  len("Basic ") + (nameLength+1+valueLen+2)/3*4,
}

// mostCredentials bounds the load's memory. Half a million random entries of
// the index are far more than any cache holds.
const mostCredentials = 1 << 19

// newCredentials picks among the first size tokens of the fleet those that let
// a reading request in.
func newCredentials(size int) (*credentials, error) {
	c := &credentials{names: make([]byte, 0, owners*nameLength)}
	for i := range owners {
		c.names = append(c.names, ownerOf(i)...)
	}
	picked := pickAmong(size, mostCredentials, reads)
	if len(picked) < int(forms) {
		return nil, errors.New("there are too few tokens to send")
	}
	for n, i := range picked {
		value, err := valueOf(i)
		if err != nil {
			return nil, err
		}
		f := form(n % int(forms))
		c.texts[f] = append(c.texts[f], authorization(f, ownerOf(i), value.Reveal())...)
		c.owners[f] = append(c.owners[f], uint32(i%owners))
	}
	return c, nil
}

// authorization returns an Authorization header's value.
func authorization(f form, owner, value string) string {
	if f == basic {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(owner+":"+value))
	}
	return "Bearer " + value
}

// at returns credential n, counted over and over, how it is sent, and its
// owner's number.
func (c *credentials) at(n int) (f form, text []byte, owner uint32) {
	f = form(n % int(forms))
	length := formLength[f]
	n = n / int(forms) % len(c.owners[f])
	return f, c.texts[f][n*length:][:length], c.owners[f][n]
}

// name returns an owner's name.
func (c *credentials) name(owner uint32) []byte {
	return c.names[int(owner)*nameLength:][:nameLength]
}
