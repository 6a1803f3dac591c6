package etcd_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
	"github.com/tokengate/tokengate/store/storetest"
)

// configOf returns the configuration of a store in a cluster.
func configOf(c *etcdtest.Cluster, prefix string) *etcd.Config {
	config := etcd.DefaultConfig()
	config.Endpoints, config.Prefix = c.Endpoints(), prefix
	return config
}

func openConfig(t testing.TB, c *etcd.Config) store.Store {
	t.Helper()
	c.Check(func(key, format string, args ...any) { t.Errorf("%s: %s", key, fmt.Sprintf(format, args...)) })
	s, err := c.Open(t.Context(), store.OpenOptions{Log: func(level slog.Level, message string) {
		t.Logf("%v: %s", level, message)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	config := func(dir string) *etcd.Config { return configOf(c, fmt.Sprintf("/test-%x/", xxhash.Sum64String(dir))) }
	storetest.Run(t, storetest.Suite{
		Nested: true,
		Open:   func(t *testing.T, dir string) store.Store { return openConfig(t, config(dir)).(store.Opened).Store },
		OpenErr: func(t *testing.T, dir string, o store.OpenOptions) (store.Store, error) {
			opened, err := config(dir).Open(t.Context(), o)
			return opened.Store, err
		},
	})
}
