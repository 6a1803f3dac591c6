package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/backup"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/etcd"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
	"github.com/tokengate/tokengate/store/storetest"
)

var now = storetest.Epoch.Add(time.Hour)

func open(t *testing.T, c store.Config) store.Store {
	t.Helper()
	o, err := c.Open(t.Context(), store.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	})
	return o.Store
}

func openBadger(t *testing.T) store.Store {
	t.Helper()
	return open(t, &badger.Config{Dir: filepath.Join(t.TempDir(), "data")})
}

// source returns a store with tokens of all states, of which one is active, and the usage of one.
func source(t *testing.T) store.Store {
	t.Helper()
	s := openBadger(t)
	for i := range 5 {
		token := storetest.NewToken(i, "alice")
		token.State = []store.State{store.Active, store.Pending, store.Disabled, store.Active, store.Active}[i]
		if i == 3 {
			token.Expires = storetest.Epoch.Add(time.Minute)
		}
		if _, err := s.Create(t.Context(), token, func([]store.Token) (store.Audit, error) { return store.Audit{Action: "token.create"}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Update(t.Context(), id(4), func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
		t.State, t.Revoked = store.Revoked, storetest.Epoch
		return store.Audit{Action: "token.revoke"}, nil
	})
	if err == nil {
		err = s.AddUsage(t.Context(), map[string]store.Usage{id(0): {Count: 3, LastUsed: storetest.Epoch, LastAddress: netip.MustParseAddr("10.0.0.1")}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func id(n int) string { return storetest.NewToken(n, "").ID }

func written(t *testing.T, records store.Records) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := backup.Write(t.Context(), &b, records, now); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func all(t *testing.T, records store.Records) (all []store.Record) {
	t.Helper()
	if err := records(t.Context(), func(r store.Record) error { all = append(all, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFile reads what was written, twice.
func TestFile(t *testing.T) {
	from := source(t)
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, written(t, from.Export), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := backup.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !f.Made.Equal(now) {
		t.Errorf("made at %v", f.Made)
	}
	for range 2 {
		if diff := cmp.Diff(all(t, from.Export), all(t, f.Records)); diff != "" {
			t.Errorf("records (-store +file):\n%s", diff)
		}
	}
	c, err := backup.Count(t.Context(), f.Records, now)
	if err != nil || c.Active != 1 || c.Of[store.TokenRecord] != 5 || c.Of[store.AuditRecord] != 6 || c.Of[store.UsageRecord] != 1 {
		t.Errorf("counts %+v, error %v", c, err)
	}
}

// TestDamagedFile cuts a backup everywhere, and changes, adds and removes bytes of it.
func TestDamagedFile(t *testing.T) {
	good := written(t, source(t).Export)
	path := filepath.Join(t.TempDir(), "backup")
	damaged := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := backup.Open(path)
		if err == nil {
			err = f.Records(t.Context(), func(store.Record) error { return nil })
			f.Close()
		}
		if !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: error %v", what, err)
		}
	}
	damaged("another file", []byte("store: {badger: {dir: /data}}\n"))
	damaged("another version", bytes.Replace(good, []byte("backup 1"), []byte("backup 2"), 1))
	damaged("appended", append(bytes.Clone(good), 0))
	for i := range good {
		damaged(fmt.Sprintf("cut after %d of %d bytes", i, len(good)), good[:i])
		changed := bytes.Clone(good)
		changed[i] ^= 1
		damaged(fmt.Sprintf("byte %d of %d changed", i, len(good)), changed)
	}
}

// TestFill copies from Badger to etcd and from there to Badger.
func TestFill(t *testing.T) {
	from := source(t)
	e := etcd.DefaultConfig()
	e.Endpoints = etcdtest.Start(t, etcdtest.Options{}).Endpoints()
	record := store.Audit{Time: now, Action: backup.CopyAction, Changes: map[string]store.Change{"source": {After: "test"}}}
	for i, to := range []store.Store{open(t, e), openBadger(t)} {
		before := all(t, from.Export)
		c, err := backup.Fill(t.Context(), to, from.Export, record)
		if err != nil || c.Active != 1 || c.Of[store.TokenRecord] != 5 || c.Of[store.AuditRecord] != 6+i {
			t.Fatalf("counts %+v, error %v", c, err)
		}
		if diff := cmp.Diff(before, all(t, from.Export)); diff != "" {
			t.Errorf("the source has changed (-before +after):\n%s", diff)
		}
		log, err := to.AuditLog(t.Context(), 0, 1)
		want := map[string]store.Change{"source": {After: "test"}, "active": {After: "1"}, "tokens": {After: "5"}, "usage": {After: "1"},
			"audit": {After: fmt.Sprint(6 + i)}, "totals": {After: "0"}, "passwords": {After: "0"}, "upstream": {After: "0"}}
		if err != nil || log[0].Action != backup.CopyAction {
			t.Fatalf("the audit log is %+v, error %v", log, err)
		}
		if diff := cmp.Diff(want, log[0].Changes); diff != "" {
			t.Errorf("audit record (-want +got):\n%s", diff)
		}
		_, err = backup.Fill(t.Context(), to, from.Export, record)
		if !errors.Is(err, store.ErrNotEmpty) {
			t.Errorf("a second copy: %v", err)
		}
		from = to
	}
}

// TestFillUnknownUsage leaves out what a store may keep of removed tokens.
func TestFillUnknownUsage(t *testing.T) {
	from := source(t)
	records := func(ctx context.Context, visit func(store.Record) error) error {
		return from.Export(ctx, func(r store.Record) error {
			if r.Kind == store.TokenRecord && r.Key == id(0) {
				return nil
			}
			return visit(r)
		})
	}
	to := openBadger(t)
	c, err := backup.Fill(t.Context(), to, records, store.Audit{Time: now})
	if err != nil || c.Of[store.TokenRecord] != 4 || c.Of[store.UsageRecord] != 0 {
		t.Errorf("counts %+v, error %v", c, err)
	}
}

// faulty is a store that adds other records than it is given.
type faulty struct {
	store.Store
	change func(store.Record, func(store.Record) error) error
}

func (f faulty) Import(ctx context.Context, records store.Records, check func() error) error {
	return f.Store.(store.Importer).Import(ctx, func(ctx context.Context, visit func(store.Record) error) error {
		return records(ctx, func(r store.Record) error { return f.change(r, visit) })
	}, check)
}

// TestFillCompares finds a record that was changed, lost or added on the way.
func TestFillCompares(t *testing.T) {
	from := source(t)
	for name, c := range map[string]struct {
		change func(store.Record, func(store.Record) error) error
		want   string
	}{
		"changed": {func(r store.Record, visit func(store.Record) error) error {
			if r.Kind == store.UsageRecord {
				r.Value = store.EncodeUsage(store.Usage{Count: 2})
			}
			return visit(r)
		}, `differ in 1 records, as if a server still used one of them: usage "` + id(0) + `" differs`},
		"lost": {func(r store.Record, visit func(store.Record) error) error {
			if r.Kind == store.TokenRecord && r.Key == id(4) {
				return nil
			}
			return visit(r)
		}, `tokens "` + id(4) + `" is only in the source`},
		"added": {func(r store.Record, visit func(store.Record) error) error {
			if r.Kind == store.TotalsRecord || r.Kind == store.AuditRecord && r.Key == "6" {
				more := store.Record{Kind: store.TotalsRecord, Key: "7", Value: store.EncodeTotals(store.DayTotals{Day: 7})}
				return errors.Join(visit(r), visit(more))
			}
			return visit(r)
		}, `totals "7" is only in the target`},
	} {
		_, err := backup.Fill(t.Context(), faulty{openBadger(t), c.change}, from.Export, store.Audit{Time: now})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestFillInvalid refuses a record that no store could read.
func TestFillInvalid(t *testing.T) {
	for kind := store.NumberRecord; kind <= store.UpstreamRecord+1; kind++ {
		to := openBadger(t)
		_, err := backup.Fill(t.Context(), to, func(_ context.Context, visit func(store.Record) error) error {
			return visit(store.Record{Kind: kind, Key: "x", Value: []byte("x")})
		}, store.Audit{Time: now})
		if err == nil {
			t.Errorf("a bad record of kind %v was taken", kind)
		}
	}
}

// TestDisabled disables active tokens and changes nothing else.
func TestDisabled(t *testing.T) {
	from := source(t)
	to := openBadger(t)
	if _, err := backup.Fill(t.Context(), to, backup.Disabled(from.Export), store.Audit{Time: now}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []store.State{store.Disabled, store.Pending, store.Disabled, store.Disabled, store.Revoked} {
		token, err := to.Get(t.Context(), id(i))
		if err != nil || token.State != want {
			t.Errorf("token %d is %v, error %v", i, token.State, err)
		}
		was, err := from.Get(t.Context(), id(i))
		if err != nil {
			t.Fatal(err)
		}
		was.State, was.Revision, token.Revision = token.State, 0, 0
		if diff := cmp.Diff(was, token); diff != "" {
			t.Errorf("token %d (-before +after):\n%s", i, diff)
		}
	}
}
