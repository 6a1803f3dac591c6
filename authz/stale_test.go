package authz_test

import (
	stdcontext "context"
	"net/netip"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/index"
)

// remote is a store with one token, whose feed the test operates.
type remote struct {
	store.Store
	token store.Token
	feed  chan store.Feed
}

func (r remote) Watch(ctx stdcontext.Context, to store.Feed) error {
	to.Snapshot(r.token)
	to.Complete(1)
	r.feed <- to
	<-ctx.Done()
	return ctx.Err()
}

func (remote) AllUsage(stdcontext.Context, func(string, store.Usage) error) error { return nil }

// A token is accepted only while its store reports changes, and a password is not affected.
func TestSilentStore(t *testing.T) {
	value := mint(t, token.Ordinary)
	r := remote{feed: make(chan store.Feed, 1), token: store.Token{
		ID: value.ID().String(), Owner: store.Owner{Name: "fred"}, State: store.Active, Secret: secretOf(t, value), Revision: 1,
	}}
	tokens, err := cached.New(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	tokens.Index().UpdateOwnerStatus(func(store.Owner, index.OwnerStatus) index.OwnerStatus { return index.OwnerPermitted }, store.Forever)
	want := func(at time.Time, reason authz.Reason) {
		t.Helper()
		view := authz.View{Policy: policy.New(config.Default()), Index: tokens.Index(), Now: at}
		request := authz.Request{Method: "GET", Path: "/rest/api/2/myself", Client: netip.MustParseAddr("10.1.2.3"), Authorization: "Bearer " + value.Reveal()}
		if d := authz.Decide(&request, view); d.Reason != reason {
			t.Errorf("at %s: %v, want %v", at, d.Reason, reason)
		}
		request.Authorization = "Basic ZnJlZDpwdw=="
		if d := authz.Decide(&request, view); d.Outcome != authz.PassThrough {
			t.Errorf("a password at %s: %v", at, d.Reason)
		}
	}
	feed := <-r.feed
	want(now, authz.IndexStale)
	feed.Fresh(now)
	want(now, authz.TokenAllowed)
	want(now.Add(30*time.Second), authz.IndexStale)
	feed.Fresh(now.Add(20 * time.Second))
	want(now.Add(30*time.Second), authz.TokenAllowed)
}
