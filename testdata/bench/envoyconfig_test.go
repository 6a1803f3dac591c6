package main

import (
	"slices"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

func TestEnvoyBootstrap(t *testing.T) {
	settings := config.Default()
	settings.PublicURL = "http://127.0.0.1"
	names, sockets := []string{"alone", "one", "two"}, []string{"", "/run/one", "/run/two"}
	text, err := envoyBootstrap(settings, "/run/envoy.sock", names, sockets)
	if err != nil {
		t.Fatal(err)
	}
	envoytest.Validate(t, text)
	var whole map[string]any
	if err := yaml.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	for i, listener := range get(whole, "static_resources", "listeners").([]any) {
		if got := get(listener, "name"); got != names[i] {
			t.Errorf("listener %d is %v, want %s", i, got, names[i])
		}
		filters := get(listener, "filter_chains", 0, "filters", 0, "typed_config", "http_filters").([]any)
		checks := slices.ContainsFunc(filters, func(f any) bool { return get(f, "name") == extAuthzFilter })
		if want := sockets[i] != ""; checks != want {
			t.Errorf("listener %s sends Checks: %t", names[i], checks)
		}
	}
}
