package badger_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/storetest"
)

// churnWrites is the number of tokens that a worker creates and revokes before the store is
// closed.
const churnWrites = 20

// churn opens a store, fills logs and tables quickly, and closes it. It prints each step in
// advance, and each acknowledged write.
func churn(dir, round string) error {
	ctx := context.Background()
	fmt.Println("opening")
	s, err := badger.Open(ctx, badger.Options{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println("writing")
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := range churnWrites {
				token := storetest.NewToken(0, "fred")
				token.ID = fmt.Sprintf("r%sw%dn%05d", round, w, n)
				audit := store.Audit{TokenID: token.ID, Reason: strings.Repeat("x", 30_000)}
				_, err := s.Create(ctx, token, func([]store.Token) (store.Audit, error) { return audit, nil })
				if err != nil {
					fmt.Println("create:", err)
					return
				}
				fmt.Println("created", token.ID)
				_, err = s.Update(ctx, token.ID, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
					t.State, t.Revoked = store.Revoked, storetest.Epoch
					return audit, nil
				})
				if err != nil {
					fmt.Println("revoke:", err)
					return
				}
				fmt.Println("revoked", token.ID)
			}
		})
	}
	wg.Wait()
	fmt.Println("closing")
	if err := s.Close(); err != nil {
		return err
	}
	fmt.Println("closed")
	return nil
}

// TestKilledStoreOpens kills a process while it opens, writes to or closes a store, and checks
// that the next start finds no problem and all acknowledged writes.
func TestKilledStoreOpens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range killRounds {
		until, writes := [...]string{"opening", "writing", "writing", "closing"}[round%4], 0
		if round%4 == 2 {
			writes = round * 7 % (2 * workers * churnWrites)
		}
		cmd, lines := child(t, "churn", dir, fmt.Sprintf("%03d", round))
		revoked := make(map[string]bool)
		created := make(map[string]bool)
		take := func() {
			t.Helper()
			what, id, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "created":
				created[id] = true
			case "revoked":
				revoked[id] = true
			case "opening", "writing", "closing", "closed":
			default:
				t.Fatalf("round %d: the process says %q", round, lines.Text())
			}
		}
		for {
			line := readLine(t, lines)
			if take(); line == until {
				break
			}
		}
		for range writes {
			readLine(t, lines)
			take()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			take()
		}
		cmd.Wait()

		s, err := badger.Open(t.Context(), badger.Options{Dir: dir})
		if err != nil {
			t.Fatalf("round %d, killed at %s and %d writes: %v", round, until, writes, err)
		}
		for id := range created {
			got, err := s.Get(t.Context(), id)
			if err != nil || revoked[id] && got.State != store.Revoked {
				t.Errorf("round %d: %s is %v (error %v), and its end was acknowledged: %s",
					round, id, got.State, err, strconv.FormatBool(revoked[id]))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
