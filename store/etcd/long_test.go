//go:build long

package etcd_test

import (
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/cached"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
	"github.com/tokengate/tokengate/store/storetest"
)

// The sizes of tests that take long.
const (
	kills      = 20
	usedTokens = 100_000
)

func TestCachedStore(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	storetest.Run(t, storetest.Suite{
		Open: func(t *testing.T, dir string) store.Store {
			s, err := cached.New(t.Context(), openConfig(t, configOf(c, fmt.Sprintf("/test-%x/", xxhash.Sum64String(dir)))))
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	})
}
