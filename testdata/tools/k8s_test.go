// Package tools_test holds the tests whose dependencies the program's own
// go.mod should not list.
package tools_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// Kustomize ignores unknown fields and files that are not listed, so the sources are
// decoded strictly, too.
func TestSourcesAreStrictAndListed(t *testing.T) {
	var kustomization struct{ Resources []string }
	parse(t, "kustomization.yaml", &kustomization)
	files, err := filepath.Glob(filepath.Join(base, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var resources []string
	r := rendered{configMaps: map[string]corev1.ConfigMap{}}
	for _, file := range files {
		name := filepath.Base(file)
		if slices.Contains([]string{"kustomization.yaml", "tokengate.yaml", "envoy.yaml"}, name) {
			continue
		}
		resources = append(resources, name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var object struct{ Kind string }
		if err := yaml.Unmarshal(text, &object); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("\n---")) {
			t.Errorf("%s holds more than one object", name)
		}
		r.decode(t, object.Kind, text)
	}
	slices.Sort(kustomization.Resources)
	if !slices.Equal(resources, kustomization.Resources) {
		t.Errorf("the kustomization lists %v, the directory holds %v", kustomization.Resources, resources)
	}
}

// Nothing but Envoy's port is a Service, and nothing but that and the metrics
// can be connected to from another pod.
func TestOnlyEnvoyIsExposed(t *testing.T) {
	r := render(t)
	metrics, envoy, jira := r.ports(t)
	pod := r.set.Spec.Template
	if listens := r.envoy.StaticResources.Listeners[0].Address.SocketAddress.Address; listens != "0.0.0.0" {
		t.Errorf("Envoy listens on %s, so no other pod reaches it", listens)
	}

	if r.service.Spec.Type != corev1.ServiceTypeClusterIP {
		t.Errorf("the Service is a %s", r.service.Spec.Type)
	}
	if p := r.service.Spec.Ports; len(p) != 1 || p[0].Port != 80 || p[0].TargetPort.IntVal != envoy {
		t.Errorf("the Service's ports are %+v, want 80 to %d only", p, envoy)
	}
	if r.set.Spec.ServiceName != r.service.Name {
		t.Errorf("serviceName is %q, the Service's %q", r.set.Spec.ServiceName, r.service.Name)
	}
	for name, selector := range map[string]map[string]string{
		"StatefulSet": r.set.Spec.Selector.MatchLabels, "Service": r.service.Spec.Selector, "NetworkPolicy": r.policy.Spec.PodSelector.MatchLabels,
	} {
		if len(selector) == 0 || !maps.Equal(selector, pod.Labels) {
			t.Errorf("the %s selects %v, the pod has %v", name, selector, pod.Labels)
		}
	}

	if len(r.policy.Spec.PodSelector.MatchExpressions) != 0 || !slices.Contains(r.policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
		t.Error("the NetworkPolicy does not hold for all that comes into the pod")
	}
	open := map[int32]string{}
	for _, rule := range r.policy.Spec.Ingress {
		if len(rule.Ports) != 1 || rule.Ports[0].Port == nil || rule.Ports[0].EndPort != nil || len(rule.From) != 1 {
			t.Fatalf("a rule is not for one port and from one place: %+v", rule)
		}
		from := rule.From[0]
		if from.IPBlock != nil || from.NamespaceSelector == nil || len(from.NamespaceSelector.MatchLabels) == 0 {
			t.Fatalf("a rule is not from one namespace: %+v", from)
		}
		open[rule.Ports[0].Port.IntVal] = from.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
	}
	if want := map[int32]string{envoy: "ingress", metrics: "monitoring"}; !maps.Equal(open, want) {
		t.Errorf("open are %v, want %v", open, want)
	}
	if _, ok := open[jira]; ok {
		t.Error("Jira can be reached around Envoy")
	}

	if s := pod.Spec; s.HostNetwork || s.HostPID || s.HostIPC || s.ShareProcessNamespace != nil && *s.ShareProcessNamespace {
		t.Error("the pod shares the node's or its containers' namespaces")
	}
	for name, c := range r.podContainers() {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				t.Errorf("%s has a port on the node", name)
			}
		}
	}
}

// Every volume is mounted where the configurations say and nowhere else. Only tokengate
// mounts the admin socket and the database.
func TestVolumes(t *testing.T) {
	r := render(t)
	got := map[string][]string{} // volume: where it is mounted
	for name, c := range r.podContainers() {
		for _, m := range c.VolumeMounts {
			if m.SubPath != "" || m.SubPathExpr != "" {
				t.Errorf("%s mounts a part of %s: its changes would not be seen", name, m.Name)
			}
			where := name + " " + m.MountPath
			if m.ReadOnly {
				where += " read-only"
			}
			got[m.Name] = append(got[m.Name], where)
		}
	}
	for _, where := range got {
		slices.Sort(where)
	}
	sockets := path.Dir(socketPath(t, r.tokengate.Listen.GRPC))
	if http := path.Dir(socketPath(t, r.tokengate.Listen.HTTP)); http != sockets {
		t.Errorf("Envoy's sockets are in %s and %s", sockets, http)
	}
	admin := socketPath(t, r.tokengate.Listen.Admin)
	c := r.podContainers()
	want := map[string][]string{
		"sockets":          {"envoy " + sockets + " read-only", "tokengate " + sockets},
		"admin-socket":     {"tokengate " + path.Dir(admin)},
		"tokengate-data":   {"tokengate " + r.tokengate.Store.Badger.Dir},
		"tokengate-config": {"tokengate " + path.Dir(argument(t, c["tokengate"], "--config")) + " read-only"},
		"envoy-config":     {"envoy " + path.Dir(argument(t, c["envoy"], "--config-path")) + " read-only"},
		"envoy-admin":      {"envoy " + path.Dir(r.envoy.Admin.Address.Pipe.Path)},
		"jira-home":        {"jira /var/atlassian/application-data/jira"},
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("mounted are\n%v, want\n%v", got, want)
	}
	if v := environment(c["tokengate"], "TOKENGATE_ADMIN_SOCKET"); v != admin {
		t.Errorf("the commands look for the server at %q, it is at %q", v, admin)
	}

	// What kind of volume each is. Sockets that outlived the pod, or on a disk
	// that is shared, would be a stranger's.
	kinds := map[string]string{}
	for _, v := range r.set.Spec.Template.Spec.Volumes {
		switch {
		case v.EmptyDir != nil:
			kinds[v.Name] = "emptyDir " + string(v.EmptyDir.Medium)
		case v.ConfigMap != nil:
			kinds[v.Name] = "configMap"
			file := map[string]string{"tokengate-config": argument(t, c["tokengate"], "--config"), "envoy-config": argument(t, c["envoy"], "--config-path")}[v.Name]
			text, err := os.ReadFile(filepath.Join(base, path.Base(file)))
			if err != nil {
				t.Fatal(err)
			}
			if r.configMaps[v.ConfigMap.Name].Data[path.Base(file)] != string(text) {
				t.Errorf("%s does not hold %s", v.ConfigMap.Name, path.Base(file))
			}
		default:
			t.Errorf("the volume %s is of an unexpected kind", v.Name)
		}
	}
	for _, v := range r.set.Spec.VolumeClaimTemplates {
		kinds[v.Name] = "claim"
	}
	if want := map[string]string{
		"sockets": "emptyDir Memory", "admin-socket": "emptyDir Memory", "envoy-admin": "emptyDir Memory",
		"tokengate-config": "configMap", "envoy-config": "configMap", "tokengate-data": "claim", "jira-home": "claim",
	}; !maps.Equal(kinds, want) {
		t.Errorf("the volumes are %v, want %v", kinds, want)
	}
	// A changed tokengate.yaml must reach the running pod under the same name.
	if _, ok := r.configMaps["jira-tokengate"]; !ok {
		t.Error("tokengate's ConfigMap has another name when its content changes: Jira restarts with it")
	}
	if s := r.set.Spec.Template.Spec.SecurityContext; s == nil || s.FSGroup == nil || *s.FSGroup == 0 {
		t.Error("no fsGroup: Envoy cannot connect to tokengate's sockets")
	}
}

// The sidecars have no right that they do not need.
func TestSecurityContexts(t *testing.T) {
	r := render(t)
	pod := r.set.Spec.Template.Spec
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("the pod gets a credential of the cluster's API")
	}
	if s := pod.SecurityContext; s == nil || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("the pod's system calls are not filtered")
	}
	users := map[int64]string{}
	for _, name := range []string{"tokengate", "envoy"} {
		s := r.podContainers()[name].SecurityContext
		if s == nil {
			t.Errorf("%s has no securityContext", name)
			continue
		}
		if s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 || s.RunAsGroup == nil || *s.RunAsGroup == 0 {
			t.Errorf("%s may run as root", name)
		} else if other, taken := users[*s.RunAsUser]; taken {
			t.Errorf("%s and %s are the same user", name, other)
		} else {
			users[*s.RunAsUser] = name
		}
		if s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s can write to its image's files", name)
		}
		if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Privileged != nil && *s.Privileged {
			t.Errorf("%s can gain privileges", name)
		}
		if s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) != 0 {
			t.Errorf("%s has capabilities", name)
		}
		if s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s's system calls are not filtered", name)
		}
	}
	if s := r.podContainers()["jira"].SecurityContext; s != nil && s.Privileged != nil && *s.Privileged {
		t.Error("jira is privileged")
	}
}

// tokengate starts before Envoy, Envoy before Jira, and they stop in reverse;
// there is one of them.
func TestOrder(t *testing.T) {
	r := render(t)
	if n := r.set.Spec.Replicas; n == nil || *n != 1 {
		t.Error("want one pod: the store is one process's")
	}
	var sidecars, main []string
	for _, c := range r.set.Spec.Template.Spec.InitContainers {
		sidecars = append(sidecars, c.Name)
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			t.Errorf("%s is no sidecar: the pod would wait for its end", c.Name)
		}
		if c.StartupProbe == nil {
			t.Errorf("nothing waits until %s has started", c.Name)
		}
	}
	for _, c := range r.set.Spec.Template.Spec.Containers {
		main = append(main, c.Name)
	}
	if got, want := fmt.Sprint(sidecars, main), "[tokengate envoy] [jira]"; got != want {
		t.Errorf("the order is %s, want %s", got, want)
	}
}

// Every probe asks on a port that its container listens on, on an address that
// the kubelet reaches.
func TestProbes(t *testing.T) {
	r := render(t)
	metrics, envoy, jira := r.ports(t)
	if !strings.HasPrefix(r.tokengate.Listen.Metrics, "tcp://0.0.0.0:") {
		t.Errorf("the kubelet cannot reach %s", r.tokengate.Listen.Metrics)
	}
	asks := func(p *corev1.Probe) string {
		switch {
		case p == nil:
			return "nothing"
		case p.HTTPGet != nil:
			return fmt.Sprintf("%s %s%s", cmp.Or(p.HTTPGet.Host, "pod"), p.HTTPGet.Port.String(), p.HTTPGet.Path)
		case p.TCPSocket != nil:
			return fmt.Sprintf("%s %s", cmp.Or(p.TCPSocket.Host, "pod"), p.TCPSocket.Port.String())
		}
		return "something else"
	}
	for name, want := range map[string][3]string{
		"tokengate": {fmt.Sprintf("pod %d/readyz", metrics), fmt.Sprintf("pod %d/readyz", metrics), fmt.Sprintf("pod %d/healthz", metrics)},
		"envoy":     {fmt.Sprintf("pod %d", envoy), fmt.Sprintf("pod %d", envoy), fmt.Sprintf("pod %d", envoy)},
		"jira":      {"nothing", fmt.Sprintf("pod %d/status", jira), "nothing"},
	} {
		c := r.podContainers()[name]
		if got := [3]string{asks(c.StartupProbe), asks(c.ReadinessProbe), asks(c.LivenessProbe)}; got != want {
			t.Errorf("%s is probed at %q, want %q", name, got, want)
		}
	}
}

// Images are of a version, memory is bounded, and both files say the same host.
func TestContainers(t *testing.T) {
	r := render(t)
	for name, c := range r.podContainers() {
		image, digest, _ := strings.Cut(c.Image, "@")
		_, tag, _ := strings.Cut(path.Base(image), ":")
		if digest == "" && (tag == "" || tag == "latest") {
			t.Errorf("%s runs whatever %s is", name, c.Image)
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			t.Errorf("%s has no bound of memory or no request: %v", name, c.Resources)
		}
	}
	// Set here, they would keep tokengate from following the container's limit.
	for _, name := range []string{"GOMEMLIMIT", "GOGC", "GOMAXPROCS"} {
		for _, e := range r.podContainers()["tokengate"].Env {
			if e.Name == name {
				t.Errorf("tokengate's %s is set to %q", name, e.Value)
			}
		}
	}
	public, err := url.Parse(r.tokengate.PublicURL)
	if err != nil {
		t.Fatal(err)
	}
	if host := environment(r.podContainers()["jira"], "ATL_PROXY_NAME"); host != public.Hostname() {
		t.Errorf("Jira is %q, tokengate's publicURL %s", host, r.tokengate.PublicURL)
	}
}
