package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/manage/web"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// measureLists is row e: the list of all tokens that administrators have, and
// what the directory asks Jira.
func measureLists(ctx context.Context, sizes scale, r *report) error {
	columns, err := weighListing(sizes.tokens)
	if err != nil {
		return err
	}
	if err := measurePages(ctx, sizes, columns, r); err != nil {
		return err
	}
	runtime.GC()
	return measureRefreshes(ctx, r)
}

// weighListing returns the bytes that the heap holds for each token in a
// listing.
func weighListing(tokens int) (spread, error) {
	before := heap()
	listing := store.NewListing()
	for i := range tokens {
		t, err := recordOf(i, kindOf(i))
		if err != nil {
			return spread{}, err
		}
		listing.Put(t)
	}
	each := (heap() - before) / float64(tokens)
	runtime.KeepAlive(listing)
	return spread{each, each, each}, nil
}

// measurePages times the first page of every listing, one at a time, and
// decisions with and without listings beside them.
func measurePages(ctx context.Context, sizes scale, columns spread, r *report) (err error) {
	l, err := newLister(ctx, sizes.tokens)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	at := " at " + number(float64(sizes.tokens)) + " tokens"

	pages := section{Row: "e", Columns: []string{"query", "ms", "tokens found"}}
	pages.Title = fmt.Sprintf("An administrator's first page: GET /tokens, %s tokens of %s owners", number(float64(sizes.tokens)), number(float64(min(owners, sizes.tokens))))
	slowest, err := l.measure(ctx, sizes.listRounds, &pages)
	if err != nil {
		return err
	}
	pages.Notes = append(pages.Notes, "The server's time, from a request that has been read to an answer that is ready to be sent, in this process. A page has 100 tokens where the query does not say otherwise. A third of the tokens has been used. Owners are judged by a directory that knows all of them.")
	r.Sections = append(r.Sections, pages)
	r.atMost("first page of the administrator's list"+at+", the slowest query", 200, "ms", slowest)
	if err := l.measureSite(ctx, sizes.listRounds, l.id, r); err != nil {
		return err
	}

	beside := section{Row: "e", Columns: []string{"", "found", "beside it"}, Title: "The listing" + at}
	beside.Lines = append(beside.Lines, []string{"listing, bytes per token", beside.cell("listing per token", "B", columns), ""})
	r.atMost("columns of the listing, per token"+at, 100, "B", columns)
	results, err := alternate(ctx, sizes.tailRounds, []contender[tailSlice]{
		{"quiet", func(ctx context.Context) (tailSlice, error) { return l.decide(sizes.tailSlice) }},
		{"with listings", func(ctx context.Context) (tailSlice, error) { return l.decideBesideLists(ctx, sizes.tailSlice) }},
	})
	if err != nil {
		return err
	}
	longer, p999 := beside.besides("listings", results)
	listed := beside.cell("listings", "per second", spreadOf(each(results[1], func(t tailSlice) float64 { return t.others })))
	beside.Notes = append(beside.Notes, fmt.Sprintf("Beside the decisions %s pages per second were listed, one behind another without a pause, with the queries above in turn.", listed))
	r.Sections = append(r.Sections, beside)
	r.atMost("Decide beside listings"+at+", p50 ÷ without", longerBesideListings, "×", longer)
	r.atMost("Decide beside listings"+at+", p99.9", slowestBesideListings, "µs", spread{p999.Median / 1000, p999.Min / 1000, p999.Max / 1000})
	return nil
}

// What a decision may take beside endless listings. It shares no lock and no
// cache line with them, so the median may lose no more than a search takes of
// memory's bandwidth and of the cache that processors share: rounds without any
// differ by a tenth, too. The slowest ones wait for a processor, or for the
// garbage collector; a millisecond is less than Envoy takes for a request, and
// less than any search: who waited for one would be above it.
const (
	longerBesideListings  = 1.1
	slowestBesideListings = 1000 // µs
)

// lister is an administrator who lists the tokens of a store in this process.
type lister struct {
	*tail
	size    int    // tokens
	id      string // of one of them
	manager *manage.Manager
	queries []listing
	handler http.Handler
	admin   context.Context // of a connection to the admin socket
	next    int             // of queries, for decideBesideLists
}

func newLister(ctx context.Context, size int) (_ *lister, err error) {
	t, err := newTail(ctx, size)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if err := t.use(ctx, size); err != nil {
		return nil, err
	}
	known, err := newJira(min(owners, size)).refresh(ctx, min(owners, size), jiraGroup)
	if err != nil {
		return nil, err
	}
	settings := config.Default()
	settings.Access.Use, settings.Access.Admin = []string{jiraGroup}, []string{benchAdministrators}
	rules := manage.NewSettings(settings)
	m := &manage.Manager{
		Tokens: t.tokens, Usage: store.NewUsageRecorder(t.tokens), Directory: known,
		Settings: func() manage.Settings { return rules },
		Now:      func() time.Time { return decideNow }, Random: token.Random,
	}
	m.UpdateOwnerStatus(known.Snapshot)
	t.view.Policy = policy.New(settings)
	const some = 42 // token and owner, whom the queries ask for
	id, err := idOf(some)
	if err != nil {
		return nil, err
	}
	admin, err := asAdministrator(ctx)
	if err != nil {
		return nil, err
	}
	handler := web.Admin(m, func() authz.View { return t.view }, zap.NewNop())
	return &lister{tail: t, size: size, id: id, manager: m, queries: listings(id), handler: handler, admin: admin}, nil
}

// asAdministrator returns the context of a request over the admin socket whose
// other end is this process.
func asAdministrator(ctx context.Context) (context.Context, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make an admin socket: %w", err)
	}
	defer unix.Close(pair[1])
	file := os.NewFile(uintptr(pair[0]), "admin")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("make an admin socket: %w", err)
	}
	defer conn.Close()
	return web.ConnContext(ctx, conn), nil
}

// usedMinutes is over how many minutes before now tokens are used: two months.
const usedMinutes = 60 * 24 * 60

// use gives a third of the tokens a use.
func (t *tail) use(ctx context.Context, size int) error {
	batch := make(map[string]store.Usage, store.MaxUsageBatch)
	for i := 0; i < size; i += 3 {
		id, err := idOf(i)
		if err != nil {
			return err
		}
		mixed := i * 7919 % size
		batch[id] = store.Usage{Count: uint64(mixed) + 1, LastUsed: decideNow.Add(-time.Duration(mixed*usedMinutes/size) * time.Minute)}
		if len(batch) < store.MaxUsageBatch && i+3 < size {
			continue
		}
		if err := t.tokens.AddUsage(ctx, batch); err != nil {
			return fmt.Errorf("give tokens a use: %w", err)
		}
		clear(batch)
	}
	return nil
}

// idOf returns the id of token i.
func idOf(i int) (string, error) {
	value, err := valueOf(i)
	return value.ID().String(), err
}

// measure times the first page of every query and writes it into a table. It
// returns the one that takes longest.
func (l *lister) measure(ctx context.Context, rounds int, s *section) (slowest spread, err error) {
	found := make([]int, len(l.queries))
	var contenders []contender[float64]
	for i, query := range l.queries {
		contenders = append(contenders, contender[float64]{query.name(), func(context.Context) (float64, error) {
			began := time.Now()
			answer := l.ask(query)
			took := time.Since(began)
			var page web.TokenPage
			if err := l.read(query, answer, &page); err != nil {
				return 0, err
			}
			found[i] = page.Total
			return took.Seconds() * 1000, nil
		}})
	}
	results, err := alternate(ctx, rounds, contenders)
	if err != nil {
		return spread{}, err
	}
	for i, query := range l.queries {
		took := spreadOf(results[i])
		if took.Median > slowest.Median {
			slowest = took
		}
		s.Lines = append(s.Lines, []string{query.name(), s.cell("first page, "+query.name(), "ms", took), number(float64(found[i]))})
	}
	return slowest, nil
}

// ask asks for the tokens of a query.
func (l *lister) ask(query listing) *httptest.ResponseRecorder {
	return l.get("/tokens?" + string(query))
}

// get asks for what is below the API's base.
func (l *lister) get(path string) *httptest.ResponseRecorder {
	request := httptest.NewRequestWithContext(l.admin, http.MethodGet, web.Bases[0]+path, nil)
	answer := httptest.NewRecorder()
	l.handler.ServeHTTP(answer, request)
	return answer
}

// read reads an answer, which must be a page.
func (l *lister) read(query listing, answer *httptest.ResponseRecorder, page *web.TokenPage) error {
	if answer.Code != http.StatusOK {
		return fmt.Errorf("GET /tokens?%s: status %d: %s", query, answer.Code, token.Redact(answer.Body.String()))
	}
	if err := json.Unmarshal(answer.Body.Bytes(), page); err != nil {
		return fmt.Errorf("GET /tokens?%s: %w", query, err)
	}
	return nil
}

// decideBesideLists times decisions while an administrator lists tokens without
// a pause. A second one would only wait: one search runs at a time.
func (l *lister) decideBesideLists(ctx context.Context, length time.Duration) (tailSlice, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var lists sync.WaitGroup
	listed, failed := 0, error(nil)
	began := time.Now()
	lists.Go(func() {
		for first := true; first || ctx.Err() == nil && failed == nil; first = false {
			query := l.queries[l.next%len(l.queries)]
			l.next++
			if answer := l.ask(query); answer.Code != http.StatusOK {
				failed = l.read(query, answer, nil)
			}
			listed++
		}
	})
	slice, err := l.decide(length)
	cancel()
	lists.Wait()
	slice.others = float64(listed) / time.Since(began).Seconds()
	return slice, errors.Join(err, failed)
}
