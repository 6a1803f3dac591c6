// Package backup moves all records of a store: into a file, from a file into an empty store, or from one store
// into another. Start reading at Write, Open and Fill.
package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/store"
)

// The actions of the audit records that Fill is given.
const (
	CopyAction    = "store.copy"
	RestoreAction = "store.restore"
)

// Counts is the number of records of each kind.
type Counts struct {
	Of     map[store.RecordKind]int
	Active int // tokens that are active and not expired
}

// Kinds are the kinds of records that people count, in order.
var Kinds = []store.RecordKind{
	store.TokenRecord, store.UsageRecord, store.AuditRecord, store.TotalsRecord, store.PasswordRecord, store.UpstreamRecord,
}

// Count reads and checks all records. Tokens that have expired by now are not active.
func Count(ctx context.Context, records store.Records, now time.Time) (Counts, error) {
	c := Counts{Of: make(map[store.RecordKind]int)}
	err := c.counting(records, now)(ctx, func(store.Record) error { return nil })
	return c, err
}

// counting returns the records, which are checked and counted as they are read.
func (c *Counts) counting(records store.Records, now time.Time) store.Records {
	return func(ctx context.Context, visit func(store.Record) error) error {
		return records(ctx, func(r store.Record) error {
			if err := r.Check(); err != nil {
				return err
			}
			c.Of[r.Kind]++
			if r.Kind == store.TokenRecord {
				t, err := store.DecodeToken(r.Key, r.Value)
				if err != nil {
					return err
				}
				if t.State == store.Active && !t.Expired(now) {
					c.Active++
				}
			}
			return visit(r)
		})
	}
}

// Disabled returns the records with disabled tokens in place of active ones.
func Disabled(records store.Records) store.Records {
	return func(ctx context.Context, visit func(store.Record) error) error {
		return records(ctx, func(r store.Record) error {
			if r.Kind != store.TokenRecord {
				return visit(r)
			}
			t, err := store.DecodeToken(r.Key, r.Value)
			if err != nil {
				return err
			}
			if t.State == store.Active {
				t.State = store.Disabled
				if r.Value, err = store.EncodeToken(t); err != nil {
					return err
				}
			}
			return visit(r)
		})
	}
}

// Fill adds records to an empty store, reads both again and compares them record by record, and adds an audit record, whose
// Changes get the number of records of each kind. It returns what it has added. The usage of tokens that are not there is left out.
//
// It fails with store.ErrNotEmpty before it changes anything. After any other error the store may be incomplete: see
// store.Importer.
func Fill(ctx context.Context, to store.Store, records store.Records, audit store.Audit) (c Counts, err error) {
	importer, ok := to.(store.Importer)
	if !ok {
		return c, errors.New("this kind of store takes no records of another one")
	}
	records = withoutUnknownUsage(records)
	c.Of = make(map[store.RecordKind]int)
	err = importer.Import(ctx, checked(records), func() error {
		if err := compare(ctx, records, c.counting(to.Export, audit.Time)); err != nil {
			return err
		}
		changes := map[string]store.Change{"active": {After: strconv.Itoa(c.Active)}}
		for name, change := range audit.Changes {
			changes[name] = change
		}
		for _, kind := range Kinds {
			changes[kind.String()] = store.Change{After: strconv.Itoa(c.Of[kind])}
		}
		audit.Changes = changes
		return to.AppendAudit(ctx, audit)
	})
	return c, err
}

// checked returns the records, and an error in place of one that cannot be read.
func checked(records store.Records) store.Records {
	return func(ctx context.Context, visit func(store.Record) error) error {
		return records(ctx, func(r store.Record) error {
			if err := r.Check(); err != nil {
				return err
			}
			return visit(r)
		})
	}
}

// withoutUnknownUsage leaves out the usage of tokens that are not among the records, which a store may keep after
// a token was removed.
func withoutUnknownUsage(records store.Records) store.Records {
	return func(ctx context.Context, visit func(store.Record) error) error {
		known := make(map[string]bool)
		return records(ctx, func(r store.Record) error {
			switch r.Kind {
			case store.TokenRecord:
				known[r.Key] = true
			case store.UsageRecord:
				if !known[r.Key] {
					return nil
				}
			}
			return visit(r)
		})
	}
}

// name identifies a record.
type name struct {
	kind store.RecordKind
	key  string
}

func (n name) String() string { return strings.TrimSpace(fmt.Sprintf("%v %.60q", n.kind, n.key)) }

// maxNamed is the number of differences that an error names.
const maxNamed = 5

// compare returns an error that says which records differ.
func compare(ctx context.Context, want, got store.Records) error {
	sums := make(map[name][sha256.Size]byte)
	if err := want(ctx, func(r store.Record) error {
		sums[name{r.Kind, r.Key}] = sha256.Sum256(r.Value)
		return nil
	}); err != nil {
		return fmt.Errorf("read the source again: %w", err)
	}
	var differ []string
	count := 0
	found := func(n name, how string) {
		if count++; count <= maxNamed {
			differ = append(differ, n.String()+" "+how)
		}
	}
	if err := got(ctx, func(r store.Record) error {
		n := name{r.Kind, r.Key}
		sum, there := sums[n]
		switch delete(sums, n); {
		case !there:
			found(n, "is only in the target")
		case sum != sha256.Sum256(r.Value):
			found(n, "differs")
		}
		return nil
	}); err != nil {
		return fmt.Errorf("read what was written: %w", err)
	}
	for n := range sums {
		found(n, "is only in the source")
	}
	if count == 0 {
		return nil
	}
	return fmt.Errorf("source and target differ in %d records, as if a server still used one of them: %s", count, strings.Join(differ, ", "))
}
