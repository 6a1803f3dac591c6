package store_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store"
)

// TestSharedList checks that a list is stored as a record, and that no list is made of another record.
func TestSharedList(t *testing.T) {
	type entry struct {
		ID    [2]byte
		Count int64
	}
	var records store.MemoryRecords
	refused := errors.New("refused")
	for i, c := range []struct {
		given, after []entry
		err          error
		bytes        int
	}{
		{[]entry{}, []entry{{[2]byte{1, 2}, -3}, {[2]byte{4, 5}, 6}}, nil, 20},
		{[]entry{{[2]byte{1, 2}, -3}, {[2]byte{4, 5}, 6}}, nil, refused, 20},
		{[]entry{{[2]byte{1, 2}, -3}, {[2]byte{4, 5}, 6}}, []entry{{Count: 1}}, nil, 10},
		{[]entry{{Count: 1}}, nil, nil, 0},
	} {
		err := store.UpdateSharedList(t.Context(), &records, "list", func(list []entry) ([]entry, error) {
			if diff := cmp.Diff(c.given, list); diff != "" {
				t.Errorf("change %d is given (-want +got):\n%s", i, diff)
			}
			return c.after, c.err
		})
		record, failed := records.Shared(t.Context(), "list")
		if err != c.err || failed != nil || len(record) != c.bytes || (record == nil) != (c.bytes == 0) {
			t.Errorf("change %d: %v; %d bytes are stored, error %v", i, err, len(record), failed)
		}
	}
	if err := records.UpdateShared(t.Context(), "list", func([]byte) ([]byte, error) { return make([]byte, 15), nil }); err != nil {
		t.Fatal(err)
	}
	err := store.UpdateSharedList(t.Context(), &records, "list", func(list []entry) ([]entry, error) {
		t.Errorf("given a list of %d", len(list))
		return nil, nil
	})
	if record, failed := records.Shared(t.Context(), "list"); err == nil || failed != nil || len(record) != 15 {
		t.Errorf("a record that is no list: %v; %d bytes are stored, error %v", err, len(record), failed)
	}
}

// TestSharedKey checks that all servers get the same secret key, and that a key is kept.
func TestSharedKey(t *testing.T) {
	var records store.MemoryRecords
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	keys := make([]store.SharedKey, 10)
	got := make([]*[32]byte, len(keys))
	var all sync.WaitGroup
	for i := range keys {
		keys[i].Store, keys[i].Name = &records, "key"
		all.Go(func() {
			if _, err := keys[i].Load(ended); !errors.Is(err, context.Canceled) {
				t.Errorf("with a context that has ended: %v", err)
			}
			key, err := keys[i].Load(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = key
		})
	}
	all.Wait()
	for i := range keys {
		again, err := keys[i].Load(ended) // does not ask the store
		if err != nil || *again != *got[0] || *again == ([32]byte{}) {
			t.Fatalf("the key of server %d differs, or is zero; error %v", i, err)
		}
	}
	record, err := records.Shared(t.Context(), "key")
	if err != nil || !bytes.Equal(record, got[0][:]) {
		t.Errorf("the key is not the record, error %v", err)
	}
	other := store.SharedKey{Store: &records, Name: "other"}
	if key, err := other.Load(t.Context()); err != nil || *key == *got[0] {
		t.Errorf("two keys are equal, error %v", err)
	}
}
