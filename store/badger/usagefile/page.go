package usagefile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"iter"
	"net/netip"
	"time"

	"github.com/tokengate/tokengate/store"
)

// A page is a bucket of eight sectors. A disk writes a sector atomically. A sector is, big endian:
//
//	CRC-32C of the rest   4 bytes
//	slots in use          4
//	9 slots              56 each, those in use first
//
// and a slot:
//
//	id                   12 bytes
//	count                 8
//	writes                8
//	last used             8; Unix seconds, 0: never
//	last address         16; IPv4 mapped to IPv6, all zero: none
//	zero                  4
//
// A sector of zeros has no slot in use.
const (
	pageSize   = 4096
	sectorSize = 512
	perSector  = 9
	firstSlot  = 8
	slotSize   = 56
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// clearDamaged clears the damaged sectors of pages that were read, and returns their number. All
// functions below are for pages without damaged sectors.
func clearDamaged(pages []byte) (damaged int) {
	for ; len(pages) > 0; pages = pages[sectorSize:] {
		s := pages[:sectorSize]
		if binary.BigEndian.Uint32(s) == crc32.Checksum(s[4:], castagnoli) && used(s) <= perSector {
			continue
		}
		if !bytes.Equal(s, noSector[:]) {
			damaged++
			clear(s)
		}
	}
	return damaged
}

var noSector [sectorSize]byte

// used returns the number of slots in use.
func used(sector []byte) int { return int(binary.BigEndian.Uint32(sector[4:])) }

func setUsed(sector []byte, n int) { binary.BigEndian.PutUint32(sector[4:], uint32(n)) }

// seal sets the checksum of a changed sector.
func seal(sector []byte) {
	binary.BigEndian.PutUint32(sector, crc32.Checksum(sector[4:], castagnoli))
}

func slotOf(sector []byte, n int) []byte {
	return sector[firstSlot+n*slotSize:][:slotSize:slotSize]
}

func sectorOf(page []byte, n int) []byte { return page[n*sectorSize:][:sectorSize:sectorSize] }

const sectors = pageSize / sectorSize

// find returns the sector and the slot of an id. If the page does not have it, they are those of a
// free slot; a full page gives a negative sector.
func find(page []byte, id string) (sector, n int, found bool) {
	sector = -1
	for i := range sectors {
		s := sectorOf(page, i)
		for n := range used(s) {
			if string(slotOf(s, n)[:store.IDLength]) == id {
				return i, n, true
			}
		}
		if sector < 0 && used(s) < perSector {
			sector, n = i, used(s)
		}
	}
	return sector, n, false
}

// remove frees a slot, and moves the last one of the sector to its place.
func remove(sector []byte, n int) {
	last := used(sector) - 1
	copy(slotOf(sector, n), slotOf(sector, last))
	clear(slotOf(sector, last))
	setUsed(sector, last)
}

// put stores usage in slot n, which is in use or the first that is free.
func put(sector []byte, n int, id string, u store.Usage) {
	setUsed(sector, max(used(sector), n+1))
	s := slotOf(sector, n)
	copy(s, id)
	binary.BigEndian.PutUint64(s[12:], u.Count)
	binary.BigEndian.PutUint64(s[20:], u.Writes)
	var last int64
	if !u.LastUsed.IsZero() {
		last = u.LastUsed.Unix()
	}
	binary.BigEndian.PutUint64(s[28:], uint64(last))
	var address [16]byte
	if u.LastAddress.IsValid() {
		address = u.LastAddress.As16()
	}
	copy(s[36:], address[:])
}

func decode(s []byte) store.Usage {
	u := store.Usage{Count: binary.BigEndian.Uint64(s[12:]), Writes: binary.BigEndian.Uint64(s[20:])}
	if last := int64(binary.BigEndian.Uint64(s[28:])); last != 0 {
		u.LastUsed = time.Unix(last, 0).UTC()
	}
	if address := [16]byte(s[36:]); address != [16]byte{} {
		u.LastAddress = netip.AddrFrom16(address).Unmap()
	}
	return u
}

// slots returns the slots in use.
func slots(page []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range sectors {
			s := sectorOf(page, i)
			for n := range used(s) {
				if !yield(slotOf(s, n)) {
					return
				}
			}
		}
	}
}

// copySlot copies a slot of another page, which the page does not have.
func copySlot(page, from []byte) {
	sector, n, _ := find(page, string(from[:store.IDLength]))
	s := sectorOf(page, sector)
	setUsed(s, n+1)
	copy(slotOf(s, n), from)
}
