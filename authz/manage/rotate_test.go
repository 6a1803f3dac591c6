package manage_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// rotate rotates a token.
func (f *fixture) rotate(t testing.TB, id string, r manage.Rotation) manage.Issued {
	t.Helper()
	issued, err := f.Rotate(t.Context(), root, id, r)
	if err != nil {
		t.Fatalf("rotate: %v", err)
	}
	if issued.Value.ID().String() != id {
		t.Fatalf("the new value is of token %s, not %s", issued.Value.ID(), id)
	}
	return issued
}

// decides fails the test unless a request with v is decided for the reason.
func (f *fixture) decides(t testing.TB, v token.Value, want authz.Reason) {
	t.Helper()
	if got := f.reason(v); got != want {
		t.Errorf("decided as %v, want %v", got, want)
	}
}

func TestRotate(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, manage.NewToken{Owner: "fred", Name: "ci", Expires: days(90)})
	f.pass(time.Hour)
	second := f.rotate(t, first.Token.ID, manage.Rotation{})
	f.decides(t, first.Value, authz.WrongSecret)
	f.decides(t, second.Value, authz.TokenAllowed)

	want := first.Token
	if diff := cmp.Diff(want, second.Token, compareAddresses); diff != "" {
		t.Errorf("a rotation changed more than the secret (-before +after):\n%s", diff)
	}
	audit := f.lastAudit(t)
	wantAudit := store.Audit{
		Time: start.Add(time.Hour), Actor: "uid:0", From: "admin socket", Action: "token.rotate",
		TokenID: first.Token.ID, Owner: "fred", Outcome: "done",
	}
	if diff := cmp.Diff(wantAudit, audit); diff != "" {
		t.Errorf("audit record (-want +got):\n%s", diff)
	}
}

func TestRotateWithOverlap(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, manage.NewToken{Owner: "fred", Name: "ci", Expires: days(90)})
	second := f.rotate(t, first.Token.ID, manage.Rotation{Overlap: time.Hour})
	if got, want := second.Token.PreviousUntil, start.Add(time.Hour); !got.Equal(want) {
		t.Errorf("the old value is good until %v, want %v", got, want)
	}
	f.decides(t, first.Value, authz.TokenAllowed)
	f.decides(t, second.Value, authz.TokenAllowed)
	if got, want := f.lastAudit(t).Changes["previousUntil"], (store.Change{After: "2026-03-01T13:00:00Z"}); got != want {
		t.Errorf("the audit record says %+v of the overlap, want %+v", got, want)
	}

	f.pass(time.Hour - time.Second)
	f.decides(t, first.Value, authz.TokenAllowed)
	f.pass(time.Second)
	f.decides(t, first.Value, authz.WrongSecret)
	f.decides(t, second.Value, authz.TokenAllowed)
	got, err := f.Get(t.Context(), root, first.Token.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !got.PreviousUntil.IsZero() {
		t.Errorf("an overlap that is over is still shown: %v", got.PreviousUntil)
	}
}

func TestSecondRotationEndsTheFirstOverlap(t *testing.T) {
	for _, overlap := range []time.Duration{0, time.Hour} {
		f := newFixture(t)
		first := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
		second := f.rotate(t, first.Token.ID, manage.Rotation{Overlap: 24 * time.Hour})
		third := f.rotate(t, first.Token.ID, manage.Rotation{Overlap: overlap})
		f.decides(t, first.Value, authz.WrongSecret)
		if overlap > 0 {
			f.decides(t, second.Value, authz.TokenAllowed)
		} else {
			f.decides(t, second.Value, authz.WrongSecret)
		}
		f.decides(t, third.Value, authz.TokenAllowed)
	}
}

// A previous secret does not outlive its expiry.
func TestOverlapEndsWithTheOldLifetime(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, manage.NewToken{Owner: "fred", Name: "ci", Expires: manage.Expiry{At: start.Add(time.Hour)}})
	second := f.rotate(t, first.Token.ID, manage.Rotation{Overlap: 7 * 24 * time.Hour, Expires: days(90)})
	if got, want := second.Token.PreviousUntil, start.Add(time.Hour); !got.Equal(want) {
		t.Errorf("the old value is good until %v, want %v", got, want)
	}
	f.pass(time.Hour)
	f.decides(t, first.Value, authz.WrongSecret)
	f.decides(t, second.Value, authz.TokenAllowed)
}

func TestRotateNewLifetime(t *testing.T) {
	for _, c := range []struct {
		name string
		ask  manage.Expiry
		want time.Time
	}{
		{"as it was", manage.Expiry{}, start.Add(90 * 24 * time.Hour)},
		{"longer", days(365), start.Add((365*24 + 1) * time.Hour)},
		{"shorter", days(1), start.Add(25 * time.Hour)},
		{"without end", unlimited, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			first := f.create(t, manage.NewToken{Owner: "fred", Name: "ci", Expires: days(90)})
			f.pass(time.Hour)
			second := f.rotate(t, first.Token.ID, manage.Rotation{Expires: c.ask})
			if !second.Token.Expires.Equal(c.want) {
				t.Errorf("expires at %v, want %v", second.Token.Expires, c.want)
			}
		})
	}
}

func TestRotateExpired(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, manage.NewToken{Owner: "fred", Name: "ci", Expires: days(1)})
	id := first.Token.ID
	f.pass(48 * time.Hour)
	_, err := f.Rotate(t.Context(), root, id, manage.Rotation{})
	is(t, err, manage.ErrInvalid, manage.FieldExpires)
	_, err = f.Rotate(t.Context(), root, id, manage.Rotation{Expires: days(1), Overlap: time.Hour})
	is(t, err, manage.ErrInvalid, manage.FieldOverlap)
	f.decides(t, first.Value, authz.Expired)

	second := f.rotate(t, id, manage.Rotation{Expires: days(1)})
	f.decides(t, second.Value, authz.TokenAllowed)
	f.decides(t, first.Value, authz.WrongSecret)
}

// A token that comes into force again counts as a new one.
func TestRotateExpiredCountsAsNew(t *testing.T) {
	f := newFixture(t)
	old := f.create(t, manage.NewToken{Owner: "fred", Name: "ci", Expires: days(1)})
	f.pass(24 * time.Hour)
	other := f.create(t, manage.NewToken{Owner: "Fred", Name: "CI"})
	_, err := f.Rotate(t.Context(), root, old.Token.ID, manage.Rotation{Expires: days(1)})
	is(t, err, manage.ErrConflict, manage.FieldName)
	if err := f.Revoke(t.Context(), root, other.Token.ID); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1", "2", "3"} {
		f.create(t, manage.NewToken{Owner: "fred", Name: name})
	}
	_, err = f.Rotate(t.Context(), root, old.Token.ID, manage.Rotation{Expires: days(1)})
	is(t, err, manage.ErrLimit, "")
	if got := f.lastAudit(t); got.TokenID != old.Token.ID || got.Owner != "fred" {
		t.Errorf("audit record %+v", got)
	}
	f.decides(t, old.Value, authz.Expired)
}

func TestRotateDisabledStaysDisabled(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
	f.disable(t, first.Token.ID)
	second := f.rotate(t, first.Token.ID, manage.Rotation{})
	f.decides(t, second.Value, authz.Disabled)
	if second.Token.State != manage.StateDisabled {
		t.Errorf("its state is %s", second.Token.State)
	}
}

func TestRotateRefused(t *testing.T) {
	f := newFixture(t)
	good := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
	gone := f.create(t, manage.NewToken{Owner: "fred", Name: "gone"})
	if err := f.Revoke(t.Context(), root, gone.Token.ID); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		id    string
		ask   manage.Rotation
		kind  *manage.Error
		field manage.Field
	}{
		{"unknown", "000000000000", manage.Rotation{}, manage.ErrNotFound, ""},
		{"no id", "", manage.Rotation{}, manage.ErrNotFound, ""},
		{"a value", good.Value.Reveal(), manage.Rotation{}, manage.ErrInvalid, manage.FieldID},
		{"revoked", gone.Token.ID, manage.Rotation{}, manage.ErrRevoked, ""},
		{"revoked, with all", gone.Token.ID, manage.Rotation{Overlap: time.Hour, Expires: unlimited}, manage.ErrRevoked, ""},
		{"overlap too long", good.Token.ID, manage.Rotation{Overlap: 7*24*time.Hour + time.Second}, manage.ErrInvalid, manage.FieldOverlap},
		{"negative overlap", good.Token.ID, manage.Rotation{Overlap: -time.Second}, manage.ErrInvalid, manage.FieldOverlap},
		{"end in the past", good.Token.ID, manage.Rotation{Expires: manage.Expiry{At: start}}, manage.ErrInvalid, manage.FieldExpires},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(f.audit(t))
			issued, err := f.Rotate(t.Context(), root, c.id, c.ask)
			is(t, err, c.kind, c.field)
			if issued.Value != (token.Value{}) {
				t.Error("a refusal came with a value")
			}
			if n := len(f.audit(t)); n != before+1 {
				t.Errorf("%d audit records for one refusal", n-before)
			}
			audit := f.lastAudit(t)
			if audit.Outcome != "refused" || audit.Action != "token.rotate" {
				t.Errorf("audit record %+v", audit)
			}
			if id := audit.TokenID; id != "" && !token.ValidID(id) {
				t.Errorf("the audit log repeats what is no id: %q", id)
			}
			f.decides(t, good.Value, authz.TokenAllowed)
			f.decides(t, gone.Value, authz.UnknownToken)
		})
	}
}
