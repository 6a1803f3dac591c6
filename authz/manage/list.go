package manage

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/listing"
)

// Get returns one token, which may be revoked. It fails with ErrNotFound, ErrInvalid
// or ErrForbidden.
func (m *Manager) Get(ctx context.Context, c Caller, id string) (Token, error) {
	return read(ctx, m, c, getAction, id, func(op *operation) (Token, error) {
		t, err := op.get(ctx, id)
		if err != nil {
			return Token{}, err
		}
		usage, err := m.Usage.Usage(ctx, []string{t.ID})
		return op.describe(t, usage[t.ID]), err
	})
}

// Own calls visit with a user's tokens, revoked ones included, ordered by number,
// page by page, because the number of ended tokens is unlimited. It fails with
// ErrForbidden, and with the error of visit.
func (m *Manager) Own(ctx context.Context, c Caller, visit func([]Token) error) error {
	return m.perform(ctx, c, ownAction, "", func(op *operation) error {
		return op.eachOwned(ctx, op.caller.user.Name, func(owned []store.Token) error {
			owned = slices.DeleteFunc(owned, func(t store.Token) bool { return !op.caller.owns(t) })
			described, err := op.describeAll(ctx, owned)
			if err != nil {
				return err
			}
			return visit(described)
		})
	})
}

// Query selects and orders tokens: see listing.Query. The Manager sets its States,
// Expired, Now and OwnerIs from State and InForce.
type Query struct {
	listing.Query       // with a Limit of at most MaxPage; 0: DefaultPage
	State         State // empty: any
	InForce       bool  // neither revoked nor expired; without a State
}

// Page is one page of a listing.
type Page struct {
	Tokens []Token
	Total  int            // tokens on all pages
	Next   listing.Cursor // the After of the next page; empty: this is the last
}

// List returns a page of all tokens. Tokens that are removed meanwhile are left out.
// It fails with ErrInvalid or ErrForbidden.
func (m *Manager) List(ctx context.Context, c Caller, q Query) (Page, error) {
	return read(ctx, m, c, listAction, "", func(op *operation) (Page, error) {
		query, err := op.query(q)
		if err != nil {
			return Page{}, err
		}
		return op.list(ctx, query)
	})
}

// ListOwn returns a page of a user's own tokens, like List.
func (m *Manager) ListOwn(ctx context.Context, c Caller, q Query) (Page, error) {
	return read(ctx, m, c, ownAction, "", func(op *operation) (Page, error) {
		query, err := op.query(q)
		if err != nil {
			return Page{}, err
		}
		wanted, kind := query.OwnerIs, store.Ordinary
		query.Owner, query.Kind = op.caller.user.Name, &kind
		query.OwnerIs = func(o store.Owner) bool {
			return isOwner(o, op.caller.user) && (wanted == nil || wanted(o))
		}
		return op.list(ctx, query)
	})
}

// list reads the page of a query.
func (op *operation) list(ctx context.Context, query listing.Query) (found Page, err error) {
	if query.Limit, err = pageLimit(query.Limit); err != nil {
		return found, err
	}
	page, err := op.manager.Tokens.Find(ctx, query)
	if errors.Is(err, store.ErrInvalid) {
		return found, invalid(FieldAfter, "%s", Sentence(err))
	}
	if err != nil {
		return found, err
	}
	tokens, err := op.readTokens(ctx, page.IDs)
	if err != nil {
		return found, err
	}
	found = Page{Total: page.Total, Next: page.Next}
	found.Tokens, err = op.describeAll(ctx, tokens)
	return found, err
}

// Count returns how many tokens a query selects. It fails with ErrInvalid or
// ErrForbidden.
func (m *Manager) Count(ctx context.Context, c Caller, q Query) (int, error) {
	return read(ctx, m, c, listAction, "", func(op *operation) (int, error) {
		query, err := op.query(q)
		if err != nil {
			return 0, err
		}
		query.Limit = 0
		found, err := m.Tokens.Find(ctx, query)
		return found.Total, err
	})
}

// pageLimit returns the size of a page.
func pageLimit(asked int) (int, error) {
	if asked < 0 || asked > MaxPage {
		return 0, invalid(FieldLimit, "A page holds 1 to %d.", MaxPage)
	}
	return cmp.Or(asked, DefaultPage), nil
}

// query translates a query into the store's terms, which know neither time nor
// users.
func (op *operation) query(q Query) (listing.Query, error) {
	asked := q.Query
	asked.Now, asked.States, asked.Expired, asked.OwnerIs = op.now, nil, nil, nil
	over := q.State == StateExpired
	switch q.State {
	case "":
		if q.InForce {
			asked.States, asked.Expired = []store.State{store.Pending, store.Active, store.Disabled}, &over
		}
		return asked, nil
	case StateRevoked:
		asked.States = []store.State{store.Revoked}
		return asked, nil
	case StateExpired:
		asked.States = []store.State{store.Pending, store.Active, store.Disabled}
	case StatePending:
		asked.States = []store.State{store.Pending}
	case StateDisabled:
		asked.States = []store.State{store.Disabled}
	case StateActive, StateSuspended:
		asked.States = []store.State{store.Active}
		wanted := q.State == StateSuspended
		asked.OwnerIs = func(o store.Owner) bool { return op.suspended(o) == wanted }
	default:
		return asked, invalid(FieldState, "There is no such state. A token is %s, %s, %s, %s, %s or %s.",
			StatePending, StateActive, StateSuspended, StateDisabled, StateExpired, StateRevoked)
	}
	asked.Expired = &over
	return asked, nil
}

// All calls visit with every owner of tokens that are not revoked, ordered by
// name, and these tokens, ordered by number. It fails with ErrForbidden, and
// with the error of visit.
func (m *Manager) All(ctx context.Context, c Caller, visit func(owner string, tokens []Token) error) error {
	return m.perform(ctx, c, listAction, "", func(op *operation) error {
		owners, err := m.Tokens.Owners(ctx)
		if err != nil {
			return err
		}
		names := make([]string, 0, len(owners))
		for _, o := range owners {
			if o.Owner.Name != "" { // nobody: management tokens
				names = append(names, store.FoldOwner(o.Owner.Name))
			}
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if err := op.visitOwner(ctx, name, visit); err != nil {
				return err
			}
		}
		return nil
	})
}

func (op *operation) visitOwner(ctx context.Context, name string, visit func(owner string, tokens []Token) error) error {
	var live []store.Token
	err := op.eachOwned(ctx, name, func(owned []store.Token) error {
		live = append(live, slices.DeleteFunc(owned, func(t store.Token) bool { return t.State == store.Revoked })...)
		return nil
	})
	if err != nil || len(live) == 0 {
		return err
	}
	described, err := op.describeAll(ctx, live)
	if err != nil {
		return err
	}
	return visit(live[0].Owner.Name, described)
}
