package storetest

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tokengate/tokengate/store"
)

// counted adds one to a decimal number.
func counted(before []byte) ([]byte, error) {
	n, _ := strconv.Atoi(string(before))
	return []byte(strconv.Itoa(n + 1)), nil
}

func (f *fixture) shared(name string) []byte {
	f.t.Helper()
	record, err := f.Shared(f.t.Context(), name)
	if err != nil {
		f.t.Fatalf("shared record %s: %v", name, err)
	}
	return record
}

func testShared(t *testing.T, s Suite) {
	f := open(t, s)
	const name = "forms/0a.b-c"
	same(t, "without one", f.shared(name), []byte(nil))
	for _, next := range [][]byte{[]byte("a\x00b"), {}, bytes.Repeat([]byte("x"), store.MaxShared), nil, nil} {
		before := f.shared(name)
		err := f.UpdateShared(t.Context(), name, func(given []byte) ([]byte, error) {
			same(t, "given to change", given, before)
			clear(given)
			return next, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.shared(name); !bytes.Equal(got, next) || (got == nil) != (next == nil) {
			t.Errorf("%d bytes are stored, nil: %v; want %d", len(got), got == nil, len(next))
		}
	}
	same(t, "other", f.shared("forms/0"), []byte(nil))

	if err := f.UpdateShared(t.Context(), name, counted); err != nil {
		t.Fatal(err)
	}
	err := f.UpdateShared(t.Context(), name, func([]byte) ([]byte, error) { return []byte("no"), errRefused })
	if err != errRefused {
		t.Errorf("error %v, want the callback's", err)
	}
	err = f.UpdateShared(t.Context(), name, func([]byte) ([]byte, error) { return make([]byte, store.MaxShared+1), nil })
	wantError(t, "too long", err, store.ErrInvalid)
	same(t, "after refused changes", f.shared(name), []byte("1"))
	for _, invalid := range []string{"", "A", "a b", "ä", "a\x00", strings.Repeat("a", 65)} {
		wantError(t, "update of "+invalid, f.UpdateShared(t.Context(), invalid, counted), store.ErrInvalid)
		_, err := f.Shared(t.Context(), invalid)
		wantError(t, "read of "+invalid, err, store.ErrInvalid)
		_, err = f.Hold(t.Context(), invalid)
		wantError(t, "role "+invalid, err, store.ErrInvalid)
	}
}

func testParallelShared(t *testing.T, s Suite) {
	f := open(t, s)
	const writers, writes = 4, 10
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range writes {
				if err := f.UpdateShared(t.Context(), "count", counted); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	same(t, "count", string(f.shared("count")), strconv.Itoa(writers*writes))
}

func testRoles(t *testing.T, s Suite) {
	f := open(t, s)
	for range 2 {
		if held, err := f.Hold(t.Context(), "directory"); !held || err != nil {
			t.Errorf("the only server has the role: %v, error %v", held, err)
		}
	}
	for range 2 {
		if err := f.Release(t.Context(), "directory"); err != nil {
			t.Error(err)
		}
	}
	if held, err := f.Hold(t.Context(), "directory"); !held || err != nil {
		t.Errorf("the only server has the role again: %v, error %v", held, err)
	}
}

// testWatchUpstream checks the start and the end. Whether a store reports its own changes is its choice.
func testWatchUpstream(t *testing.T, s Suite) {
	f := open(t, s)
	for _, closed := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		started, ended := make(chan string, 10), make(chan error, 1)
		go func() { ended <- f.WatchUpstream(ctx, func(user string) { started <- user }) }()
		if user := <-started; user != "" {
			t.Errorf("the watch starts with the user %q", user)
		}
		want := context.Canceled
		if closed {
			want = store.ErrClosed
			go f.Close()
		} else {
			cancel()
		}
		if err := <-ended; !errors.Is(err, want) {
			t.Errorf("the watch ended with %v, want %v", err, want)
		}
	}
}
