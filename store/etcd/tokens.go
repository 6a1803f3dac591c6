package etcd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/tokengate/tokengate/store"
)

// Create adds a token: see store.Store.
func (s *Store) Create(ctx context.Context, t store.Token, admit store.AdmitFunc) (store.Token, error) {
	t = store.Normalize(t)
	t.Number = 0
	if err := store.Validate(t); err != nil {
		return store.Token{}, err
	}
	done, err := s.write(ctx, func(tx *tx) error {
		found, err := tx.read(tokenKey(t.ID), liveKey(t.Owner.Name))
		if err != nil {
			return err
		}
		if found[0] != nil {
			return fmt.Errorf("%w: %q", store.ErrExists, t.ID)
		}
		owned, err := tx.liveTokens(t.Owner.Name, found[1])
		if err != nil {
			return err
		}
		owned = slices.DeleteFunc(owned, func(o store.Token) bool { return o.Expired(t.Created) })
		var list liveList
		for _, o := range owned {
			list = append(list, o.ID)
		}
		audit, err := admit(owned)
		if err != nil {
			return err
		}
		tx.create, tx.audits = &t, []store.Audit{audit}
		tx.put(liveKey(t.Owner.Name), list.with(t.ID).encode())
		return nil
	})
	if err != nil {
		return store.Token{}, err
	}
	t.Revision = uint64(done.committed)
	return t, nil
}

// Get returns one token: see store.Store.
func (s *Store) Get(ctx context.Context, id string) (store.Token, error) {
	op, err := s.begin(ctx)
	if err != nil {
		return store.Token{}, err
	}
	defer op.done()
	return (&tx{op: op}).token(id)
}

// Update changes one token: see store.Store.
func (s *Store) Update(ctx context.Context, id string, change store.ChangeFunc) (store.Token, error) {
	var after store.Token
	done, err := s.write(ctx, func(tx *tx) error {
		before, err := tx.token(id)
		if err != nil {
			return err
		}
		if before.State == store.Revoked {
			return fmt.Errorf("%w: %q", store.ErrRevoked, id)
		}
		found, err := tx.read(liveKey(before.Owner.Name))
		if err != nil {
			return err
		}
		after = before
		after.Networks = slices.Clone(before.Networks)
		audit, err := change(&after, func() ([]store.Token, error) { return tx.liveTokens(before.Owner.Name, found[0]) })
		if err != nil {
			return err
		}
		if after.ID != before.ID || after.Number != before.Number || after.Kind != before.Kind ||
			!after.Created.Equal(before.Created) ||
			after.CreatedBy != before.CreatedBy || after.CreatedByKey != before.CreatedByKey {
			return fmt.Errorf("%w: id, number, kind, created and created by cannot change", store.ErrInvalid)
		}
		if !before.Owner.MayBecome(after.Owner) {
			return fmt.Errorf("%w: a token cannot move to another owner", store.ErrInvalid)
		}
		after = store.Normalize(after)
		record, err := store.EncodeToken(after)
		if err != nil {
			return err
		}
		tx.put(tokenKey(id), record)
		tx.audits = []store.Audit{audit}
		return tx.updateLive(before, after, found[0])
	})
	if err != nil {
		return store.Token{}, err
	}
	after.Revision = uint64(done.committed)
	return after, nil
}

// updateLive writes the list of the owner's live tokens after an update, and moves the token to its owner's
// new name.
func (t *tx) updateLive(before, after store.Token, found *mvccpb.KeyValue) error {
	list, err := decodeLive(found)
	if err != nil {
		return err
	}
	moved := liveKey(before.Owner.Name) != liveKey(after.Owner.Name)
	if moved || after.State == store.Revoked {
		t.put(liveKey(before.Owner.Name), list.without(after.ID).encode())
	}
	if moved {
		t.del(ownedKey(before))
		t.put(ownedKey(after), []byte(after.ID))
		there, err := t.read(liveKey(after.Owner.Name))
		if err != nil {
			return err
		}
		if list, err = decodeLive(there[0]); err != nil {
			return err
		}
	}
	extended := after.Expires.IsZero() || after.Expires.After(before.Expires)
	switch {
	case after.State != store.Revoked && (moved || extended):
		t.put(liveKey(after.Owner.Name), list.with(after.ID).encode())
	case moved || after.State != store.Revoked:
		t.put(liveKey(after.Owner.Name), list.encode()) // so that a concurrent write for the owner begins again
	}
	return nil
}

// token returns one token, or ErrNotFound. The transaction fails if it changes before the commit.
func (t *tx) token(id string) (store.Token, error) {
	if len(id) != store.IDLength {
		return store.Token{}, fmt.Errorf("%w: %.20q", store.ErrNotFound, id)
	}
	found, err := t.read(tokenKey(id))
	if err != nil {
		return store.Token{}, err
	}
	if found[0] == nil {
		return store.Token{}, fmt.Errorf("%w: %q", store.ErrNotFound, id)
	}
	return decodeToken(id, found[0])
}

// decodeToken returns the token of a key.
func decodeToken(id string, kv *mvccpb.KeyValue) (store.Token, error) {
	t, err := store.DecodeToken(id, kv.Value)
	t.Revision = uint64(kv.ModRevision)
	return t, err
}

// Live returns an owner's live tokens: see store.Store.
func (s *Store) Live(ctx context.Context, owner string) ([]store.Token, error) {
	op, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer op.done()
	t := &tx{op: op}
	found, err := t.peek(liveKey(owner))
	if err != nil {
		return nil, err
	}
	return t.liveTokens(owner, found[0])
}

// liveTokens returns the owner's tokens that are not revoked, by number, given the list of the owner.
func (t *tx) liveTokens(owner string, found *mvccpb.KeyValue) (tokens []store.Token, err error) {
	list, err := decodeLive(found)
	if err != nil {
		return nil, err
	}
	err = t.eachToken(list, func(token store.Token) {
		if token.State != store.Revoked && store.FoldOwner(token.Owner.Name) == store.FoldOwner(owner) {
			tokens = append(tokens, token)
		}
	})
	slices.SortFunc(tokens, func(a, b store.Token) int { return cmp.Compare(a.Number, b.Number) })
	return tokens, err
}

// eachToken calls visit with the tokens with these ids that exist.
func (t *tx) eachToken(ids []string, visit func(store.Token)) error {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = tokenKey(id)
	}
	found, err := t.peek(keys...)
	if err != nil {
		return err
	}
	for i, kv := range found {
		if kv == nil {
			continue // pruned
		}
		token, err := decodeToken(ids[i], kv)
		if err != nil {
			return err
		}
		visit(token)
	}
	return nil
}

// liveList holds the ids of an owner's tokens that may be live.
type liveList []string

func (l liveList) with(id string) liveList {
	if slices.Contains(l, id) {
		return l
	}
	return append(slices.Clip(l), id)
}

func (l liveList) without(id string) liveList {
	return slices.DeleteFunc(slices.Clone(l), func(other string) bool { return other == id })
}

func (l liveList) encode() []byte { return []byte(strings.Join(l, "")) }

func decodeLive(kv *mvccpb.KeyValue) (l liveList, err error) {
	if kv == nil {
		return nil, nil
	}
	if len(kv.Value)%store.IDLength != 0 {
		return nil, fmt.Errorf("the list %q of an owner's live tokens is damaged", kv.Key)
	}
	for id := range slices.Chunk(kv.Value, store.IDLength) {
		l = append(l, string(id))
	}
	return l, nil
}
