// Package badger implements store.Store in an embedded Badger database: one directory on a local
// disk, used by one process. Start reading at Open in open.go and at write in txn.go.
//
// Every write is one Badger transaction, which is synced to disk before it is acknowledged.
// Transactions run concurrently, and one is retried if Badger finds that data it read has changed.
// Commits are serialized, so that the running numbers have no gaps and a reader that sees one
// also sees all lower ones.
//
// # Keys
//
// Numbers are 8 bytes, big endian, so that keys sort by number.
//
//	t/<id>                      the token's record
//	n/<number>                  the id of the token with this number
//	o/<owner>                   the ids of the owner's live tokens, see below
//	o/<owner> 0x00 <number>     the id of the owner's token with this number
//	a/<sequence>                an audit record
//	d/<day>                     the totals of a day
//	p/<user>                    a user's password uses
//	c/<user key>                a user's upstream credentials
//	m/schema                    the version of this layout, in decimal; during an import: incomplete
//	m/number                    the highest number ever assigned
//	m/passwords                 the number of keys that start with p/
//	m/health                    the probe record of Health
//	m/identity                  a random identifier of the database, 16 bytes
//
// Earlier versions kept a token's usage in u/<id>; Open moves it to the file of usage.
//
// The owner is the owner's name in lower case. It is printable ASCII, so 0x00 ends it.
//
// Badger detects conflicts only on keys that exist or are read by name, and so not on a token that
// a concurrent Create adds for the same owner. Therefore every Create reads and writes the key
// o/<owner>, and one of two concurrent ones is retried.
//
// Ended tokens are kept for a long time, and an owner may have very many. That key holds the ids of
// those that may be live, so that Create need not read the others. Create reads their records and
// omits the ids of tokens that were removed, moved to another owner name, revoked or expired, so
// that no other write has to remove an id. An Update that extends a token, or moves it to another
// name, adds its id if it is missing. Other Updates and Prune need not use the key: they change
// records that Create reads.
//
// The key's value is 2 followed by the ids, or 1 if they are unknown; then all of the owner's
// tokens are read. An earlier version always wrote 1.
//
// # Usage
//
// The usage of tokens changes with each request, and Badger would rewrite it again and again while
// it merges tables. Therefore it is in a file beside the database, tokengate.usage: see package
// usagefile. Its writes are not synced, nothing else depends on it, and its loss is a warning.
//
// # Detecting losses
//
// Badger opens many damaged or older sets of files as a smaller database, and changes them.
// Therefore Open inspects the files first, and refuses a directory in which acknowledged data is
// missing. The file tokengate.sequence, the ledger, says what the database must contain:
//
//   - The sequence of the newest acknowledged audit record. Each acknowledged change has a record
//     in its own transaction. Open requires that record, and all between the oldest existing one
//     and it, which shows a missing table or log anywhere. Totals and password uses have no
//     audit records and may be lost.
//   - The state of MANIFEST, which must be the same or a later one. All tables in it must exist and
//     have valid checksums.
//   - The database's identity.
//
// The ledger is written after the commit and before the acknowledgement, so it never promises more
// than the database holds, and a process killed at any point causes no false alarm. That write does
// not wait for the disk: the kernel has it, and it is synced with the next write, or after 50 ms if
// there is none. Another sync in each write would only detect a disk that loses synced data in a
// power failure within these 50 ms.
//
// An older copy of the whole directory is consistent. No file in it can reveal that.
//
// Revoking a token wipes its salt and hash from the record. The older version of the record stays in
// the files until Badger compacts them.
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
	upstreamPrefix = []byte("c/")

	metaPrefix       = []byte("m/")
	schemaKey        = []byte("m/schema")
	lastNumberKey    = []byte("m/number")
	passwordUsersKey = []byte("m/passwords")
	healthKey        = []byte("m/health")
	identityKey      = []byte("m/identity")
)

func tokenKey(id string) []byte { return key(tokenPrefix, id) }
func usageKey(id string) []byte { return key(usagePrefix, id) }

func passwordKey(user string) []byte { return key(passwordPrefix, user) }
func upstreamKey(user string) []byte { return key(upstreamPrefix, user) }

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
