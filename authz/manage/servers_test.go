package manage_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// meeting is a store in which another server does something right before the next update.
type meeting struct {
	store.Store
	other func()
}

func (m *meeting) Update(ctx context.Context, id string, change store.ChangeFunc) (store.Token, error) {
	if other := m.other; other != nil {
		m.other = nil
		other()
	}
	return m.Store.Update(ctx, id, change)
}

// TestTwoServersFollowTheDirectory checks that what follows from a new snapshot is done and recorded once, if two servers
// do it at once.
func TestTwoServersFollowTheDirectory(t *testing.T) {
	m := &meeting{}
	c := &company{file: filepath.Join(t.TempDir(), "users.yaml")}
	c.write(t, everybody)
	c.fixture = newFixtureOf(t, strings.ReplaceAll(organisation, "FILE", c.file), directory.NewFile(c.file), func(s store.Store) store.Store {
		m.Store = s
		return m
	})
	renamed, exposed := c.creates(t, "alice", manage.NewToken{}), c.creates(t, "rita", manage.NewToken{})
	c.issuedBy(t, "nell", exposed.Token.ID)
	before := len(c.audit(t))
	c.write(t, strings.NewReplacer("alice", "alicia", "[staff, readers]}", "[staff, readers, admins]}").Replace(everybody))
	if err := c.directory.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.UpdateOwnerStatus(c.directory.Snapshot)
	for name, do := range map[string]func() error{
		"disable": func() error { return c.DisableExposedTokens(t.Context()) },
		"sync":    func() error { return c.SyncOwners(t.Context(), c.directory.Snapshot()) },
	} {
		met := false
		m.other = func() {
			met = true
			if err := do(); err != nil {
				t.Errorf("%s by the other server: %v", name, err)
			}
		}
		if err := do(); err != nil || !met {
			t.Errorf("%s: %v, with the other server: %v", name, err, met)
		}
	}
	var actions []string
	for _, a := range c.audit(t)[before:] {
		actions = append(actions, a.Action)
	}
	slices.Sort(actions)
	equal(t, "audit records", actions, []string{"token.disable", "token.owner"})
	c.decides(t, renamed.Value, authz.TokenAllowed)
	c.decides(t, exposed.Value, authz.Disabled)
}

// TestUnknownOwner checks that the server is told of the owner of a new token whom its directory does not have.
func TestUnknownOwner(t *testing.T) {
	c := newCompany(t)
	var told []store.Owner
	c.UnknownOwner = func(o store.Owner) { told = append(told, o) }
	wilma, gus := store.Owner{Name: "wilma", Key: "KEY99"}, store.Owner{Name: "gus", Key: "KEY12"}
	put := func(o store.Owner) {
		c.tokens.Index().Put(store.Token{ID: "0123456789ab", Owner: o, State: store.Active})
	}
	c.refresh(t)
	put(gus)
	put(wilma)
	equal(t, "told by a directory that has all users", told, []store.Owner(nil))
	c.pass(staleAfter)
	put(wilma)
	c.UpdateOwnerStatus(c.directory.Snapshot) // tells of no owner
	equal(t, "told by one that has no answer", told, []store.Owner{wilma})
}
