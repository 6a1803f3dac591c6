package store

import (
	"context"
	"fmt"
)

// SharedRecords are small records that all servers of a store share. They may be lost when the last server stops, and a
// copy of the store has none: nothing lasting depends on them.
type SharedRecords interface {
	// UpdateShared changes a small record that all servers share, such as the counts of wrong passwords,
	// in one transaction. change receives the record, nil if there is none, and returns the next one, nil
	// for none. It may be called more than once, and must not call the store or keep the record. If it returns
	// an error, nothing is written and UpdateShared returns that error unchanged. Without a change, nothing is written.
	UpdateShared(ctx context.Context, name string, change SharedFunc) error

	// Shared returns a shared record, nil if there is none.
	Shared(ctx context.Context, name string) ([]byte, error)
}

// Coordinator is the part of a Store with which the servers of one store work together. In a store for
// one server it has the same meaning, and its shared records may be kept in memory.
type Coordinator interface {
	SharedRecords

	// Hold reports whether this server has a role, such as that of asking for users, and takes it if no server has it.
	// A server keeps its roles until Release or Close, or until it has not reached the store for about a minute; then another one
	// may take them. So call it each time before acting, and expect that another server still acts or has begun to.
	Hold(ctx context.Context, role string) (bool, error)

	// Release gives up a role. It does nothing if this server does not have it.
	Release(ctx context.Context, role string) error

	// WatchUpstream calls changed soon after another server has changed a user's upstream credentials, with the
	// user's key. At the start, and after it may have missed changes, it calls changed with "". It may also report changes
	// by this server. It returns the context's error or ErrClosed. changed must return soon.
	WatchUpstream(ctx context.Context, changed func(user string)) error
}

// SharedFunc changes a shared record: see SharedRecords.
type SharedFunc = func(before []byte) (after []byte, err error)

// Limits on shared records, in bytes.
const (
	MaxShared     = 512 << 10
	maxSharedName = 64
)

// CheckShared returns an error, which wraps ErrInvalid, unless name is the name of a shared record or a role, lower-case letters,
// digits, "-", "." and "/", and the record is small enough.
func CheckShared(name string, record []byte) error {
	if name == "" || len(name) > maxSharedName {
		return fmt.Errorf("%w: the name of a shared record has %d bytes", ErrInvalid, len(name))
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '/' {
			return fmt.Errorf("%w: the name of a shared record has the byte %q", ErrInvalid, c)
		}
	}
	if len(record) > MaxShared {
		return fmt.Errorf("%w: the shared record %s has %d bytes, more than %d", ErrInvalid, name, len(record), MaxShared)
	}
	return nil
}
