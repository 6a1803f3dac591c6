package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
)

// exported returns all records, and checks each and their order.
func exported(t *testing.T, records store.Records) (all []store.Record) {
	t.Helper()
	err := records(t.Context(), func(r store.Record) error {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if n := len(all); n > 0 && all[n-1].Kind > r.Kind {
			t.Errorf("a record of kind %v follows one of kind %v", r.Kind, all[n-1].Kind)
		}
		all = append(all, r)
		return nil
	})
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	slices.SortFunc(all, func(a, b store.Record) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key)) })
	return all
}

// fill writes records of all kinds. Alice's token 3 is revoked, and the one with the highest number was pruned.
func (f *fixture) fill() {
	f.t.Helper()
	for i, owner := range []string{"alice", "bob", "Alice", "carol"} {
		f.create(fullToken(i+1, owner))
	}
	old := NewToken(5, "bob")
	old.Expires = Epoch.Add(time.Minute)
	f.create(old)
	f.prune(Epoch.Add(time.Hour))
	f.revoke(NewToken(3, "").ID)
	f.addUsage(map[string]store.Usage{
		NewToken(1, "").ID: {Count: 3, Writes: 1, LastUsed: Epoch, LastAddress: netip.MustParseAddr("10.0.0.1")},
		NewToken(3, "").ID: {Count: 1},
	})
	for day := range store.Day(3) {
		if err := f.AddTotals(f.t.Context(), 20_000+day, map[string]uint64{"allowed": 4, "unknown_token": uint64(day)}); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, user := range []string{"fred", "wilma"} {
		uses := []store.PasswordUse{
			{User: user, Client: "curl", Address: netip.MustParseAddr("10.0.0.2"), First: Epoch, Last: Epoch, Passed: 2},
			{User: user, First: Epoch, Last: Epoch, Blocked: 1},
		}
		if _, err := f.AddPasswordUses(f.t.Context(), uses); err != nil {
			f.t.Fatal(err)
		}
		_, err := f.UpdateUpstream(f.t.Context(), "key of "+user, func([]store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
			sealed := store.UpstreamCredential{ID: "000000000001", Owner: user, Created: Epoch, State: store.UpstreamActive, Sealed: []byte("sealed")}
			return []store.UpstreamCredential{sealed}, []store.Audit{audit("upstream.set", "")}, nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// testExport exports one moment while the store changes, and until the caller or the store ends it.
func testExport(t *testing.T, s Suite) {
	f := open(t, s)
	f.fill()
	before := exported(t, f.Export)
	var kinds []store.RecordKind
	for _, r := range before {
		kinds = append(kinds, r.Kind)
	}
	if kinds = slices.Compact(kinds); len(kinds) != int(store.UpstreamRecord) {
		t.Errorf("the kinds are %v", kinds)
	}
	var during []store.Record
	err := f.Export(t.Context(), func(r store.Record) error {
		if len(during) == 0 {
			f.create(NewToken(6, "bob"))
			f.revoke(NewToken(1, "").ID)
			if err := f.AddTotals(t.Context(), 20_009, map[string]uint64{"allowed": 1}); err != nil {
				t.Error(err)
			}
		}
		during = append(during, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(during, func(a, b store.Record) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key)) })
	same(t, "records, with changes during the export", during, before)
	wantError(t, "export that visit ends", f.Export(t.Context(), func(store.Record) error { return errNo }), errNo)
	wantError(t, "export in an ended context", f.Export(ended(t), func(store.Record) error { return nil }), context.Canceled)
}

// elsewhere returns records whose audit records have far higher sequences with gaps, as from another store.
func elsewhere(records store.Records) store.Records {
	return func(ctx context.Context, visit func(store.Record) error) error {
		return records(ctx, func(r store.Record) error {
			if r.Kind == store.AuditRecord {
				sequence, err := r.Sequence()
				if err != nil {
					return err
				}
				a, err := store.DecodeAudit(sequence, r.Value)
				if err != nil {
					return err
				}
				a.Sequence = 1<<45 + 3*a.Sequence
				r.Key, r.Value = strconv.FormatUint(a.Sequence, 10), store.EncodeAudit(a, 0)
			}
			return visit(r)
		})
	}
}

// testImport imports into an empty store, and goes on with it.
func testImport(t *testing.T, s Suite) {
	f := open(t, s)
	f.fill()
	records := elsewhere(f.Export)
	want := exported(t, records)
	to := open(t, s)
	importer, ok := to.Store.(store.Importer)
	if !ok && s.OpenErr == nil {
		t.Skip("the store is no Importer")
	}
	checked := false
	err := importer.Import(t.Context(), records, func() error {
		checked = true
		same(t, "records during the check", exported(t, to.Export), want)
		return to.AppendAudit(t.Context(), audit("store.copy", ""))
	})
	if err != nil || !checked {
		t.Fatalf("import: %v, checked: %v", err, checked)
	}
	wantError(t, "second import", importer.Import(t.Context(), f.Export, func() error { return nil }), store.ErrNotEmpty)
	to.reopen()
	got := exported(t, to.Export)
	same(t, "records, reopened", slices.DeleteFunc(got, func(r store.Record) bool { return bytes.Contains(r.Value, []byte("store.copy")) }), want)
	log := to.auditLog()
	if len(log) != len(f.auditLog())+1 || log[0].Action != "store.copy" {
		t.Errorf("the audit log is %+v", log)
	}
	unnumbered(t, log)

	// It works like the other one.
	for _, owner := range []string{"alice", "Bob", "carol", "nobody", ""} {
		same(t, "live tokens of "+owner, to.live(owner, Epoch), f.live(owner, Epoch))
		same(t, "list of "+owner, ids(to.list(owner, 0, 10).Tokens), ids(f.list(owner, 0, 10).Tokens))
	}
	first, second := NewToken(1, "").ID, NewToken(3, "").ID
	same(t, "usage", to.usage(first, second), f.usage(first, second))
	both := []*fixture{f, to}
	for _, x := range both {
		x.update(first, func(t *store.Token) { t.Owner.Name = "alicia" })
		x.addUsage(map[string]store.Usage{first: {Count: 1}})
		if err := x.AddTotals(t.Context(), 20_000, map[string]uint64{"allowed": 1}); err != nil {
			t.Fatal(err)
		}
		if created := x.create(NewToken(9, "alice")); created.Number != 6 {
			t.Errorf("the next token has number %d", created.Number)
		}
	}
	same(t, "usage", to.usage(first, second), f.usage(first, second))
	same(t, "live tokens", to.live("alicia", Epoch), f.live("alicia", Epoch))
	for _, kind := range []store.RecordKind{store.NumberRecord, store.TokenRecord, store.UsageRecord, store.TotalsRecord, store.PasswordRecord} {
		of := func(x *fixture) []store.Record {
			return slices.DeleteFunc(exported(t, x.Export), func(r store.Record) bool { return r.Kind != kind })
		}
		same(t, kind.String()+" after the same changes", of(to), of(f))
	}
	to.reopen()
	if log := unnumbered(t, to.auditLog()); log[0].Action != "token.create" || log[1].Action != "token.update" {
		t.Errorf("the audit log begins with %+v", log[:2])
	}
}

// testImportFailed checks that an incomplete store cannot be opened.
func testImportFailed(t *testing.T, s Suite) {
	if s.OpenErr == nil {
		t.Skip("the suite opens no store that may fail")
	}
	f := open(t, s)
	f.fill()
	cut := func(ctx context.Context, visit func(store.Record) error) error {
		n := 0
		return f.Export(ctx, func(r store.Record) error {
			if n++; n > 4 {
				return errNo
			}
			return visit(r)
		})
	}
	for name, c := range map[string]struct {
		records store.Records
		check   error
	}{"records": {cut, nil}, "check": {f.Export, errNo}} {
		to := open(t, s)
		importer := to.Store.(store.Importer)
		wantError(t, name, importer.Import(t.Context(), c.records, func() error { return c.check }), errNo)
		wantError(t, name+": again", importer.Import(t.Context(), f.Export, func() error { return nil }), store.ErrIncomplete)
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		if opened, err := s.OpenErr(t, to.dir, store.OpenOptions{}); !errors.Is(err, store.ErrIncomplete) {
			t.Errorf("%s: an incomplete store opens with error %v", name, err)
			if err == nil {
				opened.Close()
			}
		}
	}
}

// testExisting checks that a store that must exist is not created.
func testExisting(t *testing.T, s Suite) {
	if s.OpenErr == nil {
		t.Skip("the suite opens no store that may fail")
	}
	dir := t.TempDir()
	for range 2 { // nothing is created by the first
		if _, err := s.OpenErr(t, dir, store.OpenOptions{Existing: true}); !errors.Is(err, store.ErrNoStore) {
			t.Fatalf("there is no store, and the error is %v", err)
		}
	}
	if err := s.Open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	opened, err := s.OpenErr(t, dir, store.OpenOptions{Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
}
