package manage

import (
	"context"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// Rotation is what a caller asks of a rotation.
type Rotation struct {
	// Overlap is how long the secret so far stays good beside the new one, at
	// most as the configuration says, and never longer than it was good before.
	Overlap time.Duration
	// Expires is the token's new end, as late as a new token of the caller's
	// could have. Zero leaves it as it is, which an expired token cannot have.
	Expires Expiry
}

// Rotate gives a token a new secret and returns its value, which cannot be had
// again. The secret so far ends at once, or with the overlap; one that a
// rotation before had left good ends at once. A disabled token stays so. An
// expired one comes into force again, if its owner may have one more, but only
// with the new secret. A pending one is not rotated: its value is its creator's.
// Rotate fails with ErrNotFound, ErrRevoked, ErrInvalid, ErrConflict, ErrLimit,
// ErrState or ErrForbidden.
func (m *Manager) Rotate(ctx context.Context, c Caller, id string, r Rotation) (issued Issued, err error) {
	err = m.performOn(ctx, c, rotateAction, id, func(op *operation) error {
		before, err := op.get(ctx, id)
		if err != nil {
			return err
		}
		if err := op.checkEscalation(before.Kind); err != nil {
			return err
		}
		if r.Overlap < 0 || r.Overlap > op.settings.MaxOverlap {
			return invalid(FieldOverlap, "The overlap can be from nothing to %s (tokens.maxOverlap).", config.Lifetime{Duration: op.settings.MaxOverlap})
		}
		named, err := token.ParseID(before.ID)
		if err != nil {
			return err
		}
		value, err := token.Remint(valueKinds[before.Kind], named, m.Random)
		if err != nil {
			return err
		}
		secret, err := m.secret(value)
		if err != nil {
			return err
		}
		// Read before the change: a failure behind it would lose the value.
		usage, err := m.Usage.Usage(ctx, []string{before.ID})
		if err != nil {
			return err
		}
		defer m.lockOwner(before)()
		if err := op.recheckLimits(ctx, before.ID); err != nil {
			return err
		}
		rotated, err := op.update(ctx, before.ID, func(t *store.Token) error {
			return op.rotate(t, secret, r)
		})
		if err != nil {
			return err
		}
		issued = Issued{Token: op.describe(rotated, usage[before.ID]), Value: value}
		return nil
	})
	return issued, err
}

// recheckLimits asks whether a token that has expired may come into force again
// beside the owner's others. The caller holds admission.
func (op *operation) recheckLimits(ctx context.Context, id string) error {
	t, err := op.get(ctx, id)
	if err != nil || t.State == store.Revoked || !expired(t, op.now) {
		return err
	}
	owned, err := op.liveTokens(ctx, t)
	if err != nil {
		return err
	}
	return op.checkLimits(owned, t)
}

// rotate puts a new secret into a record.
func (op *operation) rotate(t *store.Token, secret store.Secret, r Rotation) error {
	if t.State == store.Pending {
		return refused(BadState, "This token waits for approval, and its value belongs to whoever created it. Approve or revoke it first.")
	}
	at, asked, err := r.Expires.expiry(op.now)
	if err != nil {
		return err
	}
	over := expired(*t, op.now)
	switch {
	case over && !asked:
		return invalid(FieldExpires, "This token expired at %s. Say how long it is to live from now on.", timeText(t.Expires))
	case r.Overlap > 0 && t.State != store.Active:
		return invalid(FieldOverlap, "This token is %s. Rotate it without an overlap: its old secret may be why.", t.State)
	case over && r.Overlap > 0:
		return invalid(FieldOverlap, "This token expired at %s, and its old secret with it. Rotate it without an overlap.", timeText(t.Expires))
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

// checkLifetime refuses a rotated token a longer life than a new token of the caller's
// could have, or one that such a token could not be given as it is: as wide, or
// without approval.
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
