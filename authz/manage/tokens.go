package manage

import (
	"context"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/store"
)

// Get returns one token, revoked ones included. It fails with ErrNotFound,
// ErrInvalid or ErrForbidden.
func (m *Manager) Get(ctx context.Context, c Caller, id string) (found Token, err error) {
	err = m.perform(ctx, c, getAction, func(op *operation) error {
		if err := checkID(id); err != nil {
			return err
		}
		op.subject.id = id
		t, err := op.get(ctx, id)
		if err != nil {
			return err
		}
		usage, err := m.usage(ctx, id)
		if err != nil {
			return err
		}
		found = tell(t, usage[id], op.now)
		return nil
	})
	return found, err
}

// Revoke ends a token for ever. It fails with ErrNotFound, with ErrRevoked if
// it was revoked before, with ErrInvalid or ErrForbidden.
func (m *Manager) Revoke(ctx context.Context, c Caller, id string) error {
	return m.perform(ctx, c, revokeAction, func(op *operation) error {
		if err := checkID(id); err != nil {
			return err
		}
		op.subject.id = id
		_, err := op.update(ctx, id, func(t *store.Token) error {
			t.State, t.Revoked = store.Revoked, op.now
			return nil
		})
		return err
	})
}

// Query selects tokens for a listing. The zero Query selects all.
type Query struct {
	Owner string // owner name, compared without case; empty: any
	Name  string // part of the token's name, compared without case; empty: any
	State State  // empty: any
	After uint64 // the Next of the page before; 0: from the first
	Limit int    // tokens on the page, at most MaxPage; 0: DefaultPage
}

// Page is one page of a listing.
type Page struct {
	Tokens []Token // ordered by Number
	Next   uint64  // the After of the next page; 0: this was the last
}

// List returns a page of tokens. It fails with ErrInvalid or ErrForbidden.
func (m *Manager) List(ctx context.Context, c Caller, q Query) (found Page, err error) {
	err = m.perform(ctx, c, listAction, func(op *operation) error {
		page, err := op.page(ctx, q)
		if err != nil {
			return err
		}
		ids := make([]string, len(page.Tokens))
		for i, t := range page.Tokens {
			ids[i] = t.ID
		}
		usage, err := m.usage(ctx, ids...)
		if err != nil {
			return err
		}
		found = Page{Tokens: make([]Token, len(page.Tokens)), Next: page.Next}
		for i, t := range page.Tokens {
			found.Tokens[i] = tell(t, usage[t.ID], op.now)
		}
		return nil
	})
	return found, err
}

// page collects one page. The store knows no expired tokens, so a page of the
// store may hold others than those asked for, and several make one of ours.
func (op *operation) page(ctx context.Context, q Query) (page store.Page, err error) {
	filter := store.Filter{Owner: q.Owner, Name: q.Name}
	if filter.States, err = storedStates(q.State); err != nil {
		return page, err
	}
	limit := q.Limit
	switch {
	case limit == 0:
		limit = DefaultPage
	case limit < 0, limit > MaxPage:
		return page, invalid(FieldLimit, "A page holds 1 to %d tokens.", MaxPage)
	}
	for after := q.After; ; {
		more, err := op.manager.Store.List(ctx, filter, after, limit+1) // one more tells whether this is the last page
		if err != nil {
			return page, err
		}
		for _, t := range more.Tokens {
			if q.State != "" && stateOf(t, op.now) != q.State {
				continue
			}
			if len(page.Tokens) == limit {
				page.Next = page.Tokens[limit-1].Number
				return page, nil
			}
			page.Tokens = append(page.Tokens, t)
		}
		if after = more.Next; after == 0 {
			return page, nil
		}
	}
}

// storedStates returns the states in which the store may have tokens of state
// s; none for any.
func storedStates(s State) ([]store.State, error) {
	switch s {
	case "":
		return nil, nil
	case StateExpired:
		return []store.State{store.Pending, store.Active, store.Disabled}, nil
	}
	stored, ok := store.ParseState(string(s))
	if !ok {
		return nil, invalid(FieldState, "There is no such state. A token is %s, %s, %s, %s or %s.",
			StatePending, StateActive, StateDisabled, StateExpired, StateRevoked)
	}
	return []store.State{stored}, nil
}

func (m *Manager) usage(ctx context.Context, ids ...string) (map[string]store.Usage, error) {
	return m.Usage.Usage(ctx, ids)
}

// Explain tells how a request would be decided, and what each rule says of it.
// Nothing comes of the request. It fails with ErrForbidden.
func (m *Manager) Explain(ctx context.Context, c Caller, r *authz.Request, v authz.View) (d authz.Decision, verdicts []authz.Verdict, err error) {
	err = m.perform(ctx, c, explainAction, func(*operation) error {
		d, verdicts = authz.Explain(r, v)
		return nil
	})
	return d, verdicts, err
}
