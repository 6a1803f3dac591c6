package manage_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
)

// patOf returns the personal access token that a user has in a connectedCompany.
func patOf(user string) product.Secret { return product.NewSecret(user + "NjE2MjYzNjQ2NTY2Njc2OA") }

// connectedCompany is a company whose users have personal access tokens in a fake Jira.
type connectedCompany struct {
	*company
	jira *jiratest.Server
	keys []string // files
}

func newConnectedCompany(t *testing.T) *connectedCompany {
	t.Helper()
	c := &connectedCompany{company: newCompany(t), jira: jiratest.New(jiratest.Options{})}
	for name, key := range map[string]string{"alice": "KEY1", "rita": "KEY2"} {
		c.jira.Put(jiratest.User{Name: name, Key: key, Active: true, PATs: []string{patOf(name).Reveal()}})
	}
	for n := range byte(2) {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, bytes.Repeat([]byte{n, 'k'}, 16), 0o400); err != nil {
			t.Fatal(err)
		}
		c.keys = append(c.keys, file)
	}
	c.start(t, c.keys[0])
	return c
}

// start opens the credentials with the keys in these files.
func (c *connectedCompany) start(t *testing.T, keys ...string) {
	t.Helper()
	opened, err := seal.ReadKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	client, err := jira.Product.Connect("http://jira.test", jiratest.Transport{Handler: c.jira})
	if err != nil {
		t.Fatal(err)
	}
	c.Manager.Upstream = &upstream.Credentials{
		Store: c.tokens, Index: c.tokens.Index(), Keys: opened, Site: "https://jira.example.com", Product: &jira.Product, Client: client, RenewAt: 67,
		Answer: func(value string) string { return value }, Log: zap.NewNop(), Now: c.clock, Random: token.Random,
	}
	if err := c.Manager.Upstream.Load(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}

// set connects a user.
func (c *connectedCompany) set(t *testing.T, user string) {
	t.Helper()
	if set, err := c.SetUpstream(t.Context(), root, user, patOf(user)); err != nil || set.Owner != user {
		t.Fatalf("the user %q, error %v", set.Owner, err)
	}
}

// revoke makes Jira refuse a user's personal access token.
func (c *connectedCompany) revoke(key string) {
	for _, pat := range c.jira.PATs(key) {
		c.jira.RevokePAT(pat.ID)
	}
}

// wantConnections compares the names, keys and states of all connections.
func (c *connectedCompany) wantConnections(t *testing.T, when, want string) {
	t.Helper()
	all, err := c.ListUpstream(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, one := range all {
		found = append(found, fmt.Sprint(one.Owner, " ", one.User, " ", one.State))
	}
	if got := strings.Join(found, ", "); got != want {
		t.Errorf("%s: %s, want %s", when, got, want)
	}
}

func TestUpstream(t *testing.T) {
	c := newConnectedCompany(t)
	before := len(c.audit(t))
	c.wantConnections(t, "at first", "")
	c.set(t, "rita")
	c.set(t, "alice")
	c.wantConnections(t, "connected", "alice KEY1 active, rita KEY2 active")
	all, err := c.ListUpstream(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "alice's connection", all[0], upstream.Connection{User: "KEY1", Owner: "alice", State: store.UpstreamActive, Created: start, Checked: start, SetBy: "uid:0"})

	c.pass(time.Hour)
	c.revoke("KEY2")
	for user, want := range map[string]store.UpstreamState{"ALICE": store.UpstreamActive, "rita": store.UpstreamBroken} {
		if state, err := c.CheckUpstream(t.Context(), root, store.Owner{Name: user}); err != nil || state != want {
			t.Errorf("%s is checked as %v, error %v", user, state, err)
		}
	}
	c.wantConnections(t, "checked", "alice KEY1 active, rita KEY2 broken")
	if err := c.DisconnectUpstream(t.Context(), root, store.Owner{Name: "rita"}); err != nil {
		t.Error(err)
	}
	c.wantConnections(t, "disconnected", "alice KEY1 active")

	var records []string
	for _, a := range c.audit(t)[before:] {
		records = append(records, fmt.Sprint(a.Actor, " ", a.Action, " ", a.Owner, " ", a.Outcome, " ", a.Changes))
	}
	equal(t, "audit records", records, []string{
		"uid:0 upstream.set rita done map[]",
		"uid:0 upstream.set alice done map[]",
		"uid:0 upstream.check rita done map[state:{active broken}]",
		"uid:0 upstream.disconnect rita done map[]",
	})
}

// What is refused, and that nothing changes.
func TestUpstreamRefused(t *testing.T) {
	set := func(user string, value product.Secret) func(*connectedCompany, manage.Caller) error {
		return func(c *connectedCompany, by manage.Caller) error {
			_, err := c.SetUpstream(t.Context(), by, user, value)
			return err
		}
	}
	check := func(user store.Owner) func(*connectedCompany, manage.Caller) error {
		return func(c *connectedCompany, by manage.Caller) error {
			_, err := c.CheckUpstream(t.Context(), by, user)
			return err
		}
	}
	for name, test := range map[string]struct {
		do    func(*connectedCompany, manage.Caller) error
		code  *manage.Error
		field manage.Field
		says  string
	}{
		"another's token":   {set("alice", patOf("rita")), manage.ErrInvalid, manage.FieldToken, "belongs to another user."},
		"tokengate's token": {set("alice", product.NewSecret("tgate_x")), manage.ErrInvalid, manage.FieldToken, "an API token of tokengate"},
		"no such token":     {set("alice", patOf("mallory")), manage.ErrInvalid, manage.FieldToken, "does not accept this personal access token"},
		"an empty token":    {set("", product.Secret{}), manage.ErrInvalid, manage.FieldToken, "does not accept this personal access token"},
		"an unknown user":   {set("who", patOf("alice")), manage.ErrInvalid, manage.FieldOwner, "There is no such user."},
		"an inactive user":  {set("gus", patOf("alice")), manage.ErrInvalid, manage.FieldOwner, "deactivated"},
		"no user name":      {set("a\nb", patOf("alice")), manage.ErrInvalid, manage.FieldOwner, ""},
		"not connected":     {check(store.Owner{Name: "rita"}), manage.ErrNotFound, "", "rita is not connected."},
		"an unknown key":    {check(store.Owner{Key: "KEY2"}), manage.ErrNotFound, "", "The user is not connected."},
		"nobody is checked": {check(store.Owner{}), manage.ErrInvalid, manage.FieldOwner, "in the parameter user, or the user's key in userKey"},
		"name and key":      {check(store.Owner{Name: "alice", Key: "KEY1"}), manage.ErrInvalid, manage.FieldOwner, "not both"},
		"Jira is down": {func(c *connectedCompany, by manage.Caller) error {
			defer c.jira.Fail("/", jiratest.Status(503)).Stop()
			return check(store.Owner{Name: "alice"})(c, by)
		}, manage.ErrUnavailable, "", "did not say whether it accepts"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConnectedCompany(t)
			c.set(t, "alice")
			for _, by := range []manage.Caller{root, c.as(t, "ada")} {
				if refusal := is(t, test.do(c, by), test.code, test.field); !strings.Contains(refusal.Message, test.says) {
					t.Errorf("the message is %q; it does not say %q", refusal.Message, test.says)
				}
				if a := c.lastAudit(t); strings.Contains(fmt.Sprint(a), patOf("").Reveal()) || (a.Outcome == "refused") == (test.code == manage.ErrUnavailable) {
					t.Errorf("audit record %+v", a)
				}
			}
			if err := test.do(c, c.as(t, "alice")); !errors.Is(err, manage.ErrForbidden) {
				t.Errorf("no administrator: error %v", err)
			}
			c.wantConnections(t, "after refusals", "alice KEY1 active")
		})
	}
}

// Names are those that users have now. If a name was reused, the directory decides.
func TestUpstreamOfRenamedUser(t *testing.T) {
	c := newConnectedCompany(t)
	c.set(t, "alice")
	c.now(t, "name: alice", "name: alicia")
	c.wantConnections(t, "renamed", "alicia KEY1 active")
	for user, want := range map[store.Owner]error{{Name: "alicia"}: nil, {Key: "KEY1"}: nil, {Name: "alice"}: manage.ErrNotFound} {
		if _, err := c.CheckUpstream(t.Context(), root, user); !errors.Is(err, want) {
			t.Errorf("%v: error %v, want %v", user, err, want)
		}
	}

	// The directory knows only one of two users called rita.
	_, err := c.tokens.UpdateUpstream(t.Context(), "GONE", func([]store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return []store.UpstreamCredential{{ID: "000000000001", Owner: "Rita", Created: start, State: store.UpstreamBroken, Sealed: []byte("x")}}, nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.set(t, "rita")
	c.wantConnections(t, "reused", "alicia KEY1 active, Rita GONE broken, rita KEY2 active")
	for _, want := range []string{"alicia KEY1 active, Rita GONE broken", "alicia KEY1 active"} {
		if err := c.DisconnectUpstream(t.Context(), root, store.Owner{Name: "rita"}); err != nil {
			t.Fatal(err)
		}
		c.wantConnections(t, "disconnected", want)
	}
}

// A purge leaves a record for each user.
func TestPurgeUpstream(t *testing.T) {
	c := newConnectedCompany(t)
	c.set(t, "alice")
	c.set(t, "rita")
	before := len(c.audit(t))
	if n, err := c.PurgeUpstream(t.Context(), root); n != 2 || err != nil {
		t.Fatalf("%d users, error %v", n, err)
	}
	var got []string
	for _, a := range c.audit(t)[before:] {
		got = append(got, a.Action+" "+a.Outcome+" by "+a.Actor+": "+a.Owner)
	}
	slices.Sort(got)
	equal(t, "audit records", got, []string{"upstream.purge done by uid:0: alice", "upstream.purge done by uid:0: rita"})
	c.wantConnections(t, "purged", "")
}

// Sealing again makes the previous key unnecessary.
func TestRotateSeal(t *testing.T) {
	c := newConnectedCompany(t)
	c.set(t, "alice")
	c.set(t, "rita")
	c.start(t, c.keys[1], c.keys[0])
	current := c.Manager.Upstream.Keys.Current().String()
	for _, want := range []int{2, 0} {
		done, err := c.RotateSeal(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "result", done, manage.Resealed{Sealed: want, Key: current, File: c.keys[1], Others: c.keys[:1]})
		a := c.lastAudit(t)
		equal(t, "audit record", a.Changes, map[string]store.Change{"sealed": {After: fmt.Sprint(want)}, "key": {After: current}})
		if a.Action != "seal.rotate" || a.Actor != "uid:0" {
			t.Errorf("audit record %+v", a)
		}
	}
	c.start(t, c.keys[1])
	c.wantConnections(t, "without the previous key", "alice KEY1 active, rita KEY2 active")
}

// The name of a management token, which is the longest name of who set a credential, is stored.
func TestUpstreamSetByManagementToken(t *testing.T) {
	c := newConnectedCompany(t)
	_, robot := c.management(t, "ada", manage.NewToken{Name: strings.Repeat("€", store.MaxName)})
	if _, err := c.SetUpstream(t.Context(), robot, "", patOf("alice")); err != nil {
		t.Error(err)
	}
}

// Without upstream credentials, each operation says so.
func TestNoUpstream(t *testing.T) {
	f := newFixture(t)
	for name, err := range operations(t, f, "fred", root) {
		if refusal, ok := errors.AsType[*manage.Error](err); strings.Contains(name, "Upstream") || strings.Contains(name, "Seal") {
			if !ok || refusal.Code != manage.BadState || !strings.Contains(refusal.Message, "upstream.identity.header") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
