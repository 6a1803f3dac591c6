package badger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/tokengate/tokengate/store"
)

// Live returns an owner's live tokens: see store.Store.
func (s *Store) Live(ctx context.Context, owner string) (tokens []store.Token, err error) {
	if owner != "" && store.ValidOwnerName(owner) != nil {
		return nil, nil // its key could be a prefix of another owner's
	}
	err = s.view(ctx, func(txn *badger.Txn) error {
		tokens, err = liveTokens(ctx, txn, owner)
		return err
	})
	return tokens, err
}

// liveTokens returns the owner's tokens that are not revoked, by number; expired ones may be
// missing. It reads the owner's key, so that a concurrent Create is a conflict.
func liveTokens(ctx context.Context, txn *badger.Txn, owner string) (tokens []store.Token, err error) {
	list, err := readLive(txn, owner)
	if err != nil {
		return nil, err
	}
	ids := list.ids
	if !list.known {
		prefix := ownedPrefix(owner)
		err := eachValue(ctx, txn, prefix, prefix, func(_, id []byte) (bool, error) {
			ids = append(ids, string(id))
			return true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := getToken(txn, id)
		if list.known && errors.Is(err, store.ErrNotFound) {
			continue // pruned
		}
		if err != nil {
			return nil, fmt.Errorf("read tokens of owner: %w", err)
		}
		if t.State != store.Revoked && store.FoldOwner(t.Owner.Name) == store.FoldOwner(owner) {
			tokens = append(tokens, t)
		}
	}
	slices.SortFunc(tokens, func(a, b store.Token) int { return cmp.Compare(a.Number, b.Number) })
	return tokens, nil
}

// updateLive moves an updated token to its owner's new name, and adds it to the live tokens there
// if it may have become one.
func (t *tx) updateLive(before, after store.Token) error {
	from, to := ownedKey(before.Owner.Name, before.Number), ownedKey(after.Owner.Name, after.Number)
	moved := !bytes.Equal(from, to)
	if moved {
		if err := errors.Join(t.Delete(from), t.Set(to, []byte(after.ID))); err != nil {
			return err
		}
	}
	extended := after.Expires.IsZero() || after.Expires.After(before.Expires)
	if after.State == store.Revoked || !moved && !extended {
		return nil
	}
	// A concurrent Create that omits the token is a conflict.
	list, err := readLive(t.Txn, after.Owner.Name)
	if err != nil || slices.Contains(list.ids, after.ID) {
		return err
	}
	return t.set(ownerKey(after.Owner.Name), list.with(after.ID).encode())
}

// liveList holds the ids of an owner's tokens that may be live. In the zero liveList they are
// unknown.
type liveList struct {
	known bool
	ids   []string
}

// The first byte of an encoded liveList.
const (
	liveUnknown = 1
	liveKnown   = 2
)

// maxLive is the maximum number of ids in a liveList, 120 kB, because of maxValue. For owners
// with more live tokens all tokens are read.
const maxLive = 10_000

func listOf(tokens []store.Token) liveList {
	l := liveList{known: true}
	for _, t := range tokens {
		l.ids = append(l.ids, t.ID)
	}
	return l
}

// with returns the list with one more id; an unknown list stays unknown.
func (l liveList) with(id string) liveList {
	if !l.known || len(l.ids) >= maxLive {
		return liveList{}
	}
	return liveList{known: true, ids: append(slices.Clip(l.ids), id)}
}

func (l liveList) encode() []byte {
	if !l.known {
		return []byte{liveUnknown}
	}
	data := []byte{liveKnown}
	for _, id := range l.ids {
		data = append(data, id...)
	}
	return data
}

// readLive returns the list of an owner, which may be unknown.
func readLive(txn *badger.Txn, owner string) (liveList, error) {
	data, err := get(txn, ownerKey(owner))
	switch {
	case err != nil:
		return liveList{}, err
	case data == nil || bytes.Equal(data, []byte{liveUnknown}):
		return liveList{}, nil
	case !bytes.HasPrefix(data, []byte{liveKnown}) || len(data[1:])%store.IDLength != 0:
		return liveList{}, fmt.Errorf("the list of the live tokens of %q is damaged", owner)
	}
	l := liveList{known: true}
	for id := range slices.Chunk(data[1:], store.IDLength) {
		l.ids = append(l.ids, string(id))
	}
	return l, nil
}
