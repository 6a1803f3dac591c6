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
	"github.com/tokengate/tokengate/store/index"
)

var (
	fred       = directory.User{Name: "fred", Key: fredKey, Active: true}
	connecting = store.Audit{Actor: "fred", From: "127.0.0.1", Action: "upstream.connect", Outcome: "done"}
)

// password returns fred's login with a password.
func password() http.Header {
	request := &http.Request{Header: http.Header{}}
	request.SetBasicAuth("fred", "yabba")
	return request.Header
}

// session logs fred in, and returns the session.
func (r *rig) session() http.Header {
	r.t.Helper()
	answer, err := http.Post(r.web.URL+"/rest/auth/1/session", "application/json", strings.NewReader(`{"username":"fred","password":"yabba"}`))
	if err != nil {
		r.t.Fatal(err)
	}
	answer.Body.Close()
	for _, c := range answer.Cookies() {
		if c.Name == "JSESSIONID" {
			return http.Header{"Cookie": {"other=1; JSESSIONID=" + c.Value}}
		}
	}
	r.t.Fatal("Jira made no session")
	return nil
}

func (r *rig) connect(login http.Header, again bool) error {
	done, err := r.Connect(r.t.Context(), fred, login, again, connecting)
	if err == nil {
		done()
	}
	return err
}

// pats returns the names of fred's personal access tokens in Jira.
func (r *rig) pats() string {
	var names []string
	for _, p := range r.jira.PATs(fredKey) {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// stored returns the states of fred's credentials.
func (r *rig) stored() string {
	r.t.Helper()
	all, err := r.db.Upstream(r.t.Context(), fredKey)
	if err != nil {
		r.t.Fatal(err)
	}
	var states []string
	for _, o := range all {
		states = append(states, o.State.String())
	}
	return strings.Join(states, ", ")
}

func (r *rig) wantPATs(when, pats, stored string) {
	r.t.Helper()
	if got := r.pats(); got != pats {
		r.t.Errorf("%s: Jira has the personal access tokens %q, want %q", when, got, pats)
	}
	if got := r.stored(); got != stored {
		r.t.Errorf("%s: stored are %q, want %q", when, got, stored)
	}
}

const first, second = "tokengate jira.example.com 1", "tokengate jira.example.com 2"

// TestConnect connects with each kind of login, once and again.
func TestConnect(t *testing.T) {
	for name, login := range map[string]func(*rig) http.Header{"session": (*rig).session, "password": func(*rig) http.Header { return password() }} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			login := login(r)
			if err := r.connect(login, false); err != nil {
				t.Fatal(err)
			}
			r.wantPATs("connected", first, "active")
			before := r.answer(0)
			if !strings.HasPrefix(before, "answer for ") {
				t.Error("the credential is not in the index")
			}
			if err := r.connect(login, false); err != nil {
				t.Fatal(err)
			}
			r.wantPATs("connected twice", first, "active")
			if err := r.connect(login, true); err != nil {
				t.Fatal(err)
			}
			r.wantPATs("connected again", second, "active")
			if r.answer(0) == before {
				t.Error("the old credential is still in use")
			}
			own, err := r.Of(t.Context(), fredKey)
			want := upstream.Connection{
				User: fredKey, Owner: "fred", State: store.UpstreamActive, Name: second, Created: r.now, Checked: r.now, SetBy: "fred",
				Expires: r.now.AddDate(1, 0, 0), RenewAt: r.now.Add(365 * 24 * time.Hour / 100 * 67),
			}
			if err != nil || own != want {
				t.Errorf("%+v, error %v; want %+v", own, err, want)
			}
			if err := r.Disconnect(t.Context(), fredKey, nil, by); err != nil {
				t.Fatal(err)
			}
			r.wantPATs("disconnected", "", "")
			r.want("disconnected", "none", "none")
			var actions []string
			audits, err := r.db.AuditLog(t.Context(), 0, 10)
			for _, a := range audits {
				if actions = append(actions, a.Action); a.Owner != "fred" {
					t.Errorf("an audit record is about %q", a.Owner)
				}
			}
			if got := strings.Join(actions, " "); err != nil || got != "upstream.delete upstream.set upstream.delete upstream.connect upstream.connect" {
				t.Errorf("audit log: %s, error %v", got, err)
			}
		})
	}
}

// TestConnectAtOnce lets many creations of a first token connect a user at once.
func TestConnectAtOnce(t *testing.T) {
	r := newRig(t)
	login := r.session()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := r.connect(login, false); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	r.wantPATs("connected", first, "active")
}

// TestConnectRefused lets Jira refuse. The user's connection stays as it was.
func TestConnectRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		settings jiratest.PATSettings
		pats     int
		login    http.Header
		want     error
	}{
		"off":     {jiratest.PATSettings{Off: true}, 0, nil, product.ErrCredentialsOff},
		"limit":   {jiratest.PATSettings{MaxPerUser: 2}, 2, nil, product.ErrCredentialLimit},
		"license": {jiratest.PATSettings{NoLicense: true}, 0, nil, product.ErrLicense},
		"session": {jiratest.PATSettings{}, 0, http.Header{"Cookie": {"JSESSIONID=0123456789ABCDEF"}}, directory.ErrNotLoggedIn},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for range tt.pats {
				r.mint("fred", "yabba")
			}
			r.jira.SetPATs(tt.settings)
			login := tt.login
			if login == nil {
				login = r.session()
			}
			before := r.pats()
			if err := r.connect(login, false); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			r.wantPATs("refused", before, "")
			r.want("refused", "none", "none")
		})
	}
	t.Run("other user", func(t *testing.T) {
		r := newRig(t)
		wilma := directory.User{Name: "wilma", Key: wilmaKey, Active: true}
		if _, err := r.Connect(t.Context(), wilma, r.session(), false, connecting); !errors.Is(err, upstream.ErrOtherUser) {
			t.Errorf("wilma with fred's session: error %v", err)
		}
		r.wantPATs("refused", "", "")
		r.want("refused", "none", "none")
	})
}

// lossy loses Jira's answers to creations.
type lossy struct{ product.CredentialClient }

func (l lossy) Mint(ctx context.Context, user http.Header, name string, lifetime time.Duration) (product.UpstreamCredential, error) {
	_, err := l.CredentialClient.Mint(ctx, user, name, lifetime)
	return product.UpstreamCredential{}, errors.Join(err, directory.ErrUnavailable)
}

// TestLostAnswer loses Jira's answer to the creation: the token that nobody knows is deleted when Jira
// answers, by the user's next attempt or without the user.
func TestLostAnswer(t *testing.T) {
	for name, then := range map[string]func(*rig, http.Header){
		"next attempt": func(r *rig, login http.Header) {
			if err := r.connect(login, false); err != nil {
				r.t.Fatal(err)
			}
			r.wantPATs("next attempt", second, "active")
		},
		"after a start": func(r *rig, _ http.Header) {
			r.start(0)
			r.run(func() bool { return r.pats() == "" && r.stored() == "" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			login := r.session()
			working, losing := r.Product, *r.Product
			losing.Credentials = func(c product.Client) product.CredentialClient { return lossy{working.Credentials(c)} }
			r.Product = &losing
			if err := r.connect(login, false); !errors.Is(err, directory.ErrUnavailable) {
				t.Fatalf("error %v", err)
			}
			r.wantPATs("lost", first, "minting")
			r.want("lost", "none", "none")
			r.Product = working
			then(r, login)
			cookie := strings.TrimPrefix(login.Get("Cookie"), "other=1; JSESSIONID=")
			r.searchSecrets(product.NewSecret(cookie))
		})
	}
}

// run lets Run work until done reports true.
func (r *rig) run(done func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx, time.Millisecond) })
	for ctx.Err() == nil && !done() {
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
	if ctx.Err() != nil {
		r.t.Errorf("not reached: Jira has %q, stored are %q", r.pats(), r.stored())
	}
	cancel()
	running.Wait()
}

// TestRenew renews a credential when it is due: with itself or, if Jira does not allow that, when the
// user comes.
func TestRenew(t *testing.T) {
	const due = 365 * 24 * time.Hour / 100 * 67
	for name, noRenewal := range map[string]bool{"with itself": false, "when the user comes": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.jira.SetPATs(jiratest.PATSettings{NoRenewal: noRenewal})
			login := r.session()
			if err := r.connect(login, false); err != nil {
				t.Fatal(err)
			}
			r.now = r.now.Add(due - time.Second)
			r.Visit(fred, login)
			seen := r.now
			r.run(func() bool { return r.checked().Equal(seen) })
			r.wantPATs("not due", first, "active")
			r.now = r.now.Add(10 * time.Minute)
			login = r.session()
			if noRenewal {
				r.run(func() bool { return r.logs.FilterMessageSnippet("creates no personal access token").Len() == 1 })
				r.wantPATs("not allowed", first, "active")
				r.Visit(fred, login)
				r.Visit(fred, login)
			}
			r.run(func() bool { return r.pats() == second && r.stored() == "active" })
			audits, err := r.db.AuditLog(t.Context(), 0, 2)
			if err != nil || audits[0].Action != upstream.DeleteAction || audits[1].Action != upstream.RenewAction {
				t.Errorf("audit log %+v, error %v", audits, err)
			}
		})
	}
}

// checked returns when fred's credential was last checked.
func (r *rig) checked() time.Time {
	own, err := r.Of(r.t.Context(), fredKey)
	if err != nil {
		r.t.Error(err)
	}
	return own.Checked
}

// TestRelease disconnects a user who has no token any more, but not one whom somebody else connected.
func TestRelease(t *testing.T) {
	r := newRig(t)
	if _, err := r.set("", r.mint("fred", "yabba").Value); err != nil { // of whom Run thinks first
		t.Fatal(err)
	}
	freds, wilma := r.answer(0), directory.User{Name: "wilma", Key: wilmaKey, Active: true}
	login := (&http.Request{Header: http.Header{}})
	login.SetBasicAuth("wilma", "dabba")
	connect := func() (done func()) {
		t.Helper()
		done, err := r.Connect(t.Context(), wilma, login.Header, false, connecting)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	connect()()
	r.unused = true
	r.now = r.now.Add(7 * time.Hour)
	done := connect() // before another token is created
	r.run(func() bool {
		own, err := r.Of(t.Context(), wilmaKey)
		return err == nil && own.Checked.Equal(r.now)
	})
	if n := len(r.jira.PATs(wilmaKey)); n != 1 {
		t.Errorf("about to use it: Jira has %d", n)
	}
	done()
	r.now = r.now.Add(7 * time.Hour)
	r.run(func() bool { return len(r.jira.PATs(wilmaKey)) == 0 })
	r.want("without tokens", freds, "none")
	r.wantPATs("without tokens", "tokengate", "active")
}

// TestDeactivated disconnects a user who is deactivated, once the directory and Jira's refusal agree.
func TestDeactivated(t *testing.T) {
	r := newRig(t)
	if err := r.connect(r.session(), false); err != nil {
		t.Fatal(err)
	}
	status := index.OwnerPermitted
	r.Index.UpdateOwnerStatus(func(store.Owner, index.OwnerStatus) index.OwnerStatus { return status }, r.now.AddDate(1, 0, 0))
	r.jira.Put(jiratest.User{Name: "fred", Key: fredKey, Password: "yabba"})
	r.now = r.now.Add(7 * time.Hour)
	seen := r.now
	r.run(func() bool { return r.checked().Equal(seen) })
	r.wantPATs("Jira alone refuses", first, "broken")
	status = index.OwnerInactive
	r.Index.UpdateOwnerStatus(func(store.Owner, index.OwnerStatus) index.OwnerStatus { return status }, r.now.AddDate(1, 0, 0))
	r.run(func() bool { return r.stored() == "deleting" })
	r.want("deactivated", "none", "none")
	// Jira accepts the deletion when the user is active again.
	r.jira.Put(jiratest.User{Name: "fred", Key: fredKey, Password: "yabba", Active: true})
	r.run(func() bool { return r.pats() == "" && r.stored() == "" })
}

// TestPurge disconnects all; what Jira does not answer to is tried again.
func TestPurge(t *testing.T) {
	r := newRig(t)
	if err := r.connect(r.session(), false); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Purge(t.Context(), by); n != 1 || err != nil {
		t.Errorf("%d users, error %v", n, err)
	}
	r.want("purged", "none", "none")
	r.wantPATs("purged", first, "deleting")
	if all, err := r.List(t.Context()); err != nil || len(all) != 1 || all[0].State.InUse() {
		t.Errorf("%+v, error %v", all, err)
	}
	r.run(func() bool { return r.pats() == "" && r.stored() == "" })
}

// TestDeletedByUser lets the user delete the personal access token: nobody but the user can be told, so
// the record ends with it.
func TestDeletedByUser(t *testing.T) {
	r := newRig(t)
	login := r.session()
	if err := r.connect(login, false); err != nil {
		t.Fatal(err)
	}
	for _, p := range r.jira.PATs(fredKey) {
		r.jira.RevokePAT(p.ID)
	}
	if _, err := r.Check(t.Context(), fredKey, by); err != nil {
		t.Fatal(err)
	}
	if err := r.Disconnect(t.Context(), fredKey, nil, by); err != nil {
		t.Fatal(err)
	}
	r.wantPATs("disconnected", "", "deleting")
	r.now = r.now.AddDate(1, 0, 1)
	r.run(func() bool { return r.stored() == "" })
}
