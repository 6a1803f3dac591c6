package store

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tokengate/tokengate/store/storepb"
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

// EncodeAudit returns the record of a. A store that may send a transaction twice gives each a random number, by which
// it recognizes the record. 0 is none.
func EncodeAudit(a Audit, transaction uint64) []byte {
	m := &storepb.Audit{
		Sequence: a.Sequence, Actor: a.Actor, From: a.From, Action: a.Action, TokenId: a.TokenID,
		Owner: a.Owner, Outcome: a.Outcome, Reason: a.Reason, Transaction: transaction,
	}
	if !a.Time.IsZero() {
		m.Seconds, m.Nanos = new(a.Time.Unix()), int32(a.Time.Nanosecond())
	}
	for _, field := range slices.Sorted(maps.Keys(a.Changes)) {
		c := a.Changes[field]
		m.Changes = append(m.Changes, &storepb.Change{Field: field, Before: c.Before, After: c.After})
	}
	return marshal(m)
}

// DecodeAudit reads the audit record with this sequence.
func DecodeAudit(sequence uint64, data []byte) (Audit, error) {
	var m storepb.Audit
	err := proto.Unmarshal(data, &m)
	switch {
	case err != nil:
	case m.Sequence != sequence:
		err = fmt.Errorf("it is record %d", m.Sequence)
	case m.Nanos < 0 || m.Nanos >= int32(time.Second):
		err = fmt.Errorf("it has %d nanoseconds", m.Nanos)
	}
	if err != nil {
		return Audit{}, fmt.Errorf("read audit record %d: %w", sequence, err)
	}
	a := Audit{
		Sequence: m.Sequence, Actor: m.Actor, From: m.From, Action: m.Action, TokenID: m.TokenId,
		Owner: m.Owner, Outcome: m.Outcome, Reason: m.Reason,
	}
	if m.Seconds != nil {
		a.Time = time.Unix(*m.Seconds, int64(m.Nanos)).UTC()
	}
	for _, c := range m.Changes {
		if a.Changes == nil {
			a.Changes = make(map[string]Change)
		}
		a.Changes[c.Field] = Change{Before: c.Before, After: c.After}
	}
	return a, nil
}

// EncodeTotals returns the record of t.
func EncodeTotals(t DayTotals) []byte {
	m := &storepb.DayTotals{Day: new(uint32(t.Day))}
	for _, word := range slices.Sorted(maps.Keys(t.Counts)) {
		m.Counts = append(m.Counts, &storepb.Total{Word: word, Count: t.Counts[word]})
	}
	return marshal(m)
}

// DecodeTotals reads the record of a day's totals.
func DecodeTotals(day Day, data []byte) (DayTotals, error) {
	var m storepb.DayTotals
	err := proto.Unmarshal(data, &m)
	if err == nil && Day(m.GetDay()) != day {
		err = fmt.Errorf("it belongs to %s", Day(m.GetDay()))
	}
	if err != nil {
		return DayTotals{}, fmt.Errorf("read totals of %s: %w", day, err)
	}
	t := DayTotals{Day: day, Counts: make(map[string]uint64, len(m.Counts))}
	for _, c := range m.Counts {
		t.Counts[c.Word] += c.Count
	}
	return t, nil
}

// EncodePasswordUses returns the record of a user's password uses, with times in whole seconds.
func EncodePasswordUses(user string, uses []PasswordUse) []byte {
	m := &storepb.PasswordUses{User: user}
	for _, u := range uses {
		m.Uses = append(m.Uses, &storepb.PasswordUse{
			Client: u.Client, Address: u.Address.AsSlice(), First: seconds(u.First), Last: seconds(u.Last),
			Passed: u.Passed, WouldBlock: u.WouldBlock, Blocked: u.Blocked,
		})
	}
	return marshal(m)
}

// DecodePasswordUses reads the record of a user's password uses. Its errors do not contain the
// user's name.
func DecodePasswordUses(user string, data []byte) (uses []PasswordUse, err error) {
	var m storepb.PasswordUses
	if err := proto.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("read a user's password uses: %w", err)
	}
	if m.User != user {
		return nil, fmt.Errorf("read a user's password uses: it belongs to another user")
	}
	for _, u := range m.Uses {
		address, ok := netip.AddrFromSlice(u.Address)
		if !ok && u.Address != nil {
			return nil, fmt.Errorf("read a user's password uses: an address has %d bytes", len(u.Address))
		}
		uses = append(uses, PasswordUse{
			User: user, Client: u.Client, Address: address, First: timeOrZero(u.First), Last: timeOrZero(u.Last),
			Passed: u.Passed, WouldBlock: u.WouldBlock, Blocked: u.Blocked,
		})
	}
	return uses, nil
}

func marshal(m proto.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err) // impossible: there are no required fields, and texts need not be UTF-8
	}
	return data
}

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.Unix())
}

func timeOrZero(seconds *int64) time.Time {
	if seconds == nil {
		return time.Time{}
	}
	return time.Unix(*seconds, 0).UTC()
}
