package badger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/storetest"
)

var counted = store.PasswordUse{User: "fred", Client: "curl", First: storetest.Epoch, Last: storetest.Epoch, Passed: 1}

// count adds to usage, totals and password uses in an endless loop, and prints each step.
func count(dir string) error {
	ctx := context.Background()
	s, err := badger.Open(ctx, badger.Options{Dir: dir})
	if err != nil {
		return err
	}
	id := storetest.NewToken(1, "fred").ID
	if _, err := s.Get(ctx, id); errors.Is(err, store.ErrNotFound) {
		_, err := s.Create(ctx, storetest.NewToken(1, "fred"), func([]store.Token) (store.Audit, error) { return store.Audit{}, nil })
		if err != nil {
			return err
		}
	}
	for {
		if err := s.AddUsage(ctx, map[string]store.Usage{id: {Count: 1}}); err != nil {
			return err
		}
		if err := s.AddTotals(ctx, store.DayOf(storetest.Epoch), map[string]uint64{"a": 1, "b": 2}); err != nil {
			return err
		}
		if _, err := s.AddPasswordUses(ctx, []store.PasswordUse{counted}); err != nil {
			return err
		}
		fmt.Println("counted")
	}
}

// TestCrashKeepsCounts kills a counting process, and checks that acknowledged counts are kept and
// none is doubled.
func TestCrashKeepsCounts(t *testing.T) {
	dir := t.TempDir()
	least, lives := uint64(0), uint64(0)
	for range 3 {
		cmd, lines := child(t, "count", dir, "")
		for range 50 {
			readLine(t, lines)
			least++
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			least++
		}
		kill(t, cmd)
		lives++

		s := open(t, dir)
		totals, err := s.Totals(t.Context(), 0)
		if err != nil || len(totals) != 1 {
			t.Fatalf("totals %v, error %v", totals, err)
		}
		uses, err := s.PasswordUses(t.Context())
		if err != nil || len(uses) != 1 {
			t.Fatalf("uses %v, error %v", uses, err)
		}
		a, b, passed := totals[0].Counts["a"], totals[0].Counts["b"], uses[0].Passed
		used, err := s.Usage(t.Context(), []string{storetest.NewToken(1, "fred").ID})
		if err != nil {
			t.Fatal(err)
		}
		if n := used[storetest.NewToken(1, "fred").ID].Count; n < a || n > least+lives {
			t.Errorf("the token was used %d times; %d rounds were acknowledged in %d lives", n, least, lives)
		}
		if b != 2*a || a < least || a > least+lives || passed < least || passed > a {
			t.Errorf("a is %d, b %d and the uses %d; %d rounds were acknowledged in %d lives", a, b, passed, least, lives)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
