package tools_test

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const base = "../../k8s/base"

// rendered is what `kubectl apply -k k8s/base` would send.
type rendered struct {
	set        appsv1.StatefulSet
	service    corev1.Service
	policy     networkingv1.NetworkPolicy
	configMaps map[string]corev1.ConfigMap

	tokengate tokengateConfig
	envoy     envoyConfig
}

// tokengateConfig and envoyConfig are what the manifests must agree with. The
// files themselves are checked elsewhere.
type tokengateConfig struct {
	PublicURL string `json:"publicURL"`
	Listen    struct{ GRPC, HTTP, Admin, Metrics string }
	Store     struct{ Badger struct{ Dir string } }
	Upstream  struct{ URL string }
}

type envoyConfig struct {
	Admin struct {
		Address struct{ Pipe struct{ Path string } }
	}
	StaticResources struct {
		Listeners []struct {
			Address struct {
				SocketAddress struct {
					Address   string
					PortValue int32 `json:"port_value"`
				} `json:"socket_address"`
			}
		}
	} `json:"static_resources"`
}

func render(t *testing.T) rendered {
	t.Helper()
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), base)
	if err != nil {
		t.Fatal(err)
	}
	r := rendered{configMaps: map[string]corev1.ConfigMap{}}
	var kinds []string
	for _, object := range objects.Resources() {
		text, err := object.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		r.decode(t, object.GetKind(), text)
		kinds = append(kinds, object.GetKind())
	}
	slices.Sort(kinds)
	if want := []string{"ConfigMap", "ConfigMap", "NetworkPolicy", "Service", "StatefulSet"}; !slices.Equal(kinds, want) {
		t.Fatalf("rendered are %v, want %v", kinds, want)
	}
	parse(t, "tokengate.yaml", &r.tokengate)
	parse(t, "envoy.yaml", &r.envoy)
	if len(r.envoy.StaticResources.Listeners) != 1 {
		t.Fatal("want one listener in envoy.yaml")
	}
	return r
}

func (r *rendered) decode(t *testing.T, kind string, text []byte) {
	t.Helper()
	switch kind {
	case "StatefulSet":
		decodeStrictly(t, text, &r.set)
	case "Service":
		decodeStrictly(t, text, &r.service)
	case "NetworkPolicy":
		decodeStrictly(t, text, &r.policy)
	case "ConfigMap":
		var c corev1.ConfigMap
		decodeStrictly(t, text, &c)
		r.configMaps[c.Name] = c
	default:
		t.Fatalf("no type for the kind %q", kind)
	}
}

// decodeStrictly fails on a field that the type does not have, on one in
// another case, and on one given twice.
func decodeStrictly(t *testing.T, text []byte, into any) {
	t.Helper()
	j, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatalf("%T: %v", into, err)
	}
	strict, err := json.UnmarshalStrict(j, into)
	if err != nil {
		t.Fatalf("%T: %v", into, err)
	}
	for _, err := range strict {
		t.Errorf("%T: %v", into, err)
	}
}

func parse(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(base, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// podContainers are all of the pod's containers by name.
func (r *rendered) podContainers() map[string]corev1.Container {
	all := map[string]corev1.Container{}
	for _, c := range slices.Concat(r.set.Spec.Template.Spec.InitContainers, r.set.Spec.Template.Spec.Containers) {
		all[c.Name] = c
	}
	return all
}

// socketPath is the path of a unix:// address.
func socketPath(t *testing.T, address string) string {
	t.Helper()
	p, ok := strings.CutPrefix(address, "unix://")
	if !ok {
		t.Fatalf("%q is no unix socket", address)
	}
	return p
}

// ports are those on which the three listen, as the two files say.
func (r *rendered) ports(t *testing.T) (metrics, envoy, jira int32) {
	t.Helper()
	port := func(hostPort string) int32 {
		_, text, err := net.SplitHostPort(hostPort)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int32(n)
	}
	upstream, err := url.Parse(r.tokengate.Upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	listener := r.envoy.StaticResources.Listeners[0].Address.SocketAddress
	return port(strings.TrimPrefix(r.tokengate.Listen.Metrics, "tcp://")), listener.PortValue, port(upstream.Host)
}

// argument is what follows a flag in a container's command line.
func argument(t *testing.T, c corev1.Container, flag string) string {
	t.Helper()
	line := slices.Concat(c.Command, c.Args)
	if i := slices.Index(line, flag); i >= 0 && i+1 < len(line) {
		return line[i+1]
	}
	t.Fatalf("%s is started without %s: %q", c.Name, flag, line)
	return ""
}

func environment(c corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}
