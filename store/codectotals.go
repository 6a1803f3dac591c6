package store

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of DayTotals and Total: see codec.go.
const (
	totalsDay protowire.Number = iota + 1
	totalsCounts
)

const (
	totalWord protowire.Number = iota + 1
	totalCount
)

// EncodeTotals returns the record of t.
func EncodeTotals(t DayTotals) []byte {
	r := make(encoder, 0, 512)
	r.int(totalsDay, int64(t.Day))
	for _, word := range slices.Sorted(maps.Keys(t.Counts)) {
		var c encoder
		c.text(totalWord, word)
		c.uint(totalCount, t.Counts[word])
		r.bytes(totalsCounts, c)
	}
	return r
}

// DecodeTotals reads the record of the totals of this day.
func DecodeTotals(day Day, data []byte) (DayTotals, error) {
	t, err := decodeTotals(data)
	if err == nil && t.Day != day {
		err = fmt.Errorf("it is the record of %s", t.Day)
	}
	if err != nil {
		return DayTotals{}, fmt.Errorf("read totals of %s: %w", day, err)
	}
	return t, nil
}

func decodeTotals(data []byte) (DayTotals, error) {
	t := DayTotals{Counts: make(map[string]uint64)}
	f := newDecoder(data)
	for f.next(totalsCounts) {
		switch f.number {
		case totalsDay:
			t.Day = Day(f.atMost(lastSecond / (24 * 60 * 60)))
		case totalsCounts:
			word, count, err := decodeTotal(f.bytes())
			if err != nil {
				f.fail("is no count: %w", err)
			}
			t.Counts[word] += count
		}
	}
	return t, f.err
}

func decodeTotal(data []byte) (word string, count uint64, err error) {
	f := newDecoder(data)
	for f.next(0) {
		switch f.number {
		case totalWord:
			word = f.text()
		case totalCount:
			count = f.uint()
		}
	}
	return word, count, f.err
}

// The fields of PasswordUses and PasswordUse: see codec.go.
const (
	passwordsUser protowire.Number = iota + 1
	passwordsUses
)

const (
	passwordClient protowire.Number = iota + 1
	passwordAddress
	passwordFirst
	passwordLast
	passwordPassed
	passwordWouldBlock
	passwordBlocked
)

// EncodePasswordUses returns the record of one user's uses, their times in
// whole seconds.
func EncodePasswordUses(user string, uses []PasswordUse) []byte {
	r := make(encoder, 0, 128)
	r.text(passwordsUser, user)
	for _, u := range uses {
		p := make(encoder, 0, 128)
		p.text(passwordClient, u.Client)
		if u.Address.IsValid() {
			p.bytes(passwordAddress, u.Address.AsSlice())
		}
		p.time(passwordFirst, u.First)
		p.time(passwordLast, u.Last)
		p.uint(passwordPassed, u.Passed)
		p.uint(passwordWouldBlock, u.WouldBlock)
		p.uint(passwordBlocked, u.Blocked)
		r.bytes(passwordsUses, p)
	}
	return r
}

// DecodePasswordUses reads the record of this user's uses. Its errors do not
// name the user.
func DecodePasswordUses(user string, data []byte) (uses []PasswordUse, err error) {
	found := ""
	f := newDecoder(data)
	for f.next(passwordsUses) {
		switch f.number {
		case passwordsUser:
			found = f.text()
		case passwordsUses:
			u, err := decodePasswordUse(f.bytes())
			if err != nil {
				f.fail("is no use: %w", err)
			}
			u.User = user
			uses = append(uses, u)
		}
	}
	if f.err == nil && found != user {
		f.err = fmt.Errorf("it is the record of another user")
	}
	if f.err != nil {
		return nil, fmt.Errorf("read a user's uses of passwords: %w", f.err)
	}
	return uses, nil
}

func decodePasswordUse(data []byte) (u PasswordUse, err error) {
	f := newDecoder(data)
	for f.next(0) {
		switch f.number {
		case passwordClient:
			u.Client = f.text()
		case passwordAddress:
			var ok bool
			if u.Address, ok = netip.AddrFromSlice(f.bytes()); !ok {
				f.fail("is no address")
			}
		case passwordFirst:
			u.First = f.time()
		case passwordLast:
			u.Last = f.time()
		case passwordPassed:
			u.Passed = f.uint()
		case passwordWouldBlock:
			u.WouldBlock = f.uint()
		case passwordBlocked:
			u.Blocked = f.uint()
		}
	}
	return u, f.err
}
