package store

// hashTable is a hash table with open addressing that leads from a hash to numbers;
// what has the number is kept elsewhere. A slot is 0, or its lower bits are a
// number, counted from 1, and its upper bits a part of the hash, so that little
// is looked at in vain.
type hashTable struct {
	slots  []uint32
	filled int
}

const (
	slotMask = 1<<28 - 1
	maxSlot  = slotMask // of how many numbers there can be: 256 millions
)

// slotOf returns what a slot holds that leads to a number.
func slotOf(hash uint64, number uint32) uint32 { return uint32(hash>>20)&^slotMask | (number + 1) }

// find returns the number for which is says so, of those with this hash.
func (s *hashTable) find(hash uint64, is func(number uint32) bool) (number uint32, there bool) {
	if s.filled == 0 {
		return 0, false
	}
	mask, tag := len(s.slots)-1, slotOf(hash, 0)&^slotMask
	for at := int(hash) & mask; s.slots[at] != 0; at = (at + 1) & mask {
		if slot := s.slots[at]; slot&^slotMask == tag && is(slot&slotMask-1) {
			return slot&slotMask - 1, true
		}
	}
	return 0, false
}

// add makes a slot lead to a number that none leads to. hashOf returns the hash
// of one that is there.
func (s *hashTable) add(hash uint64, number uint32, hashOf func(number uint32) uint64) {
	s.filled++
	if s.filled > len(s.slots)*3/4 {
		old := s.slots
		s.slots = make([]uint32, slotsFor(s.filled))
		for _, slot := range old {
			if slot != 0 {
				s.fill(hashOf(slot&slotMask-1), slot)
			}
		}
	}
	s.fill(hash, slotOf(hash, number))
}

// fill puts something into the first slot that is empty.
func (s *hashTable) fill(hash uint64, slot uint32) {
	mask := len(s.slots) - 1
	at := int(hash) & mask
	for s.slots[at] != 0 {
		at = (at + 1) & mask
	}
	s.slots[at] = slot
}

// remove empties the slot that leads to a number. What lies behind it and would
// be found no longer moves up.
func (s *hashTable) remove(hash uint64, number uint32, hashOf func(number uint32) uint64) {
	s.filled--
	mask := len(s.slots) - 1
	hole := int(hash) & mask
	for s.slots[hole] != slotOf(hash, number) {
		hole = (hole + 1) & mask
	}
	for at := (hole + 1) & mask; s.slots[at] != 0; at = (at + 1) & mask {
		first := int(hashOf(s.slots[at]&slotMask-1)) & mask
		if (at-first)&mask >= (at-hole)&mask {
			s.slots[hole] = s.slots[at]
			hole = at
		}
	}
	s.slots[hole] = 0
}
