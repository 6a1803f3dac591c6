// Package seal encrypts small secrets for the database with keys from files, so that a
// copy of the database without a key opens nothing. Start with ReadKeys and Keys.Seal.
package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

// The errors of Open. None of them tells anything about the secret.
var (
	ErrNoKey   = errors.New("no sealing key with this id")
	ErrDamaged = errors.New("the sealed secret is damaged, or belongs to another user, site or credential")
)

// ErrKeyFile is wrapped by the errors of ReadKeys.
var ErrKeyFile = errors.New("the sealing key cannot be used")

// KeyID names a key in records, logs and messages. It tells nothing about the key.
type KeyID [keyIDSize]byte

const keyIDSize = 8

// String returns 16 hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Keys are the keys of a site. The zero Keys seals and opens nothing. It prints
// without the keys.
type Keys struct {
	files   []string // the first is that of current
	current KeyID
	opening map[KeyID]cipher.AEAD
}

// String returns the id of the key that seals.
func (k *Keys) String() string { return "sealing key " + k.current.String() }

// GoString returns what String returns, for %#v.
func (k *Keys) GoString() string { return k.String() }

// Current returns the id of the key that seals.
func (k *Keys) Current() KeyID { return k.current }

// Files returns the files of ReadKeys. The key in the first seals.
func (k *Keys) Files() []string { return k.files }

// ReadKeys reads one key from each file: 32 random bytes, which only the file's owner
// and group may read. The first file's key seals; all of them open. The errors wrap
// ErrKeyFile and name the file, never its content.
func ReadKeys(files []string) (*Keys, error) {
	k := &Keys{files: slices.Clone(files), opening: make(map[KeyID]cipher.AEAD)}
	for i, name := range files {
		key, err := readKey(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
		}
		id := idOf(key)
		if i == 0 {
			k.current = id
		}
		if _, twice := k.opening[id]; twice {
			return nil, fmt.Errorf("%w: %s has the key of another file; list each key once", ErrKeyFile, name)
		}
		if k.opening[id], err = chacha20poly1305.NewX(key); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, name, err)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: no file is given", ErrKeyFile)
	}
	return k, nil
}

// readKey reads a file's key.
func readKey(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, fmt.Errorf("%s is not a file", name)
	case mode.Perm()&0o027 != 0:
		return nil, fmt.Errorf("%s has mode %04o, so others could read or replace it; set it to 0400 or 0440", name, mode.Perm())
	case info.Size() != chacha20poly1305.KeySize:
		return nil, fmt.Errorf("%s has %d bytes, not %d; make one with: head -c 32 /dev/urandom > FILE", name, info.Size(), chacha20poly1305.KeySize)
	}
	key := make([]byte, chacha20poly1305.KeySize)
	if _, err := io.ReadFull(f, key); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if allEqual(key) {
		return nil, fmt.Errorf("%s is not random: all bytes are the same", name)
	}
	return key, nil
}

func allEqual(b []byte) bool {
	for _, c := range b {
		if c != b[0] {
			return false
		}
	}
	return true
}

func idOf(key []byte) KeyID {
	sum := sha256.Sum256(append([]byte("tokengate sealing key\x00"), key...))
	return KeyID(sum[:])
}

// Context is what a sealed secret belongs to. Open fails with any other, so that a
// record that was moved to another user, site or credential opens nothing.
type Context struct {
	Site       string // the application's URL with its context path
	User       string // the key of the user
	Credential string // the id of the credential
}

// A sealed secret is the version of this format, the key's id, a random nonce of 24
// bytes, and the ciphertext of XChaCha20-Poly1305 with its tag. Version, key id and
// Context are authenticated too.
const (
	version   = 1
	headSize  = 1 + keyIDSize
	nonceSize = chacha20poly1305.NonceSizeX
)

// Seal encrypts a secret.
func (k *Keys) Seal(secret []byte, c Context) ([]byte, error) {
	aead := k.opening[k.current]
	if aead == nil {
		return nil, fmt.Errorf("seal a secret: %w", ErrNoKey)
	}
	sealed := make([]byte, headSize+nonceSize, headSize+nonceSize+len(secret)+aead.Overhead())
	sealed[0] = version
	copy(sealed[1:], k.current[:])
	rand.Read(sealed[headSize:]) // never fails
	return aead.Seal(sealed, sealed[headSize:], secret, c.append(sealed[:headSize])), nil
}

// Open decrypts a sealed secret. The error is ErrNoKey, with the key's id, or
// ErrDamaged.
func (k *Keys) Open(sealed []byte, c Context) ([]byte, error) {
	id, ok := KeyOf(sealed)
	if !ok || len(sealed) < headSize+nonceSize {
		return nil, ErrDamaged
	}
	aead := k.opening[id]
	if aead == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, id)
	}
	secret, err := aead.Open(nil, sealed[headSize:headSize+nonceSize], sealed[headSize+nonceSize:], c.append(sealed[:headSize]))
	if err != nil {
		return nil, ErrDamaged
	}
	return secret, nil
}

// KeyOf returns the id of the key that sealed a secret.
func KeyOf(sealed []byte) (id KeyID, ok bool) {
	if len(sealed) < headSize || sealed[0] != version {
		return KeyID{}, false
	}
	return KeyID(sealed[1:headSize]), true
}

// append returns head and the context, each part with its length in front, so that no
// two contexts give the same bytes.
func (c Context) append(head []byte) []byte {
	data := append([]byte(nil), head...)
	for _, part := range []string{c.Site, c.User, c.Credential} {
		data = binary.BigEndian.AppendUint32(data, uint32(len(part)))
		data = append(data, part...)
	}
	return data
}
