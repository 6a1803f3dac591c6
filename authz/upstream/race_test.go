package upstream_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
)

// minter replaces how credentials are minted.
type minter struct {
	product.CredentialClient
	mint func(product.CredentialClient) error // is called instead; its error is Mint's, nil mints
}

func (m minter) Mint(ctx context.Context, user http.Header, name string, lifetime time.Duration) (product.UpstreamCredential, error) {
	if err := m.mint(m.CredentialClient); err != nil {
		return product.UpstreamCredential{}, err
	}
	return m.CredentialClient.Mint(ctx, user, name, lifetime)
}

// minting makes r mint so until the returned function is called.
func (r *rig) minting(mint func(product.CredentialClient) error) (restore func()) {
	working, replaced := r.Product, *r.Product
	replaced.Credentials = func(c product.Client) product.CredentialClient { return minter{working.Credentials(c), mint} }
	r.Product = &replaced
	return func() { r.Product = working }
}

// TestRetry lets Jira not answer, without having created anything, and tries again soon: the second attempt is
// not taken for what the first has left.
func TestRetry(t *testing.T) {
	for name, connected := range map[string]bool{"first": false, "again": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			login := r.session()
			if connected {
				if err := r.connect(login, false); err != nil {
					t.Fatal(err)
				}
			}
			restore := r.minting(func(product.CredentialClient) error { return directory.ErrUnavailable })
			if err := r.connect(login, true); !errors.Is(err, directory.ErrUnavailable) {
				t.Fatalf("error %v", err)
			}
			restore()
			r.now = r.now.Add(10 * time.Second)
			if err := r.connect(login, true); err != nil {
				t.Fatal(err)
			}
			if state, err := r.Check(t.Context(), fredKey, by); state != store.UpstreamActive || err != nil {
				t.Errorf("checked: %v, error %v", state, err)
			}
			r.now = r.now.Add(2 * time.Minute)
			r.run(func() bool { return r.stored() == "active" })
			if state, err := r.Check(t.Context(), fredKey, by); state != store.UpstreamActive || err != nil || len(r.jira.PATs(fredKey)) != 1 {
				t.Errorf("in the end: %v, error %v, Jira has %s", state, err, r.pats())
			}
		})
	}
}

// waiting is a context that says when somebody waits for its end.
type waiting struct {
	context.Context
	waits chan<- struct{}
}

func (w waiting) Done() <-chan struct{} {
	w.waits <- struct{}{}
	return w.Context.Done()
}

// TestDisconnectWins disconnects a user while connections of the user are made: it waits for none, and they
// do not undo it.
func TestDisconnectWins(t *testing.T) {
	disconnect := func(r *rig) error { return r.Disconnect(r.t.Context(), fredKey, nil, by) }
	purge := func(r *rig) error {
		_, err := r.Purge(r.t.Context(), by)
		return err
	}
	for name, end := range map[string]func(*rig) error{"disconnect": disconnect, "purge": purge} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			login := r.session()
			if err := r.connect(login, false); err != nil {
				t.Fatal(err)
			}
			asked, waits, answer := make(chan struct{}, 1), make(chan struct{}, 100), make(chan struct{})
			r.minting(func(product.CredentialClient) error {
				asked <- struct{}{}
				<-answer
				return nil
			})
			var all sync.WaitGroup
			connect := func(ctx context.Context) {
				all.Go(func() {
					if _, err := r.Connect(ctx, fred, login, true, connecting); !errors.Is(err, upstream.ErrDisconnected) {
						t.Errorf("error %v", err)
					}
				})
			}
			connect(t.Context())
			<-asked
			for range 4 {
				connect(waiting{t.Context(), waits})
				<-waits
			}
			if err := end(r); err != nil {
				t.Fatal(err)
			}
			r.want("disconnected", "none", "none")
			close(answer)
			all.Wait()
			r.want("afterwards", "none", "none")
			r.now = r.now.Add(2 * time.Minute)
			r.run(func() bool { return r.pats() == "" && r.stored() == "" })
		})
	}
}

// TestDisconnectBeforeIntent disconnects a user when Jira is asked for what the user has, before anything is stored
// about the attempt.
func TestDisconnectBeforeIntent(t *testing.T) {
	r := newRig(t)
	login := r.session()
	if err := r.connect(login, false); err != nil {
		t.Fatal(err)
	}
	slow := r.jira.Fail("/rest/pat/", jiratest.Slow(time.Minute))
	connected := make(chan error)
	go func() { connected <- r.connect(login, true) }()
	<-slow.Hit()
	if err := r.Disconnect(t.Context(), fredKey, nil, by); err != nil {
		t.Fatal(err)
	}
	slow.Stop()
	if err := <-connected; !errors.Is(err, upstream.ErrDisconnected) {
		t.Errorf("error %v", err)
	}
	r.want("afterwards", "none", "none")
	r.run(func() bool { return r.pats() == "" && r.stored() == "" })
}

// TestOlderCheck lets Jira refuse a request after it was asked whether it accepts the credential: its
// answer to the question is older, and does not end the doubt.
func TestOlderCheck(t *testing.T) {
	r := newRig(t)
	made := r.mint("fred", "yabba")
	if _, err := r.set("", made.Value); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(7 * time.Hour) // so that the check changes the store
	late := r.jira.Fail("/rest/api/2/myself", jiratest.Slow(time.Minute))
	checked := make(chan error)
	go func() {
		_, err := r.Check(t.Context(), fredKey, by)
		checked <- err
	}()
	<-late.Hit()
	r.Refused(fredKey)
	late.Stop()
	if err := <-checked; err != nil {
		t.Fatal(err)
	}
	r.want("the older check is answered", "broken", "none")
	if _, err := r.Check(t.Context(), fredKey, by); err != nil {
		t.Fatal(err)
	}
	r.want("the newer one, too", "answer for "+made.Value.Reveal(), "none")
}

// TestDoubtWhileConnecting lets Jira refuse the credential in use, and then connects the user again: until the new
// one is in use, the user's tokens are denied, whatever is written about the attempt.
func TestDoubtWhileConnecting(t *testing.T) {
	r := newRig(t)
	login := r.session()
	if err := r.connect(login, false); err != nil {
		t.Fatal(err)
	}
	refused := r.answer(0)
	r.Refused(fredKey)
	r.minting(func(product.CredentialClient) error {
		r.want("while Jira is asked for another", "broken", "none")
		return nil
	})
	if err := r.connect(login, true); err != nil {
		t.Fatal(err)
	}
	if now := r.answer(0); now == refused || now == "broken" || now == "none" {
		t.Error("the new credential is not in use")
	}
}

// TestStoppedWhileTidying stops Run while Jira does not answer about what is to be deleted: it does not wait for
// all of it.
func TestStoppedWhileTidying(t *testing.T) {
	r := newRig(t)
	if err := r.connect(r.session(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Purge(t.Context(), by); err != nil {
		t.Fatal(err)
	}
	hangs := r.jira.Fail("/rest/pat/", jiratest.Hang())
	defer hangs.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, time.Hour)
	}()
	<-hangs.Hit()
	cancel()
	select {
	case <-ended:
	case <-time.After(8 * time.Second): // less than a request's time
		t.Error("Run goes on")
	}
}

// TestNotOurs changes records, as only somebody who writes the database can: no other personal access token of
// the user is deleted.
func TestNotOurs(t *testing.T) {
	r := newRig(t)
	r.mint("fred", "yabba") // named "tokengate"
	own := r.jira.PATs(fredKey)[0]
	if err := r.connect(r.session(), false); err != nil {
		t.Fatal(err)
	}
	r.edit(func(o *store.UpstreamCredential) { o.UpstreamID, o.Name = "1", own.Name })
	if err := r.Disconnect(t.Context(), fredKey, r.session(), by); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.pats(), own.Name) {
		t.Error("the user's own is deleted")
	}
}

// edit changes fred's only record.
func (r *rig) edit(change func(*store.UpstreamCredential)) {
	r.t.Helper()
	_, err := r.db.UpdateUpstream(r.t.Context(), fredKey, func(all []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		change(&all[0])
		return all, nil, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestSealedLogin changes the state of a record that has a session: it is not taken for a credential.
func TestSealedLogin(t *testing.T) {
	r := newRig(t)
	r.minting(func(product.CredentialClient) error { return directory.ErrUnavailable })
	if err := r.connect(r.session(), false); !errors.Is(err, directory.ErrUnavailable) {
		t.Fatal(err)
	}
	r.edit(func(o *store.UpstreamCredential) { o.State = store.UpstreamActive })
	r.start(0)
	if err := r.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r.want("changed", "broken", "none")
}
