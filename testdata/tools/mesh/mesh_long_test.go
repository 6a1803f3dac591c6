//go:build long

// Package mesh_test checks k8s/mesh with the Go types of Istio, Envoy Gateway and the
// Gateway API, which no other module should list.
package mesh_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	networkingv1 "istio.io/api/networking/v1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1 "istio.io/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	k8snetworkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const manifests = "../../../k8s/mesh"

// istio is an object whose spec Istio defines as a protocol buffer.
type istio struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              json.RawMessage `json:"spec"`
}

// decode decodes an object strictly, by its apiVersion and kind. For Istio it returns the spec.
func decode(t *testing.T, text []byte) any {
	t.Helper()
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(text, &kind); err != nil {
		t.Fatal(err)
	}
	var object any
	var spec proto.Message
	switch kind.APIVersion + " " + kind.Kind {
	case "v1 Service":
		object = &corev1.Service{}
	case "networking.k8s.io/v1 NetworkPolicy":
		object = &k8snetworkingv1.NetworkPolicy{}
	case "gateway.networking.k8s.io/v1 Gateway":
		object = &gatewayv1.Gateway{}
	case "gateway.networking.k8s.io/v1 HTTPRoute":
		object = &gatewayv1.HTTPRoute{}
	case "gateway.networking.k8s.io/v1 BackendTLSPolicy":
		object = &gatewayv1.BackendTLSPolicy{}
	case "gateway.networking.k8s.io/v1beta1 ReferenceGrant":
		object = &gatewayv1beta1.ReferenceGrant{}
	case "gateway.envoyproxy.io/v1alpha1 SecurityPolicy":
		object = &egv1a1.SecurityPolicy{}
	case "gateway.envoyproxy.io/v1alpha1 ClientTrafficPolicy":
		object = &egv1a1.ClientTrafficPolicy{}
	case "gateway.envoyproxy.io/v1alpha1 EnvoyProxy":
		object = &egv1a1.EnvoyProxy{}
	case "security.istio.io/v1 AuthorizationPolicy":
		spec = &securityv1.AuthorizationPolicy{}
	case "networking.istio.io/v1 DestinationRule":
		spec = &networkingv1.DestinationRule{}
	case "networking.istio.io/v1alpha3 EnvoyFilter":
		spec = &networkingv1alpha3.EnvoyFilter{}
	default:
		t.Fatalf("no type is known for %s %s", kind.APIVersion, kind.Kind)
	}
	if spec == nil {
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Fatalf("%s: %v", kind.Kind, err)
		}
		return object
	}
	var whole istio
	if err := yaml.UnmarshalStrict(text, &whole); err != nil {
		t.Fatalf("%s: %v", kind.Kind, err)
	}
	if err := protojson.Unmarshal(whole.Spec, spec); err != nil {
		t.Fatalf("%s: %v", kind.Kind, err)
	}
	return spec
}

// build renders a directory as `kubectl apply -k` does, and decodes its objects.
func build(t *testing.T, dir string) (objects []any) {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(manifests, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, decode(t, text))
	}
	return objects
}

func find[T any](t *testing.T, objects []any) (found T) {
	t.Helper()
	n := 0
	for _, o := range objects {
		if o, ok := o.(T); ok {
			found, n = o, n+1
		}
	}
	if n != 1 {
		t.Fatalf("%d objects of type %T", n, found)
	}
	return found
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manifests, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestBehindGateway(t *testing.T) {
	for _, object := range bytes.Split(read(t, "behind/httproute.yaml"), []byte("\n---\n")) {
		decode(t, object)
	}
}

// Every request of the gateway is checked, and is refused without an answer.
func TestEnvoyGateway(t *testing.T) {
	objects := build(t, "envoy-gateway")
	gateway, policy := find[*gatewayv1.Gateway](t, objects), find[*egv1a1.SecurityPolicy](t, objects)
	find[*egv1a1.ClientTrafficPolicy](t, objects)
	target := policy.Spec.TargetRefs[0]
	if target.Kind != "Gateway" || string(target.Name) != gateway.Name || target.SectionName != nil || policy.Namespace != gateway.Namespace {
		t.Errorf("the SecurityPolicy is not for the whole gateway: %+v", target)
	}
	if auth := policy.Spec.ExtAuth; *auth.FailOpen || !*auth.RecomputeRoute || *auth.StatusOnError != 503 {
		t.Errorf("extAuth is %+v", auth)
	}
}

func TestIstio(t *testing.T) {
	objects := build(t, "istio")
	find[*gatewayv1.Gateway](t, objects)
	policy := find[*securityv1.AuthorizationPolicy](t, objects)
	if len(policy.Rules) != 1 || !proto.Equal(policy.Rules[0], &securityv1.Rule{}) {
		t.Errorf("the AuthorizationPolicy does not match every request: %v", policy.Rules)
	}

	var values struct {
		Gateways   struct{ SeccompProfile corev1.SeccompProfile }
		MeshConfig json.RawMessage
	}
	if err := yaml.UnmarshalStrict(read(t, "istio/mesh-config.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	mesh := &meshv1alpha1.MeshConfig{}
	if err := protojson.Unmarshal(values.MeshConfig, mesh); err != nil {
		t.Fatal(err)
	}
	provider := mesh.ExtensionProviders[0]
	if provider.Name != policy.GetProvider().Name || provider.GetEnvoyExtAuthzGrpc().FailOpen {
		t.Errorf("the provider is %v", provider)
	}
}

// A real Envoy accepts what the EnvoyFilter adds to a listener like Istio's.
func TestEnvoyFilter(t *testing.T) {
	envoy := os.Getenv("TOKENGATE_ENVOY")
	if envoy == "" {
		envoy, _ = filepath.Abs("../../../.tools/envoy")
	}
	manager, network, filter := &hcmv3.HttpConnectionManager{}, &listenerv3.Filter{}, &hcmv3.HttpFilter{}
	for _, patch := range find[*networkingv1alpha3.EnvoyFilter](t, build(t, "istio")).ConfigPatches {
		text, err := protojson.Marshal(patch.Patch.Value)
		if err != nil {
			t.Fatal(err)
		}
		var into proto.Message = network
		if patch.ApplyTo == networkingv1alpha3.EnvoyFilter_HTTP_FILTER {
			into = filter
		}
		if err := protojson.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	if err := network.GetTypedConfig().UnmarshalTo(manager); err != nil {
		t.Fatal(err)
	}
	added, err := filter.GetTypedConfig().UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}

	// As Istio generates them; it merges in the same way.
	bootstrap := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal([]byte(istioLike), bootstrap); err != nil {
		t.Fatal(err)
	}
	config := bootstrap.StaticResources.Listeners[0].FilterChains[0].Filters[0].GetTypedConfig()
	whole := &hcmv3.HttpConnectionManager{}
	if err := config.UnmarshalTo(whole); err != nil {
		t.Fatal(err)
	}
	authz, err := whole.HttpFilters[0].GetTypedConfig().UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	proto.Merge(whole, manager)
	proto.Merge(authz, added)
	packed, err := anypb.New(authz)
	if err != nil {
		t.Fatal(err)
	}
	whole.HttpFilters[0].ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed}
	if err := config.MarshalFrom(whole); err != nil {
		t.Fatal(err)
	}
	text, err := protojson.Marshal(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "--log-level", "error", "-c", file).CombinedOutput()
	if err != nil || !strings.Contains(string(output), "OK") {
		t.Errorf("Envoy: %v\n%s", err, output)
	}
}

const istioLike = `{"static_resources": {
  "listeners": [{
    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
    "filter_chains": [{"filters": [{
      "name": "envoy.filters.network.http_connection_manager",
      "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound", "use_remote_address": true, "normalize_path": true,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "tokengate"}}]}]},
        "http_filters": [
          {"name": "envoy.filters.http.ext_authz", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "tokengate", "authority": "tokengate-mesh"}, "timeout": "2s"},
            "status_on_error": {"code": "ServiceUnavailable"}}},
          {"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
        ]}
    }]}]
  }],
  "clusters": [{"name": "tokengate", "connect_timeout": "1s", "type": "STATIC"}]
}}`
