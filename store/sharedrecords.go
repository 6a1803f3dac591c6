package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
)

// MemoryRecords are shared records in memory, for a store of one server. The zero value has none. It is safe for
// concurrent use.
type MemoryRecords struct {
	mu      sync.Mutex
	records map[string][]byte
}

// UpdateShared changes a shared record: see SharedRecords.
func (m *MemoryRecords) UpdateShared(ctx context.Context, name string, change SharedFunc) error {
	if err := m.check(ctx, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	after, err := change(bytes.Clone(m.records[name]))
	if err == nil {
		err = CheckShared(name, after)
	}
	if err != nil {
		return err
	}
	if after == nil {
		delete(m.records, name)
		return nil
	}
	if m.records == nil {
		m.records = make(map[string][]byte)
	}
	m.records[name] = append(make([]byte, 0, len(after)), after...)
	return nil
}

// Shared returns a shared record: see SharedRecords.
func (m *MemoryRecords) Shared(ctx context.Context, name string) ([]byte, error) {
	if err := m.check(ctx, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.records[name]), nil
}

func (m *MemoryRecords) check(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return CheckShared(name, nil)
}

// UpdateSharedList is UpdateShared for a record that is a list of values of a fixed size, whose fields are exported: see
// package encoding/binary. An empty list is no record. The change of a record that is no such list fails.
func UpdateSharedList[T any](ctx context.Context, s SharedRecords, name string, change func(list []T) ([]T, error)) error {
	return s.UpdateShared(ctx, name, func(before []byte) ([]byte, error) {
		size := binary.Size(*new(T))
		if len(before)%size != 0 {
			return nil, fmt.Errorf("the shared record %s has %d bytes, which is no list of values of %d bytes", name, len(before), size)
		}
		list := make([]T, len(before)/size)
		if _, err := binary.Decode(before, binary.BigEndian, list); err != nil {
			return nil, fmt.Errorf("read the shared record %s: %w", name, err)
		}
		list, err := change(list)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		return binary.Append(nil, binary.BigEndian, list)
	})
}

// SharedKey is a secret key of 32 bytes that all servers share. It is safe for concurrent use.
type SharedKey struct {
	Store SharedRecords
	Name  string // of the record

	key atomic.Pointer[[32]byte]
}

// Load returns the key, which the first call of all servers makes. Once it has returned the key, it does not ask the store
// again.
func (k *SharedKey) Load(ctx context.Context) (*[32]byte, error) {
	if key := k.key.Load(); key != nil {
		return key, nil
	}
	var key [32]byte
	err := k.Store.UpdateShared(ctx, k.Name, func(before []byte) ([]byte, error) {
		if copy(key[:], before) != len(key) {
			_, _ = rand.Read(key[:]) // never fails
		}
		return key[:], nil
	})
	if err != nil {
		return nil, fmt.Errorf("read or make the shared key %s: %w", k.Name, err)
	}
	k.key.Store(&key)
	return &key, nil
}
