package k8s_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// at returns what a decoded YAML document has at a path of keys and list indexes.
func at(t *testing.T, node any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch n := node.(type) {
		case map[string]any:
			key, _ := step.(string)
			node = n[key]
		case []any:
			i, ok := step.(int)
			if !ok || i >= len(n) {
				t.Fatalf("%v is not in the list", step)
			}
			node = n[i]
		default:
			t.Fatalf("nothing is at %v of %v", step, path)
		}
	}
	return node
}

// named returns the element of a list with a name.
func named(t *testing.T, list any, name string) any {
	t.Helper()
	elements, _ := list.([]any)
	for _, e := range elements {
		if at(t, e, "name") == name {
			return e
		}
	}
	t.Fatalf("no %s in the list", name)
	return nil
}

func parse(t *testing.T, text []byte) (document any) {
	t.Helper()
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	return document
}

func load(t *testing.T, name string) any {
	t.Helper()
	text, err := os.ReadFile("mesh/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

func texts(list any) (out []string) {
	elements, _ := list.([]any)
	for _, e := range elements {
		text, _ := e.(string)
		out = append(out, text)
	}
	return out
}

// The gateways of k8s/mesh remove the headers that the generated configuration removes, send
// tokengate the headers that it reads, and accept the changes that it makes.
func TestMeshAgreesWithBootstrap(t *testing.T) {
	cfg, err := config.Load("gateway/tokengate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := envoy.Bootstrap(&text, cfg, envoy.BootstrapOptions{}); err != nil {
		t.Fatal(err)
	}
	manager := at(t, parse(t, text.Bytes()), "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config")
	authz := at(t, named(t, at(t, manager, "http_filters"), "envoy.filters.http.ext_authz"), "typed_config")

	patches := at(t, load(t, "istio/envoyfilter.yaml"), "spec", "configPatches")
	istio := at(t, patches, 0, "patch", "value", "typed_config")
	istioAuthz := at(t, patches, 1, "patch", "value", "typed_config")
	for _, key := range []string{"early_header_mutation_extensions", "normalize_path", "merge_slashes", "path_with_escaped_slashes_action"} {
		if diff := cmp.Diff(at(t, manager, key), at(t, istio, key)); diff != "" {
			t.Errorf("istio/envoyfilter.yaml: %s (-want +got):\n%s", key, diff)
		}
	}
	for _, key := range []string{"clear_route_cache", "allowed_headers", "validate_mutations", "decoder_header_mutation_rules"} {
		if diff := cmp.Diff(at(t, authz, key), at(t, istioAuthz, key)); diff != "" {
			t.Errorf("istio/envoyfilter.yaml: %s (-want +got):\n%s", key, diff)
		}
	}

	var remove, prefixes, asked []string
	for _, m := range at(t, manager, "early_header_mutation_extensions", 0, "typed_config", "mutations").([]any) {
		if name, ok := at(t, m, "remove").(string); ok {
			remove = append(remove, name)
		} else {
			prefixes = append(prefixes, at(t, m, "remove_on_match", "key_matcher", "prefix").(string))
		}
	}
	for _, p := range at(t, authz, "allowed_headers", "patterns").([]any) {
		asked = append(asked, at(t, p, "exact").(string))
	}
	early := at(t, load(t, "envoy-gateway/clienttrafficpolicy.yaml"), "spec", "headers", "earlyRequestHeaders")
	if diff := cmp.Diff(remove, texts(at(t, early, "remove"))); diff != "" {
		t.Errorf("envoy-gateway/clienttrafficpolicy.yaml (-want +got):\n%s", diff)
	}
	var got []string
	for _, m := range at(t, early, "removeOnMatch").([]any) {
		got = append(got, at(t, m, "value").(string))
	}
	if diff := cmp.Diff(prefixes, got); diff != "" {
		t.Errorf("envoy-gateway/clienttrafficpolicy.yaml (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(asked, texts(at(t, load(t, "envoy-gateway/securitypolicy.yaml"), "spec", "extAuth", "headersToExtAuth"))); diff != "" {
		t.Errorf("envoy-gateway/securitypolicy.yaml (-want +got):\n%s", diff)
	}

	// The routes: Jira gets none of the removed headers either, tokengate's paths and the
	// marker are those of the generated configuration.
	rules := at(t, load(t, "routes/httproute.yaml"), "spec", "rules")
	if diff := cmp.Diff(remove, texts(at(t, named(t, rules, "others"), "filters", 0, "requestHeaderModifier", "remove"))); diff != "" {
		t.Errorf("routes/httproute.yaml (-want +got):\n%s", diff)
	}
	var paths []string
	for _, m := range at(t, named(t, rules, "tokengate"), "matches").([]any) {
		paths = append(paths, at(t, m, "path", "value").(string))
	}
	if !slices.Equal(paths, config.ManagementPaths) {
		t.Errorf("routes/httproute.yaml: tokengate's paths are %s, not %s", strings.Join(paths, ", "), strings.Join(config.ManagementPaths, ", "))
	}
	if marker := at(t, named(t, rules, "token"), "matches", 0, "headers", 0, "name"); marker != envoy.MarkerHeader {
		t.Errorf("routes/httproute.yaml: the marker is %v", marker)
	}
}
