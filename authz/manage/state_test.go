package manage_test

import (
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

var office = []string{"192.0.2.0/24"}

// management creates a management token on behalf of a user, and returns it as a
// caller.
func (c *company) management(t testing.TB, name string, n manage.NewToken) (manage.Issued, manage.Caller) {
	t.Helper()
	n.Management, n.Networks, n.Expires = true, office, days(30)
	if n.Name == "" {
		n.Name = "bot"
	}
	issued, err := c.Create(t.Context(), c.as(t, name), n)
	if err != nil {
		t.Fatal(err)
	}
	record, err := c.tokens.Get(t.Context(), issued.Token.ID)
	if err != nil {
		t.Fatal(err)
	}
	return issued, manage.ManagementToken(record, "192.0.2.9")
}

// issuedID returns the id of a caller's management token.
func issuedID(c manage.Caller) string { return strings.TrimPrefix(c.Name(), "token:") }

// A pending token works once an administrator approves it who neither created nor
// owns it, with a management token either.
func TestApprove(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "vic", manage.NewToken{Networks: office})
	c.decides(t, k.Value, authz.Pending)
	is(t, c.Approve(t.Context(), c.as(t, "vic"), k.Token.ID), manage.ErrForbidden)
	is(t, c.Approve(t.Context(), c.as(t, "lea"), k.Token.ID), manage.ErrForbidden)

	// Vic becomes an administrator: still not his own.
	c.now(t, "groups: [staff, vendors]", "groups: [staff, vendors, admins]")
	is(t, c.Approve(t.Context(), c.as(t, "vic"), k.Token.ID), manage.ErrForbidden)
	_, bot := c.management(t, "vic", manage.NewToken{})
	is(t, c.Approve(t.Context(), bot, k.Token.ID), manage.ErrForbidden)
	_, err := c.Rotate(t.Context(), c.as(t, "vic"), k.Token.ID, manage.Rotation{})
	is(t, err, manage.ErrState)
	is(t, c.Enable(t.Context(), c.as(t, "vic"), k.Token.ID), manage.ErrState)
	is(t, c.Disable(t.Context(), c.as(t, "vic"), k.Token.ID), manage.ErrState)
	c.decides(t, k.Value, authz.Pending)

	if err := c.Approve(t.Context(), c.as(t, "ada"), k.Token.ID); err != nil {
		t.Fatal(err)
	}
	c.decides(t, k.Value, authz.TokenAllowed)
	if audit := c.lastAudit(t); audit.Actor != "ada" || audit.Changes["state"].After != "active" || audit.Owner != "vic" {
		t.Errorf("audit record %+v", audit)
	}
	is(t, c.Approve(t.Context(), c.as(t, "ada"), k.Token.ID), manage.ErrState)
}

// A token for another user is approved neither by its creator nor by its owner, nor
// after it has expired.
func TestApproveForOthers(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "vic", manage.NewToken{Owner: "rob", Networks: office})
	over := c.creates(t, "vic", manage.NewToken{Owner: "rob", Name: "short", Networks: office, Expires: days(1)})
	c.now(t, "groups: [staff, vendors]", "groups: [staff, vendors, admins]")
	is(t, c.Approve(t.Context(), c.as(t, "vic"), k.Token.ID), manage.ErrForbidden)
	c.now(t, "{name: rob, key: KEY5, groups: [staff, robots]}", "{name: rob, key: KEY5, groups: [staff, robots, admins]}")
	is(t, c.Approve(t.Context(), c.as(t, "rob"), k.Token.ID), manage.ErrForbidden)
	_, bot := c.management(t, "rob", manage.NewToken{})
	is(t, c.Approve(t.Context(), bot, k.Token.ID), manage.ErrForbidden)
	_, err := c.Rotate(t.Context(), c.as(t, "rob"), k.Token.ID, manage.Rotation{})
	is(t, err, manage.ErrState)

	// Not by a management token of who made it, nor under another name.
	c.now(t, "groups: [staff, vendors]", "groups: [staff, vendors, admins]")
	_, bot = c.management(t, "vic", manage.NewToken{Name: "vic's"})
	is(t, c.Approve(t.Context(), bot, k.Token.ID), manage.ErrForbidden)
	c.now(t, "{name: vic, key: KEY3, groups: [staff, vendors]}", "{name: victor, key: KEY3, groups: [staff, vendors, admins]}")
	is(t, c.Approve(t.Context(), c.as(t, "victor"), k.Token.ID), manage.ErrForbidden)
	c.now(t, "{name: rob, key: KEY5, groups: [staff, robots]}", "{name: rob, key: KEY5, groups: [staff, robots, admins]}")
	c.pass(day)
	c.refresh(t)
	is(t, c.Approve(t.Context(), c.as(t, "ada"), over.Token.ID), manage.ErrState)
	is(t, c.Approve(t.Context(), root, k.Token.ID), manage.ErrState) // rob is an administrator now, vic is none
	c.now(t, alice, alice)
	if err := c.Approve(t.Context(), root, k.Token.ID); err != nil {
		t.Fatal(err)
	}
	c.decides(t, k.Value, authz.TokenAllowed)
}

// A token created for another user stops acting as an administrator when its owner
// becomes one, and works again only if its creator is one too.
func TestExposureOfCreatedToken(t *testing.T) {
	c := newCompany(t)
	const rob, admin = "{name: rob, key: KEY5, groups: [staff, robots]}", "{name: rob, key: KEY5, groups: [staff, robots, admins]}"
	leas := c.creates(t, "lea", manage.NewToken{Owner: "rob", Name: "lea's"})
	adas := c.creates(t, "ada", manage.NewToken{Owner: "rob", Name: "ada's"})
	roots, err := c.Create(t.Context(), root, manage.NewToken{Owner: "rob", Name: "root's"})
	if err != nil {
		t.Fatal(err)
	}
	c.now(t, rob, admin)
	c.decides(t, leas.Value, authz.Disabled)
	if audit := c.lastAudit(t); audit.Actor != "tokengate:maintenance" || audit.Action != "token.disable" || audit.TokenID != leas.Token.ID {
		t.Errorf("audit record %+v", audit)
	}
	own := c.creates(t, "rob", manage.NewToken{Name: "own"})
	c.refresh(t)
	for _, k := range []manage.Issued{adas, roots, own} {
		c.decides(t, k.Value, authz.TokenAllowed)
	}
	is(t, c.Enable(t.Context(), c.as(t, "ada"), leas.Token.ID), manage.ErrState)

	// The owner's new secret is known to no one else.
	if _, err := c.Rotate(t.Context(), c.as(t, "rob"), leas.Token.ID, manage.Rotation{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Enable(t.Context(), c.as(t, "ada"), leas.Token.ID); err != nil {
		t.Error(err)
	}
	c.refresh(t)
	if got, err := c.Get(t.Context(), root, leas.Token.ID); err != nil || got.State != manage.StateActive {
		t.Errorf("rotated by its owner it is %s, %v", got.State, err)
	}
	if _, err := c.Rotate(t.Context(), root, leas.Token.ID, manage.Rotation{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Disable(t.Context(), root, leas.Token.ID); err != nil {
		t.Fatal(err)
	}

	// A silence of the directory disables nothing, and lets nothing on.
	c.pass(staleAfter)
	if err := c.DisableExposedTokens(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := c.Get(t.Context(), root, adas.Token.ID); err != nil || got.State != manage.StateActive {
		t.Errorf("while nothing is known ada's is %s, %v", got.State, err)
	}
	is(t, c.Enable(t.Context(), root, c.issuedBy(t, "lea", leas.Token.ID)), manage.ErrUnavailable)
	c.now(t, rob, rob)
	if err := c.Enable(t.Context(), c.as(t, "ada"), leas.Token.ID); err != nil {
		t.Error(err)
	}
}

// issuedBy makes a user the receiver of a token's value.
func (c *company) issuedBy(t testing.TB, name, id string) string {
	t.Helper()
	_, err := c.tokens.Update(t.Context(), id, func(k *store.Token, _ store.LiveFunc) (store.Audit, error) {
		k.IssuedBy, k.IssuedByKey = name, mustFind(t, c, name).Key
		return store.Audit{Action: "test"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A management token loses its rights when its creator ceases to be an
// administrator. One created by the operator does not.
func TestManagementTokenOfFormerAdministrator(t *testing.T) {
	c := newCompany(t)
	const ada = "{name: ada, key: KEY7, groups: [staff, admins]}"
	issued, bot := c.management(t, "ada", manage.NewToken{})
	k, err := c.Create(t.Context(), root, manage.NewToken{Management: true, Name: "root's", Networks: office, Expires: days(300)})
	if err != nil {
		t.Fatal(err)
	}
	record, err := c.tokens.Get(t.Context(), k.Token.ID)
	if err != nil {
		t.Fatal(err)
	}
	operators := manage.ManagementToken(record, "")
	for name, now := range map[string]string{
		"no administrator any more": "{name: ada, key: KEY7, groups: [staff]}",
		"deactivated":               "{name: ada, key: KEY7, groups: [staff, admins], active: false}",
		"gone, the name reused":     "{name: ada, key: KEY17, groups: [staff, admins]}",
	} {
		c.now(t, ada, now)
		_, err := c.List(t.Context(), bot, manage.Query{})
		if refusal := is(t, err, manage.ErrForbidden); !strings.Contains(refusal.Message, "no longer an administrator") {
			t.Errorf("%s: %s", name, refusal.Message)
		}
		if got, err := c.Get(t.Context(), root, issued.Token.ID); err != nil || got.State != manage.StateSuspended {
			t.Errorf("%s: it is %s, %v", name, got.State, err)
		}
		if _, err := c.List(t.Context(), operators, manage.Query{}); err != nil {
			t.Errorf("%s: the operator's: %v", name, err)
		}
	}
	c.now(t, ada, "{name: adalina, key: KEY7, groups: [staff, admins]}")
	if _, err := c.List(t.Context(), bot, manage.Query{}); err != nil {
		t.Errorf("renamed: %v", err)
	}
	before := len(c.audit(t))
	c.pass(staleAfter)
	_, err = c.List(t.Context(), bot, manage.Query{})
	is(t, err, manage.ErrUnavailable)
	if n := len(c.audit(t)) - before; n != 0 {
		t.Errorf("%d records of unavailable decisions", n)
	}
}

// A management token has an administrator's rights, but creates no management tokens
// and has bounds.
func TestManagementTokens(t *testing.T) {
	c := newCompany(t)
	issued, bot := c.management(t, "ada", manage.NewToken{})
	if issued.Value.Kind() != token.Management || issued.Token.Owner != "" {
		t.Errorf("kind %v, owner %q", issued.Value.Kind(), issued.Token.Owner)
	}
	robot, err := c.Create(t.Context(), bot, manage.NewToken{Owner: "rob", Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	c.decides(t, robot.Value, authz.TokenAllowed)
	if audit := c.lastAudit(t); audit.Actor != "token:"+issued.Token.ID+" bot" || audit.From != "192.0.2.9" {
		t.Errorf("audit record %+v", audit)
	}
	if robot.Token.CreatedBy != "token:"+issued.Token.ID {
		t.Errorf("created by %q", robot.Token.CreatedBy)
	}
	id := issued.Token.ID
	_, err = c.Create(t.Context(), bot, manage.NewToken{Management: true, Name: "more", Networks: office, Expires: days(1)})
	is(t, err, manage.ErrForbidden)
	_, err = c.Create(t.Context(), bot, manage.NewToken{Name: "own"})
	is(t, err, manage.ErrInvalid, manage.FieldOwner)
	_, err = c.Rotate(t.Context(), bot, id, manage.Rotation{})
	is(t, err, manage.ErrForbidden)
	_, err = c.Change(t.Context(), bot, id, manage.Change{Expires: days(31)})
	is(t, err, manage.ErrForbidden)
	_, err = c.Change(t.Context(), bot, id, manage.Change{Networks: &[]string{"0.0.0.0/0"}})
	is(t, err, manage.ErrForbidden)
	if _, err := c.Change(t.Context(), bot, id, manage.Change{Expires: days(1)}); err != nil {
		t.Errorf("a shorter life: %v", err)
	}
	_, err = c.own(t, bot)
	is(t, err, manage.ErrForbidden)

	// By those who may, and only with bounds.
	ada := c.as(t, "ada")
	for name, n := range map[string]manage.NewToken{
		"without end":      {Networks: office},
		"for ever":         {Networks: office, Expires: unlimited},
		"without networks": {Expires: days(1)},
		"for too long":     {Networks: office, Expires: days(367)},
		"from everywhere":  {Networks: []string{"::/0"}, Expires: days(1)},
		"for a user":       {Networks: office, Expires: days(1), Owner: "rob"},
	} {
		n.Management, n.Name = true, name
		_, err := c.Create(t.Context(), ada, n)
		is(t, err, manage.ErrInvalid)
	}
	_, err = c.Change(t.Context(), ada, id, manage.Change{Expires: unlimited})
	is(t, err, manage.ErrInvalid, manage.FieldExpires)
	_, err = c.Change(t.Context(), ada, id, manage.Change{Networks: &[]string{}})
	is(t, err, manage.ErrInvalid, manage.FieldNetworks)
	_, err = c.Rotate(t.Context(), ada, id, manage.Rotation{Expires: unlimited})
	is(t, err, manage.ErrInvalid, manage.FieldExpires)
	if _, err := c.Rotate(t.Context(), ada, id, manage.Rotation{Expires: days(366)}); err != nil {
		t.Errorf("rotate: %v", err)
	}
	_, err = c.Create(t.Context(), ada, manage.NewToken{Management: true, Name: "BOT", Networks: office, Expires: days(1)})
	is(t, err, manage.ErrConflict)
	if err := c.Disable(t.Context(), bot, id); err != nil {
		t.Errorf("it switches itself off: %v", err)
	}
	is(t, c.Enable(t.Context(), bot, id), manage.ErrForbidden)

	// One that is over, off or only reads does nothing that it must not.
	_, reader := c.management(t, "ada", manage.NewToken{Name: "reader", ReadOnly: true})
	if _, err := c.List(t.Context(), reader, manage.Query{}); err != nil {
		t.Errorf("a reader reads: %v", err)
	}
	is(t, c.Disable(t.Context(), reader, robot.Token.ID), manage.ErrForbidden)
	if err := c.Disable(t.Context(), ada, issuedID(reader)); err != nil {
		t.Fatal(err)
	}
	record, err := c.tokens.Get(t.Context(), issuedID(reader))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.List(t.Context(), manage.ManagementToken(record, ""), manage.Query{})
	is(t, err, manage.ErrForbidden)
	c.pass(40 * day)
	c.refresh(t)
	_, err = c.List(t.Context(), reader, manage.Query{})
	is(t, err, manage.ErrForbidden)
}

// A management token loses its rights when the user who received its value ceases to be
// an administrator, even if another user created it.
func TestManagementTokenRotatedByFormerAdministrator(t *testing.T) {
	c := newCompany(t)
	const adam = "{name: adam, key: KEY8, groups: [staff, admins]}"
	issued, _ := c.management(t, "ada", manage.NewToken{})
	if _, err := c.Rotate(t.Context(), c.as(t, "adam"), issued.Token.ID, manage.Rotation{}); err != nil {
		t.Fatal(err)
	}
	record, err := c.tokens.Get(t.Context(), issued.Token.ID)
	if err != nil {
		t.Fatal(err)
	}
	bot := manage.ManagementToken(record, "")
	if _, err := c.List(t.Context(), bot, manage.Query{}); err != nil {
		t.Error(err)
	}
	c.now(t, adam, "{name: adam, key: KEY8, groups: [staff]}")
	_, err = c.List(t.Context(), bot, manage.Query{})
	is(t, err, manage.ErrForbidden)
}

// A value received through a management token is known to the user behind that
// token, and an old value to its receiver until it expires.
func TestExposureThroughManagementToken(t *testing.T) {
	c := newCompany(t)
	const adam, rob = "{name: adam, key: KEY8, groups: [staff, admins]}", "{name: rob, key: KEY5, groups: [staff, robots]}"
	_, bot := c.management(t, "adam", manage.NewToken{})
	adas, err := c.Create(t.Context(), bot, manage.NewToken{Owner: "ada", Name: "by the bot"})
	if err != nil {
		t.Fatal(err)
	}
	leas := c.creates(t, "lea", manage.NewToken{Owner: "rob", Name: "lea's"})
	if _, err := c.Rotate(t.Context(), c.as(t, "rob"), leas.Token.ID, manage.Rotation{Overlap: day}); err != nil {
		t.Fatal(err)
	}
	c.now(t, adam, "{name: adam, key: KEY8, groups: [staff]}")
	c.decides(t, adas.Value, authz.Disabled)
	c.now(t, rob, "{name: rob, key: KEY5, groups: [staff, admins]}")
	c.decides(t, leas.Value, authz.Disabled)
	c.pass(2 * day)
	c.refresh(t)
	if err := c.Enable(t.Context(), root, leas.Token.ID); err != nil {
		t.Errorf("once the old secret is over: %v", err)
	}
}

// Users cannot approve tokens that they created with a management token whose value
// they know.
func TestApproveByOthersManagementToken(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "vic", manage.NewToken{Networks: office})
	issued, _ := c.management(t, "ada", manage.NewToken{})
	c.now(t, "groups: [staff, vendors]", "groups: [staff, vendors, admins]")
	if _, err := c.Rotate(t.Context(), c.as(t, "vic"), issued.Token.ID, manage.Rotation{}); err != nil {
		t.Fatal(err)
	}
	record, err := c.tokens.Get(t.Context(), issued.Token.ID)
	if err != nil {
		t.Fatal(err)
	}
	is(t, c.Approve(t.Context(), manage.ManagementToken(record, ""), k.Token.ID), manage.ErrForbidden)
}
