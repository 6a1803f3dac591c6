package store

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of Usage: see codec.go.
const (
	usageCount protowire.Number = iota + 1
	usageWrites
	usageLastUsed
	usageLastAddress
)

// EncodeUsage returns the record of u, its time in whole seconds and its
// address without a zone.
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
				f.fail("is no address")
			}
		}
	}
	if f.err != nil {
		return Usage{}, fmt.Errorf("read usage of token %q: %w", id, f.err)
	}
	return u, nil
}

// The fields of Audit and Change: see codec.go.
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
				f.fail("is no change: %w", err)
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
