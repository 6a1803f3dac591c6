package store

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	usageCount protowire.Number = iota + 1
	usageWrites
	usageLastUsed
	usageLastAddress
)

// EncodeUsage returns the record of u, with the time in whole seconds and the address without a
// zone.
func EncodeUsage(u Usage) []byte {
	var r encoder
	r.uint(usageCount, u.Count)
	r.uint(usageWrites, u.Writes)
	r.time(usageLastUsed, u.LastUsed)
	if u.LastAddress.IsValid() {
		r.bytes(usageLastAddress, u.LastAddress.AsSlice())
	}
	return r
}

// DecodeUsage reads the usage record of the token with this id.
func DecodeUsage(id string, data []byte) (u Usage, err error) {
	f := newDecoder(data)
	for f.next(0) {
		switch f.number {
		case usageCount:
			u.Count = f.uint()
		case usageWrites:
			u.Writes = f.uint()
		case usageLastUsed:
			u.LastUsed = f.time()
		case usageLastAddress:
			var ok bool
			if u.LastAddress, ok = netip.AddrFromSlice(f.bytes()); !ok {
				f.fail("is not an address")
			}
		}
	}
	if f.err != nil {
		return Usage{}, fmt.Errorf("read usage of token %q: %w", id, f.err)
	}
	return u, nil
}

const (
	auditSequence protowire.Number = iota + 1
	auditSeconds
	auditNanos
	auditActor
	auditFrom
	auditAction
	auditTokenID
	auditOwner
	auditOutcome
	auditReason
	auditChanges
)

const (
	changeField protowire.Number = iota + 1
	changeBefore
	changeAfter
)

// EncodeAudit returns the record of a.
func EncodeAudit(a Audit) []byte {
	r := make(encoder, 0, 128)
	r.uint(auditSequence, a.Sequence)
	if !a.Time.IsZero() {
		r.int(auditSeconds, a.Time.Unix())
		r.uint(auditNanos, uint64(a.Time.Nanosecond()))
	}
	r.text(auditActor, a.Actor)
	r.text(auditFrom, a.From)
	r.text(auditAction, a.Action)
	r.text(auditTokenID, a.TokenID)
	r.text(auditOwner, a.Owner)
	r.text(auditOutcome, a.Outcome)
	r.text(auditReason, a.Reason)
	for _, field := range slices.Sorted(maps.Keys(a.Changes)) {
		var c encoder
		c.text(changeField, field)
		c.text(changeBefore, a.Changes[field].Before)
		c.text(changeAfter, a.Changes[field].After)
		r.bytes(auditChanges, c)
	}
	return r
}

// DecodeAudit reads the audit record with this sequence.
func DecodeAudit(sequence uint64, data []byte) (Audit, error) {
	a, err := decodeAudit(data)
	if err == nil && a.Sequence != sequence {
		err = fmt.Errorf("it is record %d", a.Sequence)
	}
	if err != nil {
		return Audit{}, fmt.Errorf("read audit record %d: %w", sequence, err)
	}
	return a, nil
}

func decodeAudit(data []byte) (a Audit, err error) {
	f := newDecoder(data)
	for f.next(auditChanges) {
		switch f.number {
		case auditSequence:
			a.Sequence = f.uint()
		case auditSeconds:
			a.Time = time.Unix(int64(f.uint()), 0).UTC()
		case auditNanos:
			a.Time = a.Time.Add(time.Duration(f.atMost(uint64(time.Second - 1))))
		case auditActor:
			a.Actor = f.text()
		case auditFrom:
			a.From = f.text()
		case auditAction:
			a.Action = f.text()
		case auditTokenID:
			a.TokenID = f.text()
		case auditOwner:
			a.Owner = f.text()
		case auditOutcome:
			a.Outcome = f.text()
		case auditReason:
			a.Reason = f.text()
		case auditChanges:
			field, change, err := decodeChange(f.bytes())
			if err != nil {
				f.fail("is not a change: %w", err)
			}
			if a.Changes == nil {
				a.Changes = make(map[string]Change)
			}
			a.Changes[field] = change
		}
	}
	return a, f.err
}

func decodeChange(data []byte) (field string, c Change, err error) {
	f := newDecoder(data)
	for f.next(0) {
		switch f.number {
		case changeField:
			field = f.text()
		case changeBefore:
			c.Before = f.text()
		case changeAfter:
			c.After = f.text()
		}
	}
	return field, c, f.err
}

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

// DecodeTotals reads the record of a day's totals.
func DecodeTotals(day Day, data []byte) (DayTotals, error) {
	t, err := decodeTotals(data)
	if err == nil && t.Day != day {
		err = fmt.Errorf("it belongs to %s", t.Day)
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
				f.fail("is not a count: %w", err)
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

// EncodePasswordUses returns the record of a user's password uses, with times in whole seconds.
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

// DecodePasswordUses reads the record of a user's password uses. Its errors do not contain the
// user's name.
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
				f.fail("is not a password use: %w", err)
			}
			u.User = user
			uses = append(uses, u)
		}
	}
	if f.err == nil && found != user {
		f.err = fmt.Errorf("it belongs to another user")
	}
	if f.err != nil {
		return nil, fmt.Errorf("read a user's password uses: %w", f.err)
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
				f.fail("is not an address")
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
