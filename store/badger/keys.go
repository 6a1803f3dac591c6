package badger

import (
	"encoding/binary"
	"fmt"

	"github.com/tokengate/tokengate/store"
)

var (
	tokenPrefix    = []byte("t/")
	numberPrefix   = []byte("n/")
	ownerPrefix    = []byte("o/")
	usagePrefix    = []byte("u/")
	auditPrefix    = []byte("a/")
	dayPrefix      = []byte("d/")
	passwordPrefix = []byte("p/")

	schemaKey        = []byte("m/schema")
	lastNumberKey    = []byte("m/number")
	passwordUsersKey = []byte("m/passwords")
	healthKey        = []byte("m/health")
	identityKey      = []byte("m/identity")
)

func tokenKey(id string) []byte { return key(tokenPrefix, id) }
func usageKey(id string) []byte { return key(usagePrefix, id) }

func passwordKey(user string) []byte { return key(passwordPrefix, user) }

func numberKey(n uint64) []byte { return appendNumber(numberPrefix, n) }
func auditKey(s uint64) []byte  { return appendNumber(auditPrefix, s) }
func dayKey(d store.Day) []byte { return appendNumber(dayPrefix, uint64(d)) }

// ownerKey is the key on which concurrent Creates for one owner conflict. Its value is a
// liveList.
func ownerKey(owner string) []byte { return key(ownerPrefix, store.FoldOwner(owner)) }

// ownedPrefix starts the keys of the owner's tokens.
func ownedPrefix(owner string) []byte { return append(ownerKey(owner), 0) }

func ownedKey(owner string, n uint64) []byte { return appendNumber(ownedPrefix(owner), n) }

func key(prefix []byte, name string) []byte {
	return append(prefix[:len(prefix):len(prefix)], name...)
}

func appendNumber(prefix []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(prefix[:len(prefix):len(prefix)], n)
}

// trailingNumber returns the number at the end of a key or value.
func trailingNumber(key []byte) (uint64, error) {
	if len(key) < 8 {
		return 0, fmt.Errorf("%q does not end in a number", key)
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), nil
}
