// Package token creates, parses, displays and verifies the values of tokens. Start
// with Value, Mint and Parse.
//
// A value is 67 characters:
//
//	tgate_ 4mR9…  (12) 8Xk2…  (43) 1q0ZpB
//	prefix id          secret      checksum
//
// The id is public and identifies the token in logs. The secret has 256 bits that
// only the client knows. The checksum is the CRC-32 (IEEE) of all characters before
// it. It detects typing errors without a lookup, and lets secret scanners verify a
// finding. All three are base62: 0-9, A-Z, a-z. Scanners match \btgate_[0-9A-Za-z]{61}\b.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unsafe"

	"github.com/tokengate/tokengate/store"
)

// ErrMalformed matches the error of a text that is not a token value. Such errors
// never contain the text.
var ErrMalformed = errors.New("malformed token")

// Kind says what a token gives access to.
type Kind uint8

// The kinds of token. The zero Kind is none.
const (
	Ordinary   Kind = iota + 1 // tgate_: the application
	Management                 // tgadm_: only the management API
)

// Length is the length of a value, in bytes.
const Length = valueLen

// The lengths of a value's parts, in bytes.
const (
	prefixLen   = 6
	idLen       = store.IDLength
	secretLen   = 43
	checksumLen = 6
	bodyLen     = idLen + secretLen + checksumLen
	valueLen    = prefixLen + bodyLen
)

const (
	ordinaryPrefix   = "tgate_"
	managementPrefix = "tgadm_"
	alphabet         = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Value is a token's value, as a client sends it. The zero Value is none. It
// prints without its secret; only Reveal returns all of it. Use Matches to verify
// a secret.
type Value struct {
	kind Kind
	text [valueLen]byte
}

// ID is the public id of a token. The zero ID is none.
type ID [idLen]byte

// String returns the 12 characters, or "" for the zero ID.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return string(id[:])
}

// Mint makes a new value. random is Random except in tests.
func Mint(kind Kind, random io.Reader) (Value, error) {
	return mint(kind, "", random)
}

// Remint makes a value with this id and a new secret.
func Remint(kind Kind, id ID, random io.Reader) (Value, error) {
	if !ValidID(id.String()) {
		return Value{}, fmt.Errorf("mint a secret: %w: bad id", ErrMalformed)
	}
	return mint(kind, id.String(), random)
}

func mint(kind Kind, id string, random io.Reader) (Value, error) {
	prefix, err := kind.prefix()
	if err != nil {
		return Value{}, err
	}
	v := Value{kind: kind}
	given := copy(v.text[:], prefix+id)
	if err := fillRandom(v.text[given:valueLen-checksumLen], random); err != nil {
		return Value{}, err
	}
	sum := checksum(v.text[:valueLen-checksumLen])
	copy(v.text[valueLen-checksumLen:], sum[:])
	return v, nil
}

func (k Kind) prefix() (string, error) {
	switch k {
	case Ordinary:
		return ordinaryPrefix, nil
	case Management:
		return managementPrefix, nil
	}
	return "", fmt.Errorf("unknown kind of token %d", k)
}

// fillRandom fills text with characters, each of the 62 equally likely.
func fillRandom(text []byte, random io.Reader) error {
	var buffer [64]byte
	for n := 0; n < len(text); {
		if _, err := io.ReadFull(random, buffer[:]); err != nil {
			return fmt.Errorf("read randomness: %w", err)
		}
		for _, b := range buffer {
			// 62*4 = 248: higher bytes would favour some characters.
			if b < 248 && n < len(text) {
				text[n] = alphabet[b%62]
				n++
			}
		}
	}
	return nil
}

// checksum returns the CRC-32 of text as 6 base62 digits, the highest first.
func checksum(text []byte) (sum [checksumLen]byte) {
	crc := crc32.ChecksumIEEE(text)
	for i := checksumLen - 1; i >= 0; i-- {
		sum[i] = alphabet[crc%62]
		crc /= 62
	}
	return sum
}

// The errors of Parse. All of them wrap ErrMalformed. They are allocated once, so
// that malformed input costs no memory.
var (
	ErrPrefix   = fmt.Errorf("%w: it begins neither with %s nor with %s", ErrMalformed, ordinaryPrefix, managementPrefix)
	ErrLength   = fmt.Errorf("%w: it is not %d characters long", ErrMalformed, valueLen)
	ErrAlphabet = fmt.Errorf("%w: it holds characters other than letters and digits", ErrMalformed)
	ErrChecksum = fmt.Errorf("%w: its checksum is wrong", ErrMalformed)
)

// Parse reads a value in exactly the form that Mint makes. The error is one of
// those above.
func Parse(text string) (Value, error) {
	v := Value{kind: kindOf(text)}
	switch {
	case v.kind == 0:
		return Value{}, ErrPrefix
	case len(text) != valueLen:
		return Value{}, ErrLength
	case !base62(text[prefixLen:]):
		return Value{}, ErrAlphabet
	}
	// The sum of text, because that of v.text would move v to the heap.
	sum := checksum(unsafe.Slice(unsafe.StringData(text), valueLen-checksumLen))
	if string(sum[:]) != text[valueLen-checksumLen:] {
		return Value{}, ErrChecksum
	}
	copy(v.text[:], text)
	return v, nil
}

func kindOf(text string) Kind {
	switch {
	case strings.HasPrefix(text, ordinaryPrefix):
		return Ordinary
	case strings.HasPrefix(text, managementPrefix):
		return Management
	}
	return 0
}

// IsCredential reports whether a text has the prefix of a token.
func IsCredential(text string) bool { return kindOf(text) != 0 }

// ValidID reports whether id has the form of a token id.
func ValidID(id string) bool { return len(id) == idLen && base62(id) }

// ParseID reads an id. Unless ValidID(text), the error wraps ErrMalformed.
func ParseID(text string) (ID, error) {
	if !ValidID(text) {
		return ID{}, fmt.Errorf("%w: a token's id is %d letters and digits", ErrMalformed, idLen)
	}
	return ID([]byte(text)), nil
}

func base62(s string) bool {
	for i := range len(s) {
		if !isDigit[s[i]] {
			return false
		}
	}
	return true
}

// isDigit marks the digits of base62.
var isDigit = func() (is [256]bool) {
	for _, c := range []byte(alphabet) {
		is[c] = true
	}
	return is
}()

// Kind returns the kind of the token.
func (v Value) Kind() Kind { return v.kind }

// ID returns the public id, or the zero ID for the zero Value.
func (v Value) ID() (id ID) {
	if v.kind != 0 {
		copy(id[:], v.text[prefixLen:])
	}
	return id
}

// Reveal returns the whole value, or "" for the zero Value. Use it only to show a
// new token to its creator, and to send it.
func (v Value) Reveal() string {
	if v.kind == 0 {
		return ""
	}
	return string(v.text[:])
}

// String returns the value without its secret.
func (v Value) String() string {
	if v.kind == 0 {
		return "no token"
	}
	return string(v.text[:prefixLen+idLen]) + "…"
}

// GoString returns what String returns, for %#v.
func (v Value) GoString() string { return v.String() }

// MarshalText returns what String returns, for encoders.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Hash returns the SHA-256 of salt and secret, which is stored in place of the
// secret. For the zero Value it returns the zero hash.
func (v Value) Hash(salt [16]byte) [32]byte {
	if v.kind == 0 {
		return [32]byte{}
	}
	var salted [16 + secretLen]byte
	copy(salted[:16], salt[:])
	copy(salted[16:], v.text[prefixLen+idLen:])
	return sha256.Sum256(salted[:])
}

// Matches reports, in constant time, whether the value's secret has this salted
// hash. The zero Value and the zero hash never match.
func (v Value) Matches(salt [16]byte, hash [32]byte) bool {
	if v.kind == 0 || hash == [32]byte{} {
		return false
	}
	sum := v.Hash(salt)
	return subtle.ConstantTimeCompare(sum[:], hash[:]) == 1
}

// Salt returns a new random salt.
func Salt(random io.Reader) (salt [16]byte, err error) {
	if _, err := io.ReadFull(random, salt[:]); err != nil {
		return salt, fmt.Errorf("read randomness: %w", err)
	}
	return salt, nil
}

// Random is the random source for Mint, Remint and Salt.
var Random io.Reader = rand.Reader
