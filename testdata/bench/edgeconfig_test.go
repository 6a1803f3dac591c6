package main

import (
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

func TestEdgeBootstrap(t *testing.T) {
	settings := config.Default()
	settings.PublicURL = "http://127.0.0.1"
	servers := []askedServer{{"alone", ""}, {"one", "/run/one"}, {"two", "/run/two"}}
	text, err := edgeBootstrap(settings, "/run/envoy.sock", servers)
	if err != nil {
		t.Fatal(err)
	}
	envoytest.Validate(t, text)

	var whole map[string]any
	if err := yaml.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	resources, err := under[map[string]any](whole, "static_resources")
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := under[[]any](resources, "listeners")
	if err != nil || len(listeners) != len(servers) {
		t.Fatalf("%d listeners, %v", len(listeners), err)
	}
	for i, l := range listeners {
		if !named(l, servers[i].listener) {
			t.Errorf("listener %d is not %s", i, servers[i].listener)
		}
		chain, err := first(l, "filter_chains")
		if err != nil {
			t.Fatal(err)
		}
		filter, err := first(chain, "filters")
		if err != nil {
			t.Fatal(err)
		}
		manager, err := under[map[string]any](filter, "typed_config")
		if err != nil {
			t.Fatal(err)
		}
		filters, err := under[[]any](manager, "http_filters")
		if err != nil {
			t.Fatal(err)
		}
		asks := false
		for _, f := range filters {
			asks = asks || named(f, checkFilter)
		}
		if want := servers[i].socket != ""; asks != want {
			t.Errorf("listener %s asks: %t", servers[i].listener, asks)
		}
	}
}
