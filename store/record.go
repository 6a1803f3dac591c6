package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// RecordKind is the kind of a Record. The numbers are stored in backups and never change.
type RecordKind uint8

// The kinds of records, in the order of an export.
const (
	NumberRecord   RecordKind = iota + 1 // the highest Number ever given to a token, in decimal; its key is empty
	TokenRecord                          // its key is the token's id
	UsageRecord                          // of a token; its key is the token's id
	AuditRecord                          // its key is the sequence, in decimal
	TotalsRecord                         // its key is the day, in decimal
	PasswordRecord                       // a user's password uses; its key is the user
	UpstreamRecord                       // a user's upstream credentials; its key is the user's key
)

// recordNames are those of Store.Sizes, and "number".
var recordNames = [...]string{
	NumberRecord: "number", TokenRecord: "tokens", UsageRecord: "usage", AuditRecord: "audit",
	TotalsRecord: "totals", PasswordRecord: "passwords", UpstreamRecord: "upstream",
}

// String returns the kind's name in Store.Sizes, "number", or "kind(n)" for an invalid number.
func (k RecordKind) String() string {
	if k >= NumberRecord && int(k) < len(recordNames) {
		return recordNames[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Record is one record of a store in the form that all kinds of store and backups share.
type Record struct {
	Kind  RecordKind
	Key   string // see RecordKind
	Value []byte // in protobuf's wire format, except for a NumberRecord
}

// Records gives records to visit, which owns them. If visit returns an error, it stops and returns that. It may be called
// more than once.
type Records = func(ctx context.Context, visit func(Record) error) error

// Importer is a Store that takes the records of another one.
type Importer interface {
	Store

	// Import adds records to a store without any, or returns ErrNotEmpty. It expects each key once, and tokens
	// before their usage. Then it calls check, which may use the store. Until check has returned nil, the store is
	// incomplete: if Import fails, or the process ends before, Open returns ErrIncomplete. No other process may use the store
	// meanwhile.
	Import(ctx context.Context, records Records, check func() error) error
}

// Errors of Importer and Open.
var (
	// ErrNotEmpty means that a store has records already.
	ErrNotEmpty = errors.New("the store is not empty")
	// ErrIncomplete means that an Import into the store has failed or not ended.
	ErrIncomplete = errors.New("the store is incomplete: a copy or a restore into it has not ended")
	// ErrNoStore means that there is no store: see OpenOptions.Existing.
	ErrNoStore = errors.New("there is no store")
)

// Sequence returns the number that is the key of an AuditRecord.
func (r Record) Sequence() (uint64, error) { return r.number(r.Key, 64) }

// Day returns the day that is the key of a TotalsRecord.
func (r Record) Day() (Day, error) {
	n, err := r.number(r.Key, 32)
	return Day(n), err
}

// Number returns the number that is the value of a NumberRecord.
func (r Record) Number() (uint64, error) { return r.number(string(r.Value), 64) }

func (r Record) number(text string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("%w: %.20q in a record of kind %v is not a number", ErrInvalid, text, r.Kind)
	}
	return n, nil
}

// Check reads the whole record, and returns an error if a store could not.
func (r Record) Check() (err error) {
	switch r.Kind {
	case NumberRecord:
		_, err = r.Number()
	case TokenRecord:
		_, err = DecodeToken(r.Key, r.Value)
	case UsageRecord:
		if err = checkID(r.Key); err == nil {
			_, err = DecodeUsage(r.Key, r.Value)
		}
	case AuditRecord:
		var sequence uint64
		if sequence, err = r.Sequence(); err == nil {
			_, err = DecodeAudit(sequence, r.Value)
		}
	case TotalsRecord:
		var day Day
		if day, err = r.Day(); err == nil {
			_, err = DecodeTotals(day, r.Value)
		}
	case PasswordRecord:
		_, err = DecodePasswordUses(r.Key, r.Value)
	case UpstreamRecord:
		_, err = DecodeUpstream(r.Key, r.Value)
	default:
		err = fmt.Errorf("%w: there is no record of kind %v", ErrInvalid, r.Kind)
	}
	return err
}
