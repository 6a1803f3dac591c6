// Package open picks the store that the configuration names. A new kind of store is added to
// Kinds. Start reading at Config.
package open

import (
	"maps"
	"slices"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
	"github.com/tokengate/tokengate/store/etcd"
)

// Kinds are the kinds of store by the key that selects them, each with a function that returns
// its default settings. Only tests change it.
var Kinds = map[string]func() store.Config{
	"badger": func() store.Config { return badger.DefaultConfig() },
	"etcd":   func() store.Config { return etcd.DefaultConfig() },
}

// Config is the store section of the configuration file: a mapping with one key, the kind.
type Config struct {
	Kind     string       // a key of Kinds
	Settings store.Config // of that kind
}

// Default returns the configuration of a file that names no store.
func Default() Config { return Config{"badger", Kinds["badger"]()} }

// Names returns the kinds in alphabetical order.
func Names() []string { return slices.Sorted(maps.Keys(Kinds)) }

// MarshalYAML returns the mapping.
func (c Config) MarshalYAML() (any, error) { return map[string]store.Config{c.Kind: c.Settings}, nil }
