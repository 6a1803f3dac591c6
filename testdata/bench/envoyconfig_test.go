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
	routes := []*route{{name: "alone"}, {name: "one", socket: "/run/one"}, {name: "two", socket: "/run/two", bypass: true}}
	text, err := envoyBootstrap(settings, "/run/envoy.sock", routes)
	if err != nil {
		t.Fatal(err)
	}
	envoytest.Validate(t, text)
	var whole map[string]any
	if err := yaml.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	for i, listener := range get(whole, "static_resources", "listeners").([]any) {
		if got := get(listener, "name"); got != routes[i].name {
			t.Errorf("listener %d is %v, want %s", i, got, routes[i].name)
		}
		filters := get(listener, "filter_chains", 0, "filters", 0, "typed_config", "http_filters").([]any)
		checks := slices.ContainsFunc(filters, func(f any) bool { return get(f, "name") == extAuthzFilter })
		if want := routes[i].socket != ""; checks != want {
			t.Errorf("listener %s sends Checks: %t", routes[i].name, checks)
		}
	}
}
