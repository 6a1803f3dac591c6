package badger_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	upstream "github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/badger/badgertest"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/storetest"
)

// benchTokens is the number of tokens, each of which was used before.
const benchTokens = 1_000_000

// benchSync is the number of tokens after which the file of usage is synced: those of the 30 s after
// which the kernel writes changed pages.
const benchSync = 30 / 2.5 * cached.MaxFlush

// BenchmarkUsage writes the usage of tokens: to the file, with all tokens in use or only random ones,
// and, as a comparison, of random ones to records in Badger, as an earlier version did. Run it with
// -benchtime 1500x. CPU is that of the whole process with writing to the disk.
func BenchmarkUsage(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	ids := make([]string, benchTokens)
	for n := range ids {
		ids[n] = fmt.Sprintf("%012x", random.Uint64())[:store.IDLength]
	}
	dir := b.TempDir()
	err := badgertest.Fill(b.Context(), dir, func(yield func(store.Token, error) bool) {
		for n, id := range ids {
			token := storetest.NewToken(n, fmt.Sprintf("user%d", n/100))
			token.ID, token.Number = id, uint64(n)+1
			if !yield(token, nil) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	s := &benchStore{Store: open(b, dir), b: b}
	defer s.Close()
	x, err := cached.New(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	r := cached.NewUsageRecorder(x)
	useAll := func() {
		for _, id := range ids {
			r.Record(id, true, used.LastUsed, used.LastAddress)
		}
	}
	began := time.Now()
	useAll()
	if err := r.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("the first use of all took %v", time.Since(began))
	began = time.Now()
	if err := s.AllUsage(b.Context(), func(string, store.Usage) error { return nil }); err != nil {
		b.Fatal(err)
	}
	b.Logf("reading all took %v", time.Since(began))
	next := s.tokens // the number of written tokens at which all are used again
	b.Run("all", func(b *testing.B) {
		use := func() {
			if written := s.tokens; written >= next {
				useAll()
				next = written + len(ids)
			}
		}
		s.measure(b, use, func() error { return r.FlushOver(b.Context(), 0) })
	})
	pick := func() map[string]store.Usage {
		batch := make(map[string]store.Usage, store.MaxUsageBatch)
		for len(batch) < store.MaxUsageBatch {
			batch[ids[random.IntN(len(ids))]] = used
		}
		return batch
	}
	b.Run("random", func(b *testing.B) {
		s.measure(b, func() {}, func() error { return s.AddUsage(b.Context(), pick()) })
	})
	records := s.DB().NewWriteBatch()
	for _, id := range ids {
		if err := records.Set([]byte("u/"+id), store.EncodeUsage(used)); err != nil {
			b.Fatal(err)
		}
	}
	if err := records.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := s.DB().Flatten(2); err != nil {
		b.Fatal(err)
	}
	b.Run("records", func(b *testing.B) {
		s.measure(b, func() {}, func() error { return s.addRecords(pick()) })
	})
}

// benchStore counts the tokens whose usage is written.
type benchStore struct {
	*badger.Store
	b      *testing.B
	tokens int
	synced int // the tokens at the last sync
}

func (s *benchStore) AddUsage(ctx context.Context, usage map[string]store.Usage) error {
	s.tokens += len(usage)
	err := s.Store.AddUsage(ctx, usage)
	if err == nil && s.tokens-s.synced >= benchSync {
		s.synced = s.tokens
		err = s.SyncUsage()
	}
	return err
}

// addRecords adds usage to records in Badger.
func (s *benchStore) addRecords(batch map[string]store.Usage) error {
	s.tokens += len(batch)
	return s.DB().Update(func(txn *upstream.Txn) error {
		for id, more := range batch {
			var u store.Usage
			item, err := txn.Get([]byte("u/" + id))
			if err == nil {
				err = item.Value(func(value []byte) error { u, err = store.DecodeUsage(id, value); return err })
			}
			if err != nil {
				return err
			}
			if err := txn.Set([]byte("u/"+id), store.EncodeUsage(u.Add(more))); err != nil {
				return err
			}
		}
		return nil
	})
}

// measure runs add, and reports its CPU and written bytes for each token, without those of use before it.
func (s *benchStore) measure(b *testing.B, use func(), add func() error) {
	b.Helper()
	cpu := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1000
	}
	cpuBefore, bytesBefore, before := cpu(), writtenBytes(b), s.tokens
	for b.Loop() {
		began := cpu()
		use()
		cpuBefore += cpu() - began
		if err := add(); err != nil {
			b.Fatal(err)
		}
	}
	tokens := float64(s.tokens - before)
	b.ReportMetric((cpu()-cpuBefore)/tokens, "µs/token")
	b.ReportMetric((writtenBytes(b)-bytesBefore)/tokens, "bytes/token")
	b.ReportMetric(tokens, "tokens")
}

// writtenBytes returns the bytes that this process has written to disks (proc_pid_io(5)).
func writtenBytes(b *testing.B) (n float64) {
	b.Helper()
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip(err)
	}
	_, rest, _ := bytes.Cut(data, []byte("\nwrite_bytes: "))
	if _, err := fmt.Sscan(string(rest), &n); err != nil {
		b.Fatal(err)
	}
	return n
}
