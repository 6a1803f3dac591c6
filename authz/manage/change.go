package manage

import (
	"cmp"
	"context"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// Change is a request to change a token. A nil field stays as it is.
type Change struct {
	Name     *string
	Purpose  *string
	Expires  Expiry // zero: unchanged
	ReadOnly *bool
	Networks *[]string    // the whole list
	Rate     *config.Rate // zero: none
}

// Change changes a token that is neither revoked nor expired. Its owner may always
// restrict it, and may extend it as far as a new token of the owner's could go
// without approval. Change fails with ErrNotFound, ErrRevoked, ErrInvalid,
// ErrConflict, ErrState or ErrForbidden.
func (m *Manager) Change(ctx context.Context, c Caller, id string, change Change) (changed Token, err error) {
	err = m.perform(ctx, c, changeAction, id, func(op *operation) error {
		before, err := op.get(ctx, id)
		if err != nil {
			return err
		}
		usage, err := m.Usage.Usage(ctx, []string{before.ID})
		if err != nil {
			return err
		}
		t, err := op.update(ctx, before.ID, func(t *store.Token, live store.LiveFunc) error {
			return op.change(t, change, live)
		})
		if err != nil {
			return err
		}
		changed = op.describe(t, usage[before.ID])
		return nil
	})
	return changed, err
}

// change edits a record.
func (op *operation) change(t *store.Token, change Change, live store.LiveFunc) (err error) {
	before := *t
	if before.State == store.Pending && !op.administrator && (change.Name != nil || change.Purpose != nil) {
		return refused(BadState, "This token is waiting for approval under its present name and purpose. Create another, or wait.")
	}
	if before.Expired(op.now) {
		return refused(BadState, "This token expired at %s. Rotate it to give it a new secret and a new expiry.", timeText(before.Expires))
	}
	if change.Name != nil {
		if t.Name, err = checkName(*change.Name); err != nil {
			return err
		}
		owned, err := live()
		if err != nil {
			return err
		}
		if err := uniqueName(op.inForce(owned, *t), t.Name); err != nil {
			return err
		}
	}
	if change.Purpose != nil {
		if t.Purpose, err = checkPurpose(*change.Purpose); err != nil {
			return err
		}
	}
	if change.ReadOnly != nil {
		t.ReadOnly = *change.ReadOnly
	}
	if change.Networks != nil {
		if t.Networks, err = parseNetworks(*change.Networks); err != nil {
			return err
		}
	}
	if change.Rate != nil {
		if t.Rate, err = checkRate(defaultBurst(*change.Rate, configRate(before.Rate))); err != nil {
			return err
		}
	}
	at, asked, err := change.Expires.expiry(op.now)
	if err != nil {
		return err
	}
	if asked {
		t.Expires = at
		// The previous secret expires no later than the token.
		if !at.IsZero() && at.Before(t.Previous.Until) {
			t.Previous.Until = at
		}
	}
	return op.checkWidening(before, *t)
}

// checkWidening refuses a change that extends a token beyond what is allowed.
func (op *operation) checkWidening(before, after store.Token) error {
	if !widens(before, after) {
		return nil
	}
	if after.Kind == store.Management {
		return cmp.Or(op.checkEscalation(after.Kind), limitManagement(after, op.now))
	}
	if !endsLater(before, after) {
		return op.checkRenewal(after, time.Time{})
	}
	// The lifetime counts from the creation: only a new secret starts a new one.
	return op.checkRenewal(after, before.Created)
}

// checkRenewal refuses a token of the caller's that a new token could not be, or
// only with approval. Its lifetime counts from the given time, unless that is zero.
func (op *operation) checkRenewal(t store.Token, from time.Time) error {
	ts, err := op.termsOf()
	if err != nil || ts == nil {
		return err
	}
	if ts.Approval {
		return refused(Forbidden, "A wider or longer-lived token needs an administrator's approval (%s.approval). Create another one for that.", ts.Key)
	}
	if !from.IsZero() {
		if err := checkEnd(t.Expires, from, ts); err != nil {
			return err
		}
	}
	return checkBounds(t, ts)
}

// uniqueName refuses a name that one of the tokens has.
func uniqueName(others []store.Token, name string) error {
	for _, t := range others {
		if sameName(t.Name, name) {
			return &Error{Code: Conflict, Field: FieldName,
				Message: "The owner already has a token of this name, " + t.ID + ". Choose another name, or rotate or revoke that one."}
		}
	}
	return nil
}

// Rotation is a request to rotate a token.
type Rotation struct {
	// Overlap is how long the previous secret stays valid, at most Settings.MaxOverlap
	// and never beyond its expiry.
	Overlap time.Duration
	// Expires is the token's new expiry, at most that of a new token of the caller's.
	// Zero keeps the present one; an expired token needs a new one.
	Expires Expiry
}

// Rotate gives a token a new secret and returns its value, which is shown only once.
// The previous secret expires at once, or after the overlap; an older one expires at
// once. A disabled token stays disabled. An expired token comes into force again
// with the new secret only, if its owner may have one more. A pending token is not
// rotated, because its value belongs to its creator. Rotate fails with ErrNotFound,
// ErrRevoked, ErrInvalid, ErrConflict, ErrLimit, ErrState or ErrForbidden.
func (m *Manager) Rotate(ctx context.Context, c Caller, id string, r Rotation) (issued Issued, err error) {
	err = m.perform(ctx, c, rotateAction, id, func(op *operation) error {
		before, err := op.get(ctx, id)
		if err != nil {
			return err
		}
		if err := op.checkEscalation(before.Kind); err != nil {
			return err
		}
		if r.Overlap < 0 || r.Overlap > op.settings.MaxOverlap {
			return invalid(FieldOverlap, "The overlap can be at most %s (tokens.maxOverlap).", config.Lifetime{Duration: op.settings.MaxOverlap})
		}
		named, err := token.ParseID(before.ID)
		if err != nil {
			return err
		}
		value, err := token.Remint(authz.ValueKinds[before.Kind], named, m.Random)
		if err != nil {
			return err
		}
		secret, err := m.secret(value)
		if err != nil {
			return err
		}
		// Read before the change: a failure after it would lose the value.
		usage, err := m.Usage.Usage(ctx, []string{before.ID})
		if err != nil {
			return err
		}
		rotated, err := op.update(ctx, before.ID, func(t *store.Token, live store.LiveFunc) error {
			return op.rotate(t, secret, r, live)
		})
		if err != nil {
			return err
		}
		issued = Issued{Token: op.describe(rotated, usage[before.ID]), Value: value}
		return nil
	})
	return issued, err
}

// rotate puts a new secret into a record. An expired token comes into force again
// only within the owner's limits.
func (op *operation) rotate(t *store.Token, secret store.Secret, r Rotation, live store.LiveFunc) error {
	if t.State == store.Pending {
		return refused(BadState, "This token is waiting for approval, and its value belongs to its creator. Approve or revoke it first.")
	}
	at, asked, err := r.Expires.expiry(op.now)
	if err != nil {
		return err
	}
	over := t.Expired(op.now)
	switch {
	case over && !asked:
		return invalid(FieldExpires, "This token expired at %s. Give it a new lifetime.", timeText(t.Expires))
	case r.Overlap > 0 && t.State != store.Active:
		return invalid(FieldOverlap, "This token is %s, perhaps because of its old secret. Rotate it without an overlap.", t.State)
	case over && r.Overlap > 0:
		return invalid(FieldOverlap, "This token expired at %s, and its old secret with it. Rotate it without an overlap.", timeText(t.Expires))
	}
	if over {
		owned, err := live()
		if err != nil {
			return err
		}
		if err := op.checkLimits(owned, *t); err != nil {
			return err
		}
	}
	if asked {
		if err := op.checkLifetime(*t, at); err != nil {
			return err
		}
	}
	until := op.now.Add(r.Overlap).Truncate(time.Second)
	for _, end := range []time.Time{t.Expires, at} {
		if !end.IsZero() && end.Before(until) {
			until = end
		}
	}
	t.Previous, t.PreviousIssuedBy, t.PreviousIssuedByKey = store.Previous{}, "", ""
	if until.After(op.now) {
		all := creators(*t)
		knows := all[len(all)-1]
		t.Previous = store.Previous{Secret: t.Secret, Until: until}
		t.PreviousIssuedBy, t.PreviousIssuedByKey = knows.name, knows.key
	}
	t.Secret = secret
	op.recordIssuer(t)
	if asked {
		t.Expires = at
	}
	return nil
}

// checkLifetime refuses a rotated token a later expiry if a new token like it would
// be refused or would need approval.
func (op *operation) checkLifetime(t store.Token, at time.Time) error {
	later := t
	later.Expires = at
	if t.Kind == store.Management {
		return limitManagement(later, op.now)
	}
	if !endsLater(t, later) {
		return nil
	}
	return op.checkRenewal(later, op.now)
}
