// Package etcd implements store.Store in etcd, for several processes at once. Start reading at
// Config in config.go and at write in txn.go.
//
// Every write is one transaction of etcd. It compares the revisions of everything that it has read,
// and begins again if one has changed, so that limits and names hold across processes.
//
// # Keys
//
// All keys begin with the configured prefix. Numbers are hexadecimal with leading zeros, so that
// keys sort by number.
//
//	t/<id>                      the token's record
//	n/<number>                  the id of the token with this number
//	o/<owner> 0x00 <number>     the id of the owner's token with this number
//	l/<owner>                   the ids of the owner's live tokens, see below
//	a/<2^53-1 - sequence>       an audit record; the newest is the first
//	u/<block>/<process>         usage that a process added, of the tokens of a block
//	d/<day>/<process>           totals of a day that a process added
//	p/<user>                    a user's password uses
//	c/<user key>                a user's upstream credentials
//	s/<name>                    a shared record
//	r/<role>                    the process that holds a role, with its lease
//	w/<process>                 exists while the process runs
//	h/<random>                  the probe record of Health
//	m/schema                    the version of this layout, in decimal; during an import: incomplete
//	m/number                    the highest number ever taken is this one, in decimal, plus the key's version minus 1
//	m/sequence                  added to the sequences of audit records, in decimal; missing: 0
//	m/pruned                    changes with every removal of tokens
//	m/passwords                 the number of keys that start with p/, in decimal
//
// The owner is the owner's name in lower case. It is printable ASCII, so 0x00 ends it. A segment of
// the prefix has at least two characters, so that no prefix within another one is one of these keys.
//
// A token's revision is etcd's revision of its last modification.
//
// # Live tokens
//
// Every Create and Update reads and writes l/<owner>, so that of two concurrent ones for one owner
// one begins again. It holds the ids of the tokens that are not revoked, so that Create need not
// read those that ended long ago. Create omits the ids of expired tokens; an Update that extends a
// token adds its id again. Ids of tokens that were pruned may remain until the next Create.
//
// # Audit records
//
// A record's sequence is the revision of etcd that its transaction has read, times 1024, plus a
// random number below 1024, plus m/sequence. So no key is written by every change, the order
// of two records is that of their changes if one of these depends on the other or began after its end, and
// it does not depend on clocks. The transaction requires that the sequence is free.
//
// # Usage and totals
//
// Each process adds to keys of its own, and readers add them up. The key w/<process> has a lease,
// which ends some time after the process. A process writes only while its key exists. Then Prune adds what
// processes left to the keys of the process "all", in one transaction that requires that the key of
// the process is gone.
//
// A block of usage has the tokens with the same first bits of store.UsageOrder, so that the usage
// of very many tokens takes few operations.
package etcd

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/tokengate/tokengate/store"
)

// The prefixes and names of keys, after the configured prefix.
const (
	tokenPrefix    = "t/"
	numberPrefix   = "n/"
	ownerPrefix    = "o/"
	livePrefix     = "l/"
	auditPrefix    = "a/"
	usagePrefix    = "u/"
	dayPrefix      = "d/"
	passwordPrefix = "p/"
	upstreamPrefix = "c/"
	sharedPrefix   = "s/"
	rolePrefix     = "r/"
	processPrefix  = "w/"
	healthPrefix   = "h/"

	schemaKey        = "m/schema"
	lastNumberKey    = "m/number"
	sequenceKey      = "m/sequence"
	prunedKey        = "m/pruned"
	passwordUsersKey = "m/passwords"
)

func tokenKey(id string) string        { return tokenPrefix + id }
func numberKey(n uint64) string        { return fmt.Sprintf("%s%016x", numberPrefix, n) }
func liveKey(owner string) string      { return livePrefix + store.FoldOwner(owner) }
func passwordKey(user string) string   { return passwordPrefix + user }
func upstreamKey(user string) string   { return upstreamPrefix + user }
func processKey(process string) string { return processPrefix + process }
func daysFrom(day store.Day) string    { return fmt.Sprintf("%s%08x/", dayPrefix, uint32(day)) }
func blockPrefix(block uint32) string  { return fmt.Sprintf("%s%02x/", usagePrefix, block) }
func ownedPrefix(owner string) string  { return ownerPrefix + store.FoldOwner(owner) + "\x00" }
func ownedKey(t store.Token) string {
	return fmt.Sprintf("%s%016x", ownedPrefix(t.Owner.Name), t.Number)
}
func auditKey(sequence uint64) string {
	return fmt.Sprintf("%s%0*x", auditPrefix, auditDigits, maxSequence-sequence)
}
func decimal(n uint64) string  { return strconv.FormatUint(n, 10) }
func blockOf(id string) uint32 { return store.UsageOrder(id) >> (32 - blockBits) }
func splitProcess(key string) (string, string) { // the key of a group with its slash, and the process
	i := strings.LastIndexByte(key, '/') + 1
	return key[:i], key[i:]
}

// trailingNumber returns the hexadecimal number at the end of a key.
func trailingNumber(key string, digits int) (uint64, error) {
	if len(key) < digits {
		return 0, fmt.Errorf("the key %q does not end in a number", key)
	}
	n, err := strconv.ParseUint(key[len(key)-digits:], 16, 64)
	if err != nil {
		return 0, fmt.Errorf("the key %q does not end in a number", key)
	}
	return n, nil
}

// dayOf returns the day of a key.
func dayOf(key string) (store.Day, error) {
	group, _ := splitProcess(key)
	day, err := trailingNumber(strings.TrimSuffix(group, "/"), 8)
	return store.Day(day), err
}

// processName returns the name of the process with this lease.
func processName(lease int64) string { return fmt.Sprintf("%016x", uint64(lease)) }

// parseDecimal returns the number of a record, 0 if there is none.
func parseDecimal(key string, value []byte) (uint64, error) {
	if value == nil {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the record %s is not a number: %s", key, hex.EncodeToString(value[:min(len(value), 20)]))
	}
	return n, nil
}
