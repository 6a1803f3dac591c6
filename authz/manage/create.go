package manage

import (
	"context"
	"errors"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// NewToken is what a caller asks of a token to be created. What a rule demands
// and it does not ask for, it gets: the rule's longest lifetime, its rate, and
// that it reads only.
type NewToken struct {
	Management bool
	Owner      string // a user's name; empty: the caller
	Name       string // 1 to 100 printable characters, unlike those of the owner's other tokens in force
	Purpose    string // free text of at most 1000 characters
	Expires    Expiry // zero: as late as the caller's rule allows, or after DefaultLifetime
	ReadOnly   bool
	Networks   []string    // networks or single addresses, at most store.MaxNetworks; none: any
	Rate       config.Rate // zero: the rule's, or none
}

// Create adds a token and returns its value, which cannot be had again. A token
// that a rule wants approved is pending. Create fails with ErrInvalid,
// ErrConflict, ErrLimit, ErrForbidden or ErrUnavailable.
func (m *Manager) Create(ctx context.Context, c Caller, n NewToken) (issued Issued, err error) {
	err = m.perform(ctx, c, createAction, func(op *operation) error {
		t, err := op.draft(ctx, n)
		if err != nil {
			return err
		}
		value, err := token.Mint(valueKinds[t.Kind], m.Random)
		if err != nil {
			return err
		}
		t.ID = value.ID().String()
		if t.Secret, err = m.secret(value); err != nil {
			return err
		}
		defer m.lockOwner(t)()
		created, err := op.create(ctx, t, func(owned []store.Token) error {
			return op.checkLimits(owned, t)
		})
		if err != nil {
			return err
		}
		issued = Issued{Token: op.describe(created, store.Usage{}), Value: value}
		return nil
	})
	return issued, err
}

// recordIssuer notes who is told a token's value.
func (op *operation) recordIssuer(t *store.Token) {
	who := op.caller.issuer()
	t.IssuedBy, t.IssuedByKey = who.name, who.key
}

// valueKinds are the kinds of value of the kinds of token.
var valueKinds = map[store.Kind]token.Kind{store.Ordinary: token.Ordinary, store.Management: token.Management}

// draft checks what was asked and returns the record, but for id and secret.
func (op *operation) draft(ctx context.Context, n NewToken) (t store.Token, err error) {
	t = store.Token{
		Created:      op.now,
		CreatedBy:    op.caller.name,
		CreatedByKey: op.caller.user.Key,
		ReadOnly:     n.ReadOnly,
		State:        store.Active,
	}
	op.recordIssuer(&t)
	var ts terms
	if n.Management {
		t.Kind, err = store.Management, op.checkManagement(n)
	} else {
		var owner directory.User
		owner, ts, err = op.ownerOf(ctx, n.Owner)
		t.Owner = store.Owner{Name: owner.Name, Key: owner.Key}
	}
	if err != nil {
		return t, err
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
	if ts != nil {
		n.Rate = defaultBurst(n.Rate, ts.Rate)
	}
	if t.Rate, err = checkRate(n.Rate); err != nil {
		return t, err
	}
	at, asked, err := n.Expires.expiry(op.now)
	if err != nil {
		return t, err
	}
	t.Expires = at
	if t.Kind == store.Management {
		return t, limitManagement(t, op.now)
	}
	return t, op.applyTerms(&t, asked, ts)
}

// checkManagement refuses a management token to whoever may not create one.
func (op *operation) checkManagement(n NewToken) error {
	if !op.administrator {
		return refused(Forbidden, "Only administrators may create management tokens (access.admin).")
	}
	if err := op.checkEscalation(store.Management); err != nil {
		return err
	}
	if n.Owner != "" {
		return invalid(FieldOwner, "A management token acts as nobody. Leave the user out.")
	}
	return nil
}

// limitManagement refuses a management token without bounds.
func limitManagement(t store.Token, now time.Time) error {
	switch {
	case t.Expires.IsZero():
		return invalid(FieldExpires, "A management token must expire. Say after what time, such as 90d.")
	case t.Expires.After(now.Add(maxManagement)):
		return invalid(FieldExpires, "A management token lives for a year at most.")
	case len(t.Networks) == 0:
		return invalid(FieldNetworks, "A management token needs the networks that it is used from, such as 10.1.2.0/24.")
	case areTooLarge(t.Networks):
		return invalid(FieldNetworks, "A management token needs networks that are no larger than %s.", largestNetworks)
	}
	return nil
}

// maxManagement is the longest lifetime of a management token: a leap year.
const maxManagement = 366 * 24 * time.Hour

// secret returns what the store keeps of a value.
func (m *Manager) secret(v token.Value) (store.Secret, error) {
	salt, err := token.Salt(m.Random)
	if err != nil {
		return store.Secret{}, err
	}
	return store.Secret{Salt: salt, Hash: v.Hash(salt)}, nil
}

// checkLimits refuses one more token in force for an owner who has the given others:
// one too many, or one of a name that another has.
func (op *operation) checkLimits(owned []store.Token, t store.Token) error {
	others := op.inForce(owned, t)
	if err := uniqueName(others, t.Name); err != nil {
		return err
	}
	if most := op.settings.MaxPerUser; len(others) >= most {
		return refused(Limit, "The owner has %d tokens in force; %d are allowed (tokens.maxPerUser). Revoke one first.", len(others), most)
	}
	return nil
}

// inForce returns the tokens of t's owner that are neither revoked nor expired,
// but for t. A name may have had another user before.
func (op *operation) inForce(owned []store.Token, t store.Token) (others []store.Token) {
	for _, other := range owned {
		same := other.Owner.Key == t.Owner.Key || other.Owner.Key == "" || t.Owner.Key == ""
		if other.ID != t.ID && same && other.State != store.Revoked && !expired(other, op.now) {
			others = append(others, other)
		}
	}
	return others
}

// liveTokens reads those tokens of a token's owner that may be in force, by the limit
// and names of which others are admitted. The caller holds the owner's admission,
// so what it finds stays true until the write.
func (op *operation) liveTokens(ctx context.Context, t store.Token) ([]store.Token, error) {
	return op.manager.Tokens.Live(ctx, t.Owner.Name)
}

// eachOwned reads all tokens of an owner, those included that have ended, some at a
// time.
func (op *operation) eachOwned(ctx context.Context, owner string, do func([]store.Token) error) error {
	for after := uint64(0); ; {
		page, err := op.manager.Tokens.List(ctx, owner, after, MaxPage)
		if err != nil {
			return err
		}
		if err := do(page.Tokens); err != nil {
			return err
		}
		if after = page.Next; after == 0 {
			return nil
		}
	}
}

// readTokens reads tokens; those that are gone are left out.
func (op *operation) readTokens(ctx context.Context, ids []string) (found []store.Token, err error) {
	for _, id := range ids {
		t, err := op.manager.Tokens.Get(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, err
		default:
			found = append(found, t)
		}
	}
	return found, nil
}
