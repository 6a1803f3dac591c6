package manage_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

func given[T any](v T) *T { return &v }

// A token may always be restricted, and extended only as far as the policy allows
// for a new one.
func TestChange(t *testing.T) {
	any, office, floor, home := []string{}, []string{"10.1.0.0/16"}, []string{"10.1.2.0/24", "10.1.3.7"}, []string{"192.0.2.0/24"}
	low, lower := config.Rate{Requests: 30, Per: time.Minute, Burst: 5}, config.Rate{Requests: 10, Per: time.Minute, Burst: 5}
	for name, test := range map[string]struct {
		who    string
		begin  manage.NewToken
		later  time.Duration
		change manage.Change
		code   *manage.Error // nil: done
		says   string
	}{
		"another name":              {who: "alice", change: manage.Change{Name: given("deploy"), Purpose: given("nightly\nbuilds")}},
		"no name":                   {who: "alice", change: manage.Change{Name: given(" ")}, code: manage.ErrInvalid, says: "1 to 100"},
		"another's name":            {who: "alice", change: manage.Change{Name: given("OTHER")}, code: manage.ErrConflict, says: "already"},
		"its own name":              {who: "alice", change: manage.Change{Name: given("CI")}},
		"read-only":                 {who: "alice", change: manage.Change{ReadOnly: given(true)}},
		"read-only and back":        {who: "alice", begin: manage.NewToken{ReadOnly: true}, change: manage.Change{ReadOnly: given(false)}},
		"not read-only by policy":   {who: "rita", change: manage.Change{ReadOnly: given(false)}, code: manage.ErrInvalid, says: "access.create[1].readOnly"},
		"shorter":                   {who: "alice", change: manage.Change{Expires: days(1)}},
		"longer, within the policy": {who: "alice", begin: manage.NewToken{Expires: days(1)}, change: manage.Change{Expires: days(90)}},
		"longer than the policy":    {who: "alice", change: manage.Change{Expires: days(91)}, code: manage.ErrInvalid, says: "90d"},
		"longer by waiting":         {who: "alice", later: day, change: manage.Change{Expires: days(90)}, code: manage.ErrInvalid, says: "2026-05-30"},
		"for ever":                  {who: "alice", change: manage.Change{Expires: unlimited}, code: manage.ErrInvalid, says: "90d"},
		"fewer networks":            {who: "alice", begin: manage.NewToken{Networks: office}, change: manage.Change{Networks: &floor}},
		"more networks":             {who: "alice", begin: manage.NewToken{Networks: floor}, change: manage.Change{Networks: &office}},
		"any network":               {who: "alice", begin: manage.NewToken{Networks: office}, change: manage.Change{Networks: &any}},
		"a rate":                    {who: "alice", change: manage.Change{Rate: &low}},
		"no rate":                   {who: "alice", begin: manage.NewToken{Rate: low}, change: manage.Change{Rate: &config.Rate{}}},
		"a bad rate":                {who: "alice", change: manage.Change{Rate: &config.Rate{Requests: -1}}, code: manage.ErrInvalid, says: "rate"},
		"two ends":                  {who: "alice", change: manage.Change{Expires: manage.Expiry{At: start.Add(day), In: days(1).In}}, code: manage.ErrInvalid, says: "Two expiries"},
		"expired":                   {who: "alice", later: 91 * day, change: manage.Change{Expires: days(1)}, code: manage.ErrState, says: "Rotate it"},

		// Tokens that needed approval cannot be extended.
		"pending, narrower":       {who: "vic", begin: manage.NewToken{Networks: office, Rate: low}, change: manage.Change{Networks: &floor, Rate: &lower, ReadOnly: given(true), Expires: days(2)}},
		"pending, other networks": {who: "vic", begin: manage.NewToken{Networks: office}, change: manage.Change{Networks: &home}, code: manage.ErrForbidden, says: "approval"},
		"pending, more of them":   {who: "vic", begin: manage.NewToken{Networks: floor}, change: manage.Change{Networks: &office}, code: manage.ErrForbidden, says: "approval"},
		"pending, a larger one":   {who: "vic", begin: manage.NewToken{Networks: []string{"10.1.0.0/24"}}, change: manage.Change{Networks: &office}, code: manage.ErrForbidden, says: "approval"},
		"pending, faster":         {who: "vic", begin: manage.NewToken{Networks: office, Rate: lower}, change: manage.Change{Rate: &low}, code: manage.ErrForbidden, says: "approval"},
		"pending, longer":         {who: "vic", begin: manage.NewToken{Networks: office, Expires: days(1)}, change: manage.Change{Expires: days(2)}, code: manage.ErrForbidden, says: "approval"},
		"pending, renamed":        {who: "vic", begin: manage.NewToken{Networks: office}, change: manage.Change{Name: given("deploy")}, code: manage.ErrState, says: "present name"},
		"pending, other purpose":  {who: "vic", begin: manage.NewToken{Networks: office}, change: manage.Change{Purpose: given("x")}, code: manage.ErrState, says: "present name"},
	} {
		t.Run(strings.ReplaceAll(name, ",", ""), func(t *testing.T) {
			c := newCompany(t)
			test.begin.Name = "ci"
			before := c.creates(t, test.who, test.begin)
			if test.who == "alice" {
				c.creates(t, "alice", manage.NewToken{Name: "other"})
			}
			stored, err := c.tokens.Get(t.Context(), before.Token.ID)
			if err != nil {
				t.Fatal(err)
			}
			c.pass(test.later)
			changed, err := c.Change(t.Context(), c.as(t, test.who), before.Token.ID, test.change)
			after, getErr := c.tokens.Get(t.Context(), before.Token.ID)
			if getErr != nil {
				t.Fatal(getErr)
			}
			if test.code != nil {
				if refusal := is(t, err, test.code); !strings.Contains(refusal.Message, test.says) {
					t.Errorf("the message is %q; it does not say %q", refusal.Message, test.says)
				}
				equal(t, "record after a refusal", after, stored)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := after.Secret != stored.Secret || after.State != stored.State || after.Owner != stored.Owner; diff {
				t.Errorf("the change touched more than it was to: %+v", after)
			}
			shown, err := c.Get(t.Context(), c.as(t, test.who), before.Token.ID)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the result of the change", changed, shown)
			if audit := c.lastAudit(t); audit.Action != "token.change" || audit.Outcome != "done" || len(audit.Changes) == 0 {
				t.Errorf("audit record %+v", audit)
			}
		})
	}
}

// Users who may no longer create tokens can still restrict theirs, but not extend
// them.
func TestChangeWithoutPolicy(t *testing.T) {
	c := newCompany(t)
	id := c.creates(t, "alice", manage.NewToken{}).Token.ID
	c.now(t, "{name: alice, key: KEY1, groups: [staff, devs]}", "{name: alice, key: KEY1, groups: [staff]}")
	if _, err := c.Change(t.Context(), c.as(t, "alice"), id, manage.Change{ReadOnly: given(true)}); err != nil {
		t.Errorf("narrower: %v", err)
	}
	_, err := c.Change(t.Context(), c.as(t, "alice"), id, manage.Change{ReadOnly: given(false)})
	is(t, err, manage.ErrForbidden)
}

// Policies do not apply to administrators, and the index follows at once.
func TestChangeByAdministrator(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "rita", manage.NewToken{})
	ada := c.as(t, "ada")
	if _, err := c.Change(t.Context(), ada, k.Token.ID, manage.Change{ReadOnly: given(false), Expires: unlimited}); err != nil {
		t.Fatal(err)
	}
	c.pass(4000 * day)
	c.refresh(t)
	c.decides(t, k.Value, authz.TokenAllowed)
	if _, err := c.Change(t.Context(), ada, k.Token.ID, manage.Change{Networks: &[]string{"198.51.100.0/24"}}); err != nil {
		t.Fatal(err)
	}
	c.decides(t, k.Value, authz.NetworkNotAllowed)
}

// A shorter lifetime applies to the previous secret too.
func TestChangeEndsAnOverlap(t *testing.T) {
	c := newCompany(t)
	first := c.creates(t, "alice", manage.NewToken{})
	second, err := c.Rotate(t.Context(), c.as(t, "alice"), first.Token.ID, manage.Rotation{Overlap: 2 * day})
	if err != nil {
		t.Fatal(err)
	}
	changed, err := c.Change(t.Context(), c.as(t, "alice"), first.Token.ID, manage.Change{Expires: days(1)})
	if err != nil {
		t.Fatal(err)
	}
	if end := start.Add(day); !changed.PreviousUntil.Equal(end) || !changed.Expires.Equal(end) {
		t.Errorf("it ends at %v, its old secret at %v", changed.Expires, changed.PreviousUntil)
	}
	c.decides(t, second.Value, authz.TokenAllowed)
	record, err := c.tokens.Get(t.Context(), first.Token.ID)
	if err != nil || record.State != store.Active {
		t.Errorf("%v, %v", record.State, err)
	}
}

// Rotations keep the policy and the configured maximum overlap.
func TestRotateWithinPolicy(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "alice", manage.NewToken{Expires: days(10)})
	alice := c.as(t, "alice")
	c.pass(9 * day)
	c.refresh(t)
	for name, test := range map[string]struct {
		ask  manage.Rotation
		says string
	}{
		"too long":          {manage.Rotation{Expires: days(91)}, "access.create[0]"},
		"for ever":          {manage.Rotation{Expires: unlimited}, "90d"},
		"a longer overlap":  {manage.Rotation{Overlap: 2*day + time.Second}, "tokens.maxOverlap"},
		"a shorter life ok": {manage.Rotation{Expires: days(90), Overlap: time.Hour}, ""},
	} {
		issued, err := c.Rotate(t.Context(), alice, k.Token.ID, test.ask)
		if test.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			c.decides(t, issued.Value, authz.TokenAllowed)
			continue
		}
		if refusal := is(t, err, manage.ErrInvalid); !strings.Contains(refusal.Message, test.says) {
			t.Errorf("%s: %q does not say %q", name, refusal.Message, test.says)
		}
	}
}

// A rotation does not extend a token that its owner could not create as it is, or
// only with approval.
func TestRotationKeepsPolicy(t *testing.T) {
	vendor := "{name: alice, key: KEY1, groups: [staff, vendors]}"
	reader := "{name: alice, key: KEY1, groups: [staff, readers]}"
	for name, test := range map[string]struct {
		now  string
		wait time.Duration
		ask  manage.Rotation
		code *manage.Error
	}{
		"longer, approval by now":   {vendor, 0, manage.Rotation{Expires: days(20)}, manage.ErrForbidden},
		"revived, approval by now":  {vendor, 100 * day, manage.Rotation{Expires: days(20)}, manage.ErrForbidden},
		"longer, read-only by now":  {reader, 0, manage.Rotation{Expires: days(20)}, manage.ErrInvalid},
		"expired, without a policy": {"{name: alice, key: KEY1, groups: [staff]}", 100 * day, manage.Rotation{Expires: days(1)}, manage.ErrForbidden},
		"as long as it was":         {vendor, 0, manage.Rotation{}, nil},
		"shorter":                   {reader, 0, manage.Rotation{Expires: days(1)}, nil},
	} {
		c := newCompany(t)
		k := c.creates(t, "alice", manage.NewToken{Expires: days(10)})
		c.pass(test.wait)
		c.now(t, alice, test.now)
		issued, err := c.Rotate(t.Context(), c.as(t, "alice"), k.Token.ID, test.ask)
		if test.code != nil {
			is(t, err, test.code)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.decides(t, issued.Value, authz.TokenAllowed)
	}

	// One that was approved is not renewed without approval.
	c := newCompany(t)
	k := c.creates(t, "vic", manage.NewToken{Networks: office, Expires: days(10)})
	if err := c.Approve(t.Context(), root, k.Token.ID); err != nil {
		t.Fatal(err)
	}
	_, err := c.Rotate(t.Context(), c.as(t, "vic"), k.Token.ID, manage.Rotation{Expires: days(30)})
	is(t, err, manage.ErrForbidden)
	if _, err := c.Rotate(t.Context(), c.as(t, "vic"), k.Token.ID, manage.Rotation{}); err != nil {
		t.Error(err)
	}
}

// The secret of a disabled token does not survive a rotation.
func TestRotateDisabledWithoutOverlap(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "alice", manage.NewToken{})
	c.disable(t, k.Token.ID)
	_, err := c.Rotate(t.Context(), c.as(t, "alice"), k.Token.ID, manage.Rotation{Overlap: time.Hour})
	is(t, err, manage.ErrInvalid, manage.FieldOverlap)
}

// The previous secret expires with a lifetime that the rotation shortens.
func TestOverlapEndsWithTheNewLifetime(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "alice", manage.NewToken{})
	issued, err := c.Rotate(t.Context(), c.as(t, "alice"), k.Token.ID, manage.Rotation{Overlap: 2 * day, Expires: days(1)})
	if err != nil {
		t.Fatal(err)
	}
	if end := start.Add(day); !issued.Token.PreviousUntil.Equal(end) {
		t.Errorf("the old secret ends at %v, want %v", issued.Token.PreviousUntil, end)
	}
}

// A rate without a burst gets the policy's.
func TestRateWithoutBurst(t *testing.T) {
	c := newCompany(t)
	k := c.creates(t, "vic", manage.NewToken{Networks: office, Rate: config.Rate{Requests: 30, Per: time.Minute}})
	if want := (config.Rate{Requests: 30, Per: time.Minute, Burst: 10}); k.Token.Rate != want {
		t.Errorf("the rate is %v, want %v", k.Token.Rate, want)
	}
	changed, err := c.Change(t.Context(), c.as(t, "vic"), k.Token.ID, manage.Change{Rate: &config.Rate{Requests: 5, Per: time.Minute}})
	if want := (config.Rate{Requests: 5, Per: time.Minute, Burst: 5}); err != nil || changed.Rate != want {
		t.Errorf("the rate is %v, want %v, %v", changed.Rate, want, err)
	}
}
