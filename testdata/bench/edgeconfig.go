package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// askedServer is the listener of a server that Envoy asks.
type askedServer struct {
	listener string
	socket   string // where Check is asked; "" where nobody is
}

// edgeBootstrap returns one Envoy configuration with a listener for each of the
// servers, all alike but for whom they ask: what `tokengate envoy bootstrap`
// writes, with these changes.
//
//   - The access log goes to /dev/null: it is formatted, but not piled up.
//   - Envoy checks no server's health: a server is stopped while its rivals are
//     measured.
//   - Connections are spread over Envoy's workers exactly, so that no listener
//     has the luck of a better spread.
func edgeBootstrap(settings config.Config, adminSocket string, servers []askedServer) ([]byte, error) {
	var whole map[string]any
	var listeners, clusters []any
	for _, s := range servers {
		c := settings
		if s.socket != "" {
			c.Listen.GRPC = config.Address{Network: "unix", Address: s.socket}
		}
		b, err := readBootstrap(c, adminSocket)
		if err != nil {
			return nil, err
		}
		if err := b.adapt(s); err != nil {
			return nil, fmt.Errorf("change Envoy's configuration for %s: %w", s.listener, err)
		}
		listeners = append(listeners, b.listener)
		clusters = append(clusters, b.check)
		if whole == nil {
			whole = b.whole
			clusters = append(clusters, b.others...)
		}
	}
	whole["static_resources"] = map[string]any{"listeners": listeners, "clusters": clusters}
	text, err := yaml.Marshal(whole)
	if err != nil {
		return nil, fmt.Errorf("write Envoy's configuration: %w", err)
	}
	return text, nil
}

// bootstrap is a generated configuration, and the parts of it that change.
type bootstrap struct {
	whole    map[string]any
	listener map[string]any
	manager  map[string]any // the listener's HttpConnectionManager
	filters  []any          // its HTTP filters
	check    map[string]any // the cluster that Check is asked of
	others   []any          // the other clusters
}

func readBootstrap(settings config.Config, adminSocket string) (*bootstrap, error) {
	var text bytes.Buffer
	err := envoy.Bootstrap(&text, settings, envoy.BootstrapOptions{Listen: "127.0.0.1:0", AdminSocket: adminSocket})
	if err != nil {
		return nil, err
	}
	b := &bootstrap{}
	if err := yaml.Unmarshal(text.Bytes(), &b.whole); err != nil {
		return nil, fmt.Errorf("read Envoy's configuration: %w", err)
	}
	resources, err := under[map[string]any](b.whole, "static_resources")
	if err != nil {
		return nil, err
	}
	if b.listener, err = first(resources, "listeners"); err != nil {
		return nil, err
	}
	chain, err := first(b.listener, "filter_chains")
	if err != nil {
		return nil, err
	}
	filter, err := first(chain, "filters")
	if err != nil {
		return nil, err
	}
	if b.manager, err = under[map[string]any](filter, "typed_config"); err != nil {
		return nil, err
	}
	if b.filters, err = under[[]any](b.manager, "http_filters"); err != nil {
		return nil, err
	}
	clusters, err := under[[]any](resources, "clusters")
	if err != nil {
		return nil, err
	}
	for _, cluster := range clusters {
		if named(cluster, checkCluster) {
			b.check, _ = cluster.(map[string]any)
		} else {
			b.others = append(b.others, cluster)
		}
	}
	if b.check == nil {
		return nil, fmt.Errorf("envoy's configuration has no cluster %s", checkCluster)
	}
	return b, nil
}

// The names in the generated configuration.
const (
	checkCluster = "tokengate"
	checkFilter  = "envoy.filters.http.ext_authz"
)

// adapt makes it the configuration of one server's listener.
func (b *bootstrap) adapt(s askedServer) error {
	b.listener["name"] = s.listener
	b.listener["connection_balance_config"] = map[string]any{"exact_balance": map[string]any{}}
	b.check["name"] = "check-" + s.listener
	delete(b.check, "health_checks")
	assignment, err := under[map[string]any](b.check, "load_assignment")
	if err != nil {
		return err
	}
	assignment["cluster_name"] = b.check["name"]

	log, err := first(b.manager, "access_log")
	if err != nil {
		return err
	}
	form, err := under[map[string]any](log, "typed_config")
	if err != nil {
		return err
	}
	log["name"] = "envoy.access_loggers.file"
	form["@type"] = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
	form["path"] = "/dev/null"

	kept := make([]any, 0, len(b.filters))
	asks := false
	for _, f := range b.filters {
		if !named(f, checkFilter) {
			kept = append(kept, f)
			continue
		}
		asks = true
		if s.socket == "" {
			continue
		}
		filter, err := under[map[string]any](f, "typed_config")
		if err != nil {
			return err
		}
		service, err := under[map[string]any](filter, "grpc_service")
		if err != nil {
			return err
		}
		service["envoy_grpc"] = map[string]any{"cluster_name": b.check["name"]}
		kept = append(kept, f)
	}
	if !asks {
		return errors.New("it asks nobody")
	}
	b.manager["http_filters"] = kept
	return nil
}

func named(v any, name string) bool {
	m, _ := v.(map[string]any)
	return m["name"] == name
}

// under returns what a key of a mapping holds.
func under[T any](v any, key string) (T, error) {
	m, _ := v.(map[string]any)
	found, ok := m[key].(T)
	if !ok {
		return found, fmt.Errorf("envoy's configuration has no %s where it should", key)
	}
	return found, nil
}

// first returns the first element of the list that a key holds.
func first(v any, key string) (map[string]any, error) {
	list, err := under[[]any](v, key)
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		if m, ok := list[0].(map[string]any); ok {
			return m, nil
		}
	}
	return nil, fmt.Errorf("envoy's configuration has no first of %s", key)
}
