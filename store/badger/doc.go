// Package badger keeps tokens in an embedded Badger database: one directory on
// a local disk, one process.
//
// Every write is one Badger transaction, synced to disk before it is
// acknowledged. Transactions run beside each other and are run again when
// Badger finds that what they have read has changed; commits are made one
// after the other, so that the running numbers have no gaps and whoever sees
// one sees all below it.
//
// # Keys
//
// Numbers are 8 bytes, big endian, so that keys sort by them.
//
//	t/<id>                      the token's record
//	n/<number>                  the id of the token with this number
//	o/<owner>                   the ids of the owner's live tokens, see below
//	o/<owner> 0x00 <number>     the id of the owner's token with this number
//	u/<id>                      the token's usage
//	a/<sequence>                an audit record
//	d/<day>                     the totals of a day
//	p/<user>                    a user's uses of passwords
//	m/schema                    the version of this layout, in decimal
//	m/number                    the highest number ever given out
//	m/passwords                 how many keys begin with p/
//	m/health                    what Health writes, reads and removes
//	m/identity                  a random name of the database, 16 bytes
//
// The owner is the owner's name in lower case; it is printable ASCII, so 0x00
// ends it.
//
// Badger finds a conflict only on keys that exist or are asked for by name: a
// token that another Create is adding for the same owner is on neither list.
// So every Create reads and writes the key o/<owner>, and of two at once one
// is run again.
//
// Ended tokens are kept for long, and an owner may have very many. So that
// Create does not read them, that key has the ids of those that may be live.
// Create reads their records and leaves out which are gone, under another
// owner's name, revoked or expired; so no other write has to take one out. An
// Update that extends a token, or moves it to another name, adds its id if it is
// missing. Other Updates and Prune need no such key: what they change for a
// Create is in records that it reads.
//
// The key's value is 2 and the ids, or 1 if they are not known: then the
// owner's tokens are all read. An earlier version wrote nothing but 1.
//
// # What must be there
//
// Badger takes many damaged or older files for a smaller database, and changes
// them when it opens them. So Open reads the files itself before that, and
// refuses a directory from which something is missing that was acknowledged. The
// file tokengate.sequence, the ledger, says what must be there:
//
//   - The sequence of the newest audit record that was acknowledged. Each
//     acknowledged change has a record in its own transaction. Open wants that
//     record, and all between the oldest that is there and it, so that a
//     missing table or log shows wherever it was. Usage, totals and uses of
//     passwords have none and may be lost.
//   - The state of MANIFEST, which must be the same or a later one. All tables
//     that it names must be there and have good checksums.
//   - The database's identity.
//
// The ledger is written after the commit and before the acknowledgement, so it
// never says more than the database holds, and a process that is killed at any
// point is no false alarm. That write does not wait for the disk: the kernel
// has it, and it reaches the disk with the first sync of the next write, or 50 ms
// later if none follows. A fourth sync in each write would find only what a
// disk has lost of its own synced data at a power cut in these 50 ms.
//
// A whole directory that was replaced by an older copy agrees with itself. No
// file in it can tell.
//
// Revoking a token wipes its salt and hash from the record. The files hold the
// older version of the record until Badger compacts them.
package badger
