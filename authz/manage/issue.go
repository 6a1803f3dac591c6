package manage

import (
	"context"
	"fmt"
	"time"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// NewToken is what a caller asks of a token to be created.
type NewToken struct {
	Owner    string // see store.ValidOwnerName
	Name     string // 1 to 100 printable characters, unlike those of the owner's other tokens in force
	Purpose  string // free text of at most 1000 characters
	Expires  Expiry // zero: after DefaultLifetime
	ReadOnly bool
	Networks []string // networks or single addresses, at most store.MaxNetworks; none: any
}

// Create adds a token and returns its value, which cannot be had again. It
// fails with ErrInvalid, ErrConflict, ErrLimit or ErrForbidden.
func (m *Manager) Create(ctx context.Context, c Caller, n NewToken) (issued Issued, err error) {
	err = m.perform(ctx, c, createAction, func(op *operation) error {
		t, err := op.draft(n)
		if err != nil {
			return err
		}
		value, err := token.Mint(token.Ordinary, m.Random)
		if err != nil {
			return err
		}
		t.ID = value.ID().String()
		if t.Secret, err = m.secret(value); err != nil {
			return err
		}
		m.admission.Lock()
		defer m.admission.Unlock()
		created, err := op.create(ctx, t, func(owned []store.Token) error {
			return op.admit(owned, t.Name)
		})
		if err != nil {
			return err
		}
		issued = Issued{Token: tell(created, store.Usage{}, op.now), Value: value}
		return nil
	})
	return issued, err
}

// draft checks what was asked and returns the record, but for id and secret.
func (op *operation) draft(n NewToken) (t store.Token, err error) {
	if err := checkOwner(n.Owner); err != nil {
		return t, err
	}
	op.subject.owner = n.Owner
	t = store.Token{
		Owner:     store.Owner{Name: n.Owner},
		Created:   op.now,
		CreatedBy: op.caller.Name,
		ReadOnly:  n.ReadOnly,
		State:     store.Active,
	}
	if t.Name, err = checkName(n.Name); err != nil {
		return t, err
	}
	if t.Purpose, err = checkPurpose(n.Purpose); err != nil {
		return t, err
	}
	if t.Networks, err = parseNetworks(n.Networks); err != nil {
		return t, err
	}
	at, asked, err := n.Expires.expiry(op.now)
	if err != nil {
		return t, err
	}
	if !asked {
		at = op.now.Add(DefaultLifetime)
	}
	t.Expires = at
	return t, nil
}

// secret returns what the store keeps of a value.
func (m *Manager) secret(v token.Value) (store.Secret, error) {
	salt, err := token.Salt(m.Random)
	if err != nil {
		return store.Secret{}, err
	}
	return store.Secret{Salt: salt, Hash: v.Hash(salt)}, nil
}

// Rotation is what a caller asks of a rotation.
type Rotation struct {
	// Overlap is how long the secret so far stays good beside the new one, at
	// most MaxOverlap, and never longer than it was good before.
	Overlap time.Duration
	// Expires is the token's new end. Zero leaves it as it is, which an expired
	// token cannot have.
	Expires Expiry
}

// Rotate gives a token a new secret and returns its value, which cannot be had
// again. The secret so far ends at once, or with the overlap; one that a
// rotation before had left good ends at once. A disabled or pending token stays
// so. An expired one comes into force again, if its owner may have one more,
// but only with the new secret. Rotate fails with ErrNotFound, ErrRevoked,
// ErrInvalid, ErrConflict, ErrLimit or ErrForbidden.
func (m *Manager) Rotate(ctx context.Context, c Caller, id string, r Rotation) (issued Issued, err error) {
	err = m.perform(ctx, c, rotateAction, func(op *operation) error {
		if err := checkID(id); err != nil {
			return err
		}
		op.subject.id = id
		if r.Overlap < 0 || r.Overlap > MaxOverlap {
			return invalid(FieldOverlap, "The overlap can be from nothing to %d hours.", int(MaxOverlap.Hours()))
		}
		named, err := token.ParseID(id)
		if err != nil {
			return err
		}
		value, err := token.Remint(token.Ordinary, named, m.Random)
		if err != nil {
			return err
		}
		secret, err := m.secret(value)
		if err != nil {
			return err
		}
		// Read before the change: a failure behind it would lose the value.
		usage, err := m.usage(ctx, id)
		if err != nil {
			return err
		}
		m.admission.Lock()
		defer m.admission.Unlock()
		if err := op.readmit(ctx, id); err != nil {
			return err
		}
		rotated, err := op.update(ctx, id, func(t *store.Token) error {
			return op.rotate(t, secret, r)
		})
		if err != nil {
			return err
		}
		issued = Issued{Token: tell(rotated, usage[id], op.now), Value: value}
		return nil
	})
	return issued, err
}

// readmit asks whether a token that has expired may come into force again
// beside the owner's others. The caller holds admission, so what it finds
// stays true until the write.
func (op *operation) readmit(ctx context.Context, id string) error {
	t, err := op.get(ctx, id)
	if err != nil {
		return err
	}
	op.subject.owner = t.Owner.Name
	if t.State == store.Revoked || !expired(t, op.now) {
		return nil
	}
	var owned []store.Token
	for after := uint64(0); ; {
		page, err := op.manager.Store.List(ctx, store.Filter{Owner: t.Owner.Name}, after, MaxPage)
		if err != nil {
			return fmt.Errorf("read the owner's tokens: %w", err)
		}
		owned = append(owned, page.Tokens...)
		if after = page.Next; after == 0 {
			return op.admit(owned, t.Name)
		}
	}
}

// rotate puts a new secret into a record.
func (op *operation) rotate(t *store.Token, secret store.Secret, r Rotation) error {
	at, asked, err := r.Expires.expiry(op.now)
	if err != nil {
		return err
	}
	over := expired(*t, op.now)
	switch {
	case over && !asked:
		return invalid(FieldExpires, "This token expired at %s. Say how long it is to live from now on.", instant(t.Expires))
	case over && r.Overlap > 0:
		return invalid(FieldOverlap, "This token expired at %s, and its old secret with it. Rotate it without an overlap.", instant(t.Expires))
	}
	until := op.now.Add(r.Overlap).Truncate(time.Second)
	for _, end := range []time.Time{t.Expires, at} {
		if !end.IsZero() && end.Before(until) {
			until = end
		}
	}
	t.Previous = store.Previous{}
	if until.After(op.now) {
		t.Previous = store.Previous{Secret: t.Secret, Until: until}
	}
	t.Secret = secret
	if asked {
		t.Expires = at
	}
	return nil
}
