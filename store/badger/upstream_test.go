package badger_test

import (
	"testing"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/storetest"
)

// TestUnreadableUpstream replaces a record that cannot be read: the user can connect again.
func TestUnreadableUpstream(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, dir, map[string]string{"c/KEY1": "no record"})
	s := open(t, dir)
	defer s.Close()
	if all, err := s.Upstream(t.Context(), "KEY1"); err == nil {
		t.Errorf("read as %+v", all)
	}
	added := store.UpstreamCredential{ID: "000000000001", Owner: "fred", Created: storetest.Epoch, State: store.UpstreamActive, Sealed: []byte("x")}
	after, err := s.UpdateUpstream(t.Context(), "KEY1", func(before []store.UpstreamCredential) ([]store.UpstreamCredential, []store.Audit, error) {
		return append(before, added), nil, nil
	})
	if err != nil || len(after) != 1 {
		t.Errorf("after it is replaced: %+v, error %v", after, err)
	}
	if all, err := s.Upstream(t.Context(), "KEY1"); err != nil || len(all) != 1 {
		t.Errorf("read as %+v, error %v", all, err)
	}
}
