package badger_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/storetest"
)

// The test binary starts itself as the process that is killed, with one of these tasks.
const (
	childTask  = "TOKENGATE_TEST_TASK"
	childDir   = "TOKENGATE_TEST_DIR"
	childRound = "TOKENGATE_TEST_ROUND"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childTask) {
	case "":
		os.Exit(m.Run())
	case "hold":
		err = hold(os.Getenv(childDir))
	case "work":
		err = work(os.Getenv(childDir), os.Getenv(childRound))
	case "churn":
		if err = churn(os.Getenv(childDir), os.Getenv(childRound)); err == nil {
			os.Exit(0)
		}
	case "count":
		err = count(os.Getenv(childDir))
	}
	fmt.Println("ended:", err)
	os.Exit(1)
}

// hold opens the store and keeps it open until standard input ends.
func hold(dir string) error {
	s, err := badger.Open(context.Background(), badger.Options{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println("open")
	io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

// The work takes longer than it takes to kill the process.
const (
	workers  = 4
	perLife  = 5_000 // tokens of a worker
	allLives = 1_000 // acknowledged writes to reach at least
)

// work creates tokens, revokes every second one, and prints each write once it is acknowledged.
// The ids contain round and worker.
func work(dir, round string) error {
	ctx := context.Background()
	durable, err := badger.Open(ctx, badger.Options{Dir: dir})
	if err != nil {
		return err
	}
	s, err := cached.New(ctx, durable)
	if err != nil {
		return err
	}
	fmt.Println("open")
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := range perLife {
				token := storetest.NewToken(0, fmt.Sprintf("user %d", n%20))
				token.ID = fmt.Sprintf("r%sw%dn%06d", round, w, n)
				_, err := s.Create(ctx, token, func([]store.Token) (store.Audit, error) {
					return store.Audit{Action: "created", TokenID: token.ID}, nil
				})
				if err != nil {
					fmt.Println("create:", err)
					return
				}
				fmt.Println("created", token.ID)
				if n%2 == 1 {
					continue
				}
				_, err = s.Update(ctx, token.ID, func(t *store.Token, _ store.LiveFunc) (store.Audit, error) {
					t.State, t.Revoked = store.Revoked, storetest.Epoch
					return store.Audit{Action: "revoked", TokenID: t.ID}, nil
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
	return fmt.Errorf("the process was not killed in time")
}

// child starts this test binary with a task, and stops it at the end of the test.
func child(t *testing.T, task, dir, round string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childTask+"="+task, childDir+"="+dir, childRound+"="+round)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// kill kills the process with SIGKILL and checks that the signal ended it. Read the process's
// output to its end first.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the process ended by itself: %v", cmd.ProcessState)
	}
}

// TestCrash kills a writing process at several points, and checks that all acknowledged writes
// are in effect.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{} // "created <id>", "revoked <id>"
	var points = []int{0, 1, 60, 300, 640}
	for round, point := range points {
		cmd, lines := child(t, "work", dir, fmt.Sprintf("%02d", round))
		if line := readLine(t, lines); line != "open" {
			t.Fatalf("round %d: the process says %q", round, line)
		}
		n := 0
		take := func() {
			if what := strings.Fields(lines.Text()); len(what) != 2 || len(what[1]) != 12 {
				t.Fatalf("round %d: the process says %q", round, lines.Text())
			}
			acknowledged[lines.Text()] = true
			n++
		}
		for n < point {
			readLine(t, lines)
			take()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what was acknowledged and not read yet
			take()
		}
		kill(t, cmd)
		t.Logf("round %d: killed after %d acknowledged writes", round, n)
		checkCrashed(t, dir, round, maps.Clone(acknowledged))
	}
	if len(acknowledged) < allLives {
		t.Errorf("only %d writes were acknowledged, want %d", len(acknowledged), allLives)
	}
}

func checkCrashed(t *testing.T, dir string, round int, acknowledged map[string]bool) {
	t.Helper()
	s, err := cached.New(t.Context(), open(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	log, err := s.AuditLog(t.Context(), 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	logged := make(map[string]bool)
	for i, a := range log {
		if want := uint64(len(log) - i); a.Sequence != want {
			t.Fatalf("audit record %d has sequence %d, want %d", i, a.Sequence, want)
		}
		logged[a.Action+" "+a.TokenID] = true
	}

	found := make(map[string]bool)
	numbers := make(map[uint64]string)
	var mu sync.Mutex
	err = s.All(t.Context(), func(token store.Token) error {
		mu.Lock()
		defer mu.Unlock()
		found["created "+token.ID] = true
		if token.State == store.Revoked {
			found["revoked "+token.ID] = true
			if token.Secret != (store.Secret{}) {
				t.Errorf("%s is revoked and has a secret", token.ID)
			}
		}
		if other := numbers[token.Number]; other != "" {
			t.Errorf("%s and %s have the number %d", token.ID, other, token.Number)
		}
		numbers[token.Number] = token.ID
		if _, ok := s.Index().Lookup(token.ID); ok == (token.State == store.Revoked) {
			t.Errorf("%s is %v, and in the index: %v", token.ID, token.State, ok)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	for what := range acknowledged {
		if !found[what] {
			t.Errorf("%q was acknowledged but is not in effect", what)
		}
	}
	// A worker has at most one write in flight when it dies, in each round.
	if extra := len(found) - len(acknowledged); extra > workers*(round+1) {
		t.Errorf("%d unacknowledged writes are in effect", extra)
	}
	for what := range found {
		if !logged[what] {
			t.Errorf("%q is not in the audit log", what)
		}
	}
	if len(logged) != len(found) {
		t.Errorf("the audit log has %d writes, the store %d", len(logged), len(found))
	}
}
