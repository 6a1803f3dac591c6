package manage

import (
	"context"
	"errors"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// NewToken is a request to create a token. What a policy requires and the request
// leaves out is filled in: the policy's longest lifetime, its rate, and read-only.
type NewToken struct {
	Management bool
	Owner      string // a user's name; empty: the caller
	Name       string // 1 to 100 printable characters, unique among the owner's tokens in force
	Purpose    string // at most 1000 characters
	Expires    Expiry // zero: the policy's maximum, or DefaultLifetime without a policy
	ReadOnly   bool
	Networks   []string    // networks or addresses, at most store.MaxNetworks; none: any
	Rate       config.Rate // zero: the policy's, or none
}

// Create adds a token and returns its value, which is shown only once. If a policy
// requires approval, the token is pending. Create fails with ErrInvalid,
// ErrConflict, ErrLimit, ErrForbidden, ErrTooMany or ErrUnavailable.
func (m *Manager) Create(ctx context.Context, c Caller, n NewToken) (issued Issued, err error) {
	err = m.perform(ctx, c, createAction, "", func(op *operation) error {
		t, err := op.draft(ctx, n)
		if err != nil {
			return err
		}
		done, err := op.connectOwner(ctx, t)
		if err != nil {
			return err
		}
		defer done()
		value, err := token.Mint(authz.ValueKinds[t.Kind], m.Random)
		if err != nil {
			return err
		}
		t.ID = value.ID().String()
		if t.Secret, err = m.secret(value); err != nil {
			return err
		}
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

// recordIssuer records who receives a token's value.
func (op *operation) recordIssuer(t *store.Token) {
	who := op.caller.issuer()
	t.IssuedBy, t.IssuedByKey = who.name, who.key
}

// draft validates a request and returns its record, without id and secret.
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

// checkManagement refuses management tokens to callers who may not create them.
func (op *operation) checkManagement(n NewToken) error {
	if !op.administrator {
		return refused(Forbidden, "Only administrators may create management tokens (access.admin).")
	}
	if err := op.checkEscalation(store.Management); err != nil {
		return err
	}
	if n.Owner != "" {
		return invalid(FieldOwner, "A management token has no user. Leave the user out.")
	}
	return nil
}

// limitManagement refuses a management token without an expiry or networks.
func limitManagement(t store.Token, now time.Time) error {
	switch {
	case t.Expires.IsZero():
		return invalid(FieldExpires, "A management token must expire. Give a lifetime such as 90d.")
	case t.Expires.After(now.Add(maxManagement)):
		return invalid(FieldExpires, "A management token is valid for at most a year.")
	case len(t.Networks) == 0:
		return invalid(FieldNetworks, "A management token needs the networks that it is used from, such as 10.1.2.0/24.")
	case areTooLarge(t.Networks):
		return invalid(FieldNetworks, "A management token needs networks that are no larger than %s.", largestNetworks)
	}
	return nil
}

// maxManagement is the longest lifetime of a management token: a leap year.
const maxManagement = 366 * 24 * time.Hour

// secret returns the salt and hash of a value.
func (m *Manager) secret(v token.Value) (store.Secret, error) {
	salt, err := token.Salt(m.Random)
	if err != nil {
		return store.Secret{}, err
	}
	return store.Secret{Salt: salt, Hash: v.Hash(salt)}, nil
}

// checkLimits refuses another token in force if the owner has too many, or one of
// the same name.
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
// without t. Tokens of a previous user of the name are left out.
func (op *operation) inForce(owned []store.Token, t store.Token) (others []store.Token) {
	for _, other := range owned {
		same := other.Owner.Key == t.Owner.Key || other.Owner.Key == "" || t.Owner.Key == ""
		if other.ID != t.ID && same && other.State != store.Revoked && !other.Expired(op.now) {
			others = append(others, other)
		}
	}
	return others
}

// eachOwned calls do with all tokens of an owner, ended ones included, page by page.
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

// readTokens reads tokens and skips those that no longer exist.
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
