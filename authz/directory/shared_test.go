package directory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// application is a Source, which one or several servers ask.
type application struct {
	origin string
	users  []User // a zero Asked becomes the time of the refresh
	gone   []string
	err    error
	asked  int
	now    func() time.Time
}

func (a *application) Refresh(_ context.Context, q RefreshRequest) (*Snapshot, error) {
	a.asked++
	if a.err != nil {
		return nil, a.err
	}
	c := Contents{Taken: a.now(), StaleAfter: q.StaleAfter, Users: slices.Clone(a.users), Removed: map[string]time.Time{}, Groups: map[string]bool{"staff": true}}
	for i := range c.Users {
		if c.Users[i].Asked.IsZero() {
			c.Users[i].Asked = c.Taken
			if c.Users[i].Key == "" {
				c.Users[i].Asked = c.Taken.Add(time.Second) // requested one by one
			}
		}
	}
	for _, id := range a.gone {
		c.Removed[id] = c.Taken.Add(time.Second)
	}
	return NewSnapshot(c), nil
}

func (a *application) Lookup(_ context.Context, name string) (User, error) {
	for _, u := range a.users {
		if u.Name == name {
			return u, nil
		}
	}
	return User{}, ErrUnknownUser
}

func (*application) WholeGroups() bool { return false }
func (*application) Requests() uint64  { return 0 }
func (a *application) Origin() string  { return a.origin }

func fred(active bool) User { return User{Key: "K1", Name: "fred", Active: active} }

const testEvery = time.Minute

// server is a Directory of one of several servers of an etcd.
type server struct {
	*Directory
	jira   *application
	store  store.Opened
	shared *Shared
	now    time.Time
	failed error             // of the last save
	read   func(name string) // is called before a record is read; may be nil
	write  func(name string) // is called before one is written; may be nil
	denied error             // of all writes of records
}

// meddling lets a test do something before a record is read, and refuse writes.
type meddling struct {
	store.Coordinator
	*server
}

func (m meddling) Shared(ctx context.Context, name string) ([]byte, error) {
	if m.read != nil {
		m.read(name)
	}
	return m.Coordinator.Shared(ctx, name)
}

func (m meddling) UpdateShared(ctx context.Context, name string, change store.SharedFunc) error {
	if m.denied != nil {
		return m.denied
	}
	if m.write != nil {
		m.write(name)
	}
	return m.Coordinator.UpdateShared(ctx, name, change)
}

// sharing starts servers that share users in an etcd of their own.
type sharing struct {
	t      *testing.T
	config *etcd.Config
}

func newSharing(t *testing.T, c *etcdtest.Cluster) *sharing {
	s := &sharing{t: t, config: etcd.DefaultConfig()}
	s.config.Endpoints, s.config.Prefix = []string{c.Nodes[0].Endpoint}, "/"+strings.ReplaceAll(t.Name(), "/", "-")+"/"
	return s
}

// start starts a server whose clock shows savedAt.
func (s *sharing) start() *server {
	s.t.Helper()
	opened, err := s.config.Open(s.t.Context(), store.OpenOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { opened.Close() })
	out := &server{store: opened, now: savedAt, jira: &application{origin: testOrigin, users: []User{fred(true)}}}
	now := func() time.Time { return out.now }
	out.jira.now = now
	out.shared = NewShared(out.jira, meddling{opened, out}, now, func(err error) { out.failed = err })
	out.Directory = New(Options{
		Source: out.shared, Owners: func() []Owner { return nil }, Publish: func(*Snapshot) {},
		Every: testEvery, StaleAfter: testStale, Now: now,
	})
	return out
}

func (s *server) advance(d time.Duration) { s.now = s.now.Add(d) }

// refreshes refreshes, and checks how often the application was asked by then.
func (s *server) refreshes(t *testing.T, what string, asked int) {
	t.Helper()
	if err := s.Refresh(t.Context()); err != nil || s.failed != nil {
		t.Fatalf("%s: error %v, of the save %v", what, err, s.failed)
	}
	if s.jira.asked != asked {
		t.Errorf("%s: asked %d times, want %d", what, s.jira.asked, asked)
	}
}

// knows checks fred and the time at which the snapshot was taken.
func (s *server) knows(t *testing.T, what string, active bool, taken time.Time) {
	t.Helper()
	if u, ok := s.Snapshot().ByName("fred"); !ok || u.Active != active || !s.Snapshot().Taken().Equal(taken) || u.Asked.After(taken) {
		t.Errorf("%s: fred is %+v, taken at %s; want active %v, %s", what, u, s.Snapshot().Taken(), active, taken)
	}
}

func (s *server) saved(t *testing.T) savedHead {
	t.Helper()
	h, err := s.shared.records.head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestShared(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	for name, run := range map[string]func(*testing.T, *sharing){
		"one asks": testOneAsks, "role": testRole, "patience": testPatience, "clocks": testClocks, "lookups": testLookups, "restore": testRestoreShared,
		"damage": testDamage, "writer": testWriter, "several chunks": testChunks, "follow": testFollow, "no space": testNotSaved,
	} {
		t.Run(name, func(t *testing.T) { run(t, newSharing(t, c)) })
	}
}

// testOneAsks checks that the second server has what the first one was told, and that few records are written.
func testOneAsks(t *testing.T, s *sharing) {
	a, b := s.start(), s.start()
	a.jira.users = append(a.jira.users, User{Key: "K2", Name: "wilma", Asked: savedAt.Add(-time.Minute)}, User{Name: "Barney", Groups: Groups{Known: true, Names: []string{"staff"}}})
	a.jira.gone = []string{"key:K3"}
	a.refreshes(t, "the first", 1)
	b.advance(2 * time.Second)
	b.refreshes(t, "the second", 0)
	want := a.Snapshot().flatten()
	want.removed = map[string]time.Time{"key:K3": savedAt} // the times of one refresh are not told apart
	barney := want.byName["barney"]
	barney.Asked = savedAt
	want.byName["barney"] = barney
	if err := differs(want, b.Snapshot()); err != nil {
		t.Error(err)
	}
	before := b.Snapshot()
	b.refreshes(t, "again", 0)
	if b.Snapshot() != before {
		t.Error("an unchanged snapshot was replaced")
	}

	first := a.saved(t)
	a.advance(time.Minute)
	a.refreshes(t, "after a minute", 2)
	if h := a.saved(t); h.Generation != first.Generation || h.Sum != first.Sum || !h.Taken.Equal(a.now) {
		t.Errorf("all is saved, though only the time has changed: %+v, before %+v", h, first)
	}
	b.advance(time.Minute)
	b.refreshes(t, "after a minute", 0)
	b.knows(t, "after a minute", true, a.now)

	a.jira.users[0] = fred(false)
	a.advance(time.Minute)
	a.refreshes(t, "deactivated", 3)
	if h := a.saved(t); h.Generation == first.Generation || h.Sum == first.Sum {
		t.Errorf("%+v was saved, before %+v", h, first)
	}
	b.advance(time.Minute)
	b.refreshes(t, "deactivated", 0)
	b.knows(t, "deactivated", false, a.now)
	if !a.shared.Asked(a.Snapshot()) || b.shared.Asked(b.Snapshot()) || b.shared.Asked(nil) {
		t.Error("who has asked is wrong")
	}
}

// testRole checks that a server that gets no answer, or ends, leaves the others to ask.
func testRole(t *testing.T, s *sharing) {
	a, b := s.start(), s.start()
	a.refreshes(t, "the first", 1)
	b.refreshes(t, "the second", 0)
	a.jira.err = errors.New("no route to host")
	a.advance(time.Minute)
	if err := a.Refresh(t.Context()); !errors.Is(err, a.jira.err) {
		t.Errorf("without an answer: %v", err)
	}
	b.advance(time.Minute)
	b.refreshes(t, "after the other's failure", 1)
	a.refreshes(t, "after the failure", 2)
	a.knows(t, "after the failure", true, b.now)
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	a.jira.err = nil
	a.advance(time.Minute)
	a.refreshes(t, "after the other's end", 3)
}

// testPatience checks that a server asks itself if the one with the role saves nothing.
func testPatience(t *testing.T, s *sharing) {
	a, b := s.start(), s.start()
	if held, err := a.store.Hold(t.Context(), Role); !held || err != nil {
		t.Fatal(held, err)
	}
	const patience = testEvery + (testStale-testEvery)/2
	for _, after := range []time.Duration{0, patience} {
		b.now = savedAt.Add(after)
		if err := b.Refresh(t.Context()); !errors.Is(err, ErrNotSaved) || b.jira.asked != 0 {
			t.Errorf("after %s: asked %d times, %v", after, b.jira.asked, err)
		}
	}
	b.advance(time.Second)
	b.refreshes(t, "after more", 1)
	for _, step := range []struct {
		after time.Duration
		asked int
	}{{time.Minute, 1}, {patience, 1}, {patience + time.Second, 2}} {
		b.now = b.Snapshot().Taken().Add(step.after)
		b.refreshes(t, "after another "+step.after.String(), step.asked)
	}
	a.now = b.now
	a.refreshes(t, "at last", 1)
	b.advance(time.Second)
	b.refreshes(t, "no older one", 2)
	b.knows(t, "no older one", true, a.now)
}

// testClocks checks servers whose clocks differ.
func testClocks(t *testing.T, s *sharing) {
	a := s.start()
	a.refreshes(t, "the first", 1)
	for name, test := range map[string]struct{ ahead, taken time.Duration }{
		"equal":  {0, 0},
		"ahead":  {time.Minute, 0},
		"behind": {-time.Minute, -time.Minute},
		"most":   {-maxAhead, -maxAhead},
	} {
		b := s.start()
		b.advance(test.ahead)
		b.refreshes(t, name, 0)
		b.knows(t, name, true, savedAt.Add(test.taken))
		b.advance(time.Second) // the same snapshot gets no younger
		b.refreshes(t, name, 0)
		b.knows(t, name, true, savedAt.Add(test.taken))
	}
	b := s.start()
	b.advance(-maxAhead - 1)
	if err := b.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "in the future") {
		t.Errorf("far behind: %v", err)
	}

	// The next server to ask is a minute behind: the others get no older users, and go on as soon as its clock has caught up.
	b = s.start()
	b.refreshes(t, "before", 0)
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	behind := s.start()
	behind.jira.users = []User{fred(false)}
	behind.advance(-time.Minute)
	behind.refreshes(t, "behind", 1)
	b.refreshes(t, "behind", 0)
	b.knows(t, "behind", true, savedAt)
	behind.now = savedAt.Add(time.Second)
	behind.refreshes(t, "caught up", 2)
	b.advance(time.Minute)
	b.refreshes(t, "caught up", 0)
	b.knows(t, "caught up", false, behind.now)
}

// testLookups checks that a user whom a server has looked up stays when it takes a snapshot without that user, until a
// newer one.
func testLookups(t *testing.T, s *sharing) {
	a, b := s.start(), s.start()
	a.refreshes(t, "the first", 1)
	b.refreshes(t, "the second", 0)
	wilma := User{Key: "K2", Name: "wilma", Active: true, Groups: Groups{Known: true, Names: []string{"staff"}}}
	b.jira.users = append(b.jira.users, wilma)
	b.advance(time.Minute)
	a.advance(time.Minute - time.Second)
	if _, err := b.Lookup(t.Context(), "wilma"); err != nil {
		t.Fatal(err)
	}
	owner := func(what string, want error) {
		t.Helper()
		if _, err := b.Owner("wilma", "K2"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	owner("looked up", nil)
	a.refreshes(t, "taken before the lookup", 2)
	b.refreshes(t, "taken before the lookup", 0)
	b.knows(t, "taken before the lookup", true, a.now)
	owner("taken before the lookup", nil)
	if u, _ := b.Snapshot().ByName("wilma"); !u.Groups.Has("staff") {
		t.Errorf("wilma is %+v", u)
	}
	a.advance(2 * time.Second)
	wilma.Active = false
	a.jira.users = append(a.jira.users, wilma)
	a.refreshes(t, "deactivated", 3)
	b.refreshes(t, "deactivated", 0)
	owner("deactivated", ErrInactive)
	a.jira.users = a.jira.users[:1]
	a.advance(10 * time.Minute)
	b.advance(10 * time.Minute)
	a.refreshes(t, "later", 4)
	b.refreshes(t, "later", 0)
	owner("later", ErrUnavailable)
}

func testRestoreShared(t *testing.T, s *sharing) {
	a := s.start()
	if err := a.RestoreShared(t.Context(), a.shared); !errors.Is(err, ErrNotSaved) || a.Snapshot() != nil {
		t.Errorf("before the first: %v", err)
	}
	a.refreshes(t, "the first", 1)
	if err := a.RestoreShared(t.Context(), a.shared); err == nil {
		t.Error("restored after a refresh")
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	b := s.start()
	b.advance(testStale - 1)
	if err := b.RestoreShared(t.Context(), b.shared); err != nil || b.jira.asked != 0 || b.shared.Asked(b.Snapshot()) {
		t.Errorf("after a restart: asked %d times, %v", b.jira.asked, err)
	}
	b.knows(t, "after a restart", true, savedAt)
	if _, err := b.Owner("fred", "K1"); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*server){
		"too old":         func(s *server) { s.advance(testStale) },
		"in the future":   func(s *server) { s.advance(-maxAhead - 1) },
		"http://jira.two": func(s *server) { s.shared.records.origin = "jira http://jira.two" },
	} {
		b := s.start()
		change(b)
		if err := b.RestoreShared(t.Context(), b.shared); err == nil || !strings.Contains(err.Error(), want) || b.Snapshot() != nil {
			t.Errorf("restored: %v, want an error that says %q", err, want)
		}
	}
}

// testDamage lets a slow server overwrite a chunk: the others notice, and the next save repairs it.
func testDamage(t *testing.T, s *sharing) {
	a, b := s.start(), s.start()
	a.refreshes(t, "the first", 1)
	err := b.store.UpdateShared(t.Context(), chunkRecord(a.saved(t).Generation, 0), func(chunk []byte) ([]byte, error) {
		chunk[len(chunk)/2] ^= 1
		return chunk, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") || b.Snapshot() != nil {
		t.Errorf("damaged: %v", err)
	}
	a.advance(time.Minute)
	a.refreshes(t, "again", 2)
	b.advance(time.Minute)
	b.refreshes(t, "again", 0)
	b.knows(t, "again", true, a.now)
	err = b.store.UpdateShared(t.Context(), headRecord, func([]byte) ([]byte, error) { return []byte(`{"generation":"c","chunks":1}`), nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged head: %v", err)
	}
	b.knows(t, "a damaged head", true, a.now)
	a.advance(time.Minute)
	a.refreshes(t, "repaired", 3)
	b.advance(time.Minute)
	b.refreshes(t, "repaired", 0)
	b.knows(t, "repaired", true, a.now)
}

// testWriter lets a server save twice while another reads, so that the chunks are those of a later snapshot.
func testWriter(t *testing.T, s *sharing) {
	a, b := s.start(), s.start()
	a.refreshes(t, "the first", 1)
	b.read = func(name string) {
		if strings.HasSuffix(name, "/0") {
			b.read = nil
			for n := range 2 {
				a.jira.users[0].DisplayName = fmt.Sprint("Fred ", n)
				a.advance(time.Second)
				a.refreshes(t, "meanwhile", 2+n)
			}
		}
	}
	b.advance(time.Minute)
	b.refreshes(t, "read meanwhile", 0)
	b.knows(t, "read meanwhile", true, a.now)
	if u, _ := b.Snapshot().ByName("fred"); u.DisplayName != "Fred 1" {
		t.Errorf("fred is %+v", u)
	}

	// Another server saves before this one reads the head, or after its chunks.
	for name, test := range map[string]struct {
		hook func(c *server) *func(string)
		want string // in the error; empty: none
	}{
		"before the head": {func(c *server) *func(string) { return &c.read }, ""},
		"after chunks":    {func(c *server) *func(string) { return &c.write }, "at the same time"},
	} {
		c := s.start()
		c.now, a.jira.users[0].DisplayName = a.now.Add(time.Second), name
		hook := test.hook(c)
		*hook = func(record string) {
			if record == headRecord {
				*hook = nil
				a.advance(time.Minute)
				a.refreshes(t, "meanwhile", a.jira.asked+1)
			}
		}
		snapshot, err := c.jira.Refresh(t.Context(), RefreshRequest{StaleAfter: testStale})
		if err != nil {
			t.Fatal(err)
		}
		err = c.shared.records.save(t.Context(), snapshot, c.now)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error that says %q", name, err, test.want)
		}
		b.advance(2 * time.Minute)
		b.refreshes(t, name, 0)
		b.knows(t, name, true, a.now)
	}
}

// testChunks checks users who need more than one record.
func testChunks(t *testing.T, s *sharing) {
	a, b := s.start(), s.start()
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 15_000 {
		a.jira.users = append(a.jira.users, User{Key: fmt.Sprint("K", 10+n), Name: fmt.Sprint("user", n), DisplayName: fmt.Sprintf("%016x%016x%016x%016x", random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64())})
	}
	a.refreshes(t, "many", 1)
	if h := a.saved(t); h.Chunks < 2 {
		t.Errorf("%d chunks", h.Chunks)
	}
	b.refreshes(t, "many", 0)
	if err := differs(a.Snapshot(), b.Snapshot()); err != nil {
		t.Error("the users differ")
	}
}

// testFollow checks that another server's snapshot is noticed, and this server's not.
func testFollow(t *testing.T, s *sharing) {
	a, b := s.start(), s.start()
	before := followEvery
	followEvery = time.Millisecond
	defer func() { followEvery = before }()
	a.refreshes(t, "the first", 1)
	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan struct{}), make(chan struct{})
	reads := 0
	a.read = func(string) {
		if reads++; reads == 3 {
			cancel()
		}
	}
	a.shared.Follow(ctx, func() { t.Error("a server's own snapshot has changed") })
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		b.shared.Follow(ctx, func() {
			select {
			case changed <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	<-changed
	b.refreshes(t, "told of it", 0)
	b.knows(t, "told of it", true, savedAt)
	cancel()
	<-ended
}

// testNotSaved checks that a server that cannot save its users uses them, and no older ones.
func testNotSaved(t *testing.T, s *sharing) {
	a := s.start()
	a.refreshes(t, "saved", 1)
	a.denied = errors.New("no space")
	a.advance(time.Minute)
	if err := a.Refresh(t.Context()); err != nil || !errors.Is(a.failed, a.denied) {
		t.Errorf("error %v, of the save %v", err, a.failed)
	}
	a.knows(t, "not saved", true, a.now)
	a.denied, a.failed = nil, nil
	if err := a.store.Release(t.Context(), Role); err != nil {
		t.Fatal(err)
	}
	if held, err := s.start().store.Hold(t.Context(), Role); !held || err != nil {
		t.Fatal(held, err)
	}
	a.refreshes(t, "without the role", 2)
	a.knows(t, "without the role", true, a.now)
}
