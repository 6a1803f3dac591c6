// Package tools_test holds the tests whose dependencies the program's own
// go.mod should not list.
package tools_test

import (
	"bytes"
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
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// tokengateConfig is what the manifests must agree with. cmd/tokengate starts the whole.
type tokengateConfig struct {
	PublicURL string
	Listen    struct{ Metrics string }
	Upstream  struct{ URL string }
}

// deployed are all the ways in which Envoy and tokengate are deployed, and etcd.
func deployed(t *testing.T) map[string]*objects {
	t.Helper()
	if len(deployedOnce) == 0 {
		for _, dir := range []string{"gateway", "gateway-badger", "etcd", "sidecar"} {
			deployedOnce[dir] = build(t, dir)
		}
		deployedOnce["chart with etcd"] = install(t, everything)
		valid, _ := combinations()
		for name, values := range valid {
			deployedOnce[name] = install(t, values...)
		}
		deployedOnce["chart with badger"] = install(t, "store: {badger: {enabled: true}}")
		deployedOnce["chart with TLS"] = install(t, "etcd: {install: true}", "service: {type: LoadBalancer, tlsSecretName: jira-tls}",
			"networkPolicy: {clients: [{ipBlock: {cidr: 10.0.0.0/8}}]}")
	}
	return deployedOnce
}

var deployedOnce = map[string]*objects{}

// Kustomize ignores unknown fields and files that are not listed, so the sources are
// decoded strictly, too.
func TestSourcesAreStrictAndListed(t *testing.T) {
	for _, dir := range []string{"gateway", "gateway-badger", "etcd", "sidecar"} {
		files, err := filepath.Glob(filepath.Join("../../k8s", dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		var kustomization struct{ Resources []string }
		var resources []string
		o := newObjects()
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			switch name := filepath.Base(file); name {
			case "kustomization.yaml":
				if err := yaml.Unmarshal(text, &kustomization); err != nil {
					t.Fatal(err)
				}
			case "tokengate.yaml":
			default:
				if bytes.Contains(text, []byte("\n---")) {
					t.Errorf("%s holds more than one object", file)
				}
				o.decode(t, text)
				resources = append(resources, name)
			}
		}
		slices.Sort(kustomization.Resources)
		if !slices.Equal(resources, kustomization.Resources) {
			t.Errorf("the kustomization in %s lists %v, the directory holds %v", dir, kustomization.Resources, resources)
		}
	}
}

// Every container that comes with us meets the restricted Pod Security standard, as
// Kubernetes itself judges it, and has no right that it does not need.
func TestSecurity(t *testing.T) {
	for where, o := range deployed(t) {
		for name, pod := range o.pods {
			where := where + " " + name
			if s := pod.Spec; s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken || s.EnableServiceLinks == nil || *s.EnableServiceLinks {
				t.Errorf("%s gets a credential of the cluster's API, or variables for Services", where)
			}
			pod.Spec.Containers = slices.DeleteFunc(slices.Clone(pod.Spec.Containers), func(c corev1.Container) bool { return c.Name == "jira" })
			checkSecurity(t, where, pod)
		}
	}
}

// checkSecurity checks a pod whose containers are all ours.
func checkSecurity(t *testing.T, where string, pod corev1.PodTemplateSpec) {
	t.Helper()
	judge, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range judge.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
		if !result.Allowed {
			t.Errorf("%s: %s: %s", where, result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	if s := pod.Spec.SecurityContext; s == nil || s.FSGroup == nil || *s.FSGroup == 0 {
		t.Errorf("%s cannot read its secrets: no fsGroup", where)
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		s := c.SecurityContext
		if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s: %s can write to its image's files", where, c.Name)
		}
		user, group := pod.Spec.SecurityContext.RunAsUser, pod.Spec.SecurityContext.RunAsGroup
		if s.RunAsUser != nil {
			user, group = s.RunAsUser, s.RunAsGroup
		}
		// One user, because sockets have mode 0600.
		if user == nil || *user != 65532 || group == nil || *group != 65532 {
			t.Errorf("%s: %s is another user", where, c.Name)
		}
		image, digest, _ := strings.Cut(c.Image, "@")
		_, tag, _ := strings.Cut(path.Base(image), ":")
		if digest == "" && (tag == "" || tag == "latest") {
			t.Errorf("%s: %s runs whatever %s is", where, c.Name, c.Image)
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() || !c.Resources.Limits.Cpu().IsZero() {
			t.Errorf("%s: %s has no bound of memory, no request, or is throttled: %v", where, c.Name, c.Resources)
		}
		for _, name := range []string{"GOMEMLIMIT", "GOGC", "GOMAXPROCS"} {
			if environment(c, name) != "" {
				t.Errorf("%s: %s's %s keeps it from following its limit", where, c.Name, name)
			}
		}
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				t.Errorf("%s: %s has a port on the node", where, c.Name)
			}
		}
	}
}

// Only tokengate mounts its admin socket, its secrets and its database; secrets are
// readable by one user and group; sockets do not outlive the pod.
func TestVolumes(t *testing.T) {
	alone := map[string]string{"admin-socket": "tokengate", "tokengate-data": "tokengate", "etcd-client": "tokengate",
		"etcd-password": "tokengate", "secret-jira-directory": "tokengate", "envoy-tls": "envoy"}
	for where, o := range deployed(t) {
		for name, pod := range o.pods {
			mounted := map[string][]string{}
			for container, c := range containers(pod) {
				for _, m := range c.VolumeMounts {
					if m.SubPath != "" || m.SubPathExpr != "" {
						t.Errorf("%s: %s mounts a part of %s: its changes would not be seen", where, container, m.Name)
					}
					mounted[m.Name] = append(mounted[m.Name], container)
					if container == "jira" && m.Name != "jira-home" {
						t.Errorf("%s: Jira mounts %s", where, m.Name)
					}
				}
			}
			for volume, by := range mounted {
				want, ok := alone[volume]
				if volume == "data" {
					want, ok = strings.TrimPrefix(name, "tokengate-"), true
				}
				if ok && !slices.Equal(by, []string{want}) {
					t.Errorf("%s: %s is mounted by %v", where, volume, by)
				}
			}
			defined := map[string]bool{}
			for _, claim := range o.sets[name].Spec.VolumeClaimTemplates {
				defined[claim.Name] = true
			}
			for _, v := range pod.Spec.Volumes {
				defined[v.Name] = true
				socket := slices.Contains([]string{"sockets", "admin-socket", "envoy-admin"}, v.Name)
				switch {
				case v.Secret != nil:
					if v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o400 {
						t.Errorf("%s: everybody can read the files of %s", where, v.Name)
					}
				case v.EmptyDir != nil:
					if v.EmptyDir.SizeLimit.IsZero() || socket != (v.EmptyDir.Medium == corev1.StorageMediumMemory) {
						t.Errorf("%s: %s is unbounded or of the wrong kind", where, v.Name)
					}
				case v.ConfigMap != nil:
					if _, ok := o.configMaps[v.ConfigMap.Name]; !ok {
						t.Errorf("%s: there is no ConfigMap %s under its constant name", where, v.ConfigMap.Name)
					}
				case v.PersistentVolumeClaim == nil || o.claims[v.PersistentVolumeClaim.ClaimName].Name == "":
					t.Errorf("%s: the volume %s is of an unexpected kind", where, v.Name)
				}
			}
			if got, want := slices.Sorted(maps.Keys(mounted)), slices.Sorted(maps.Keys(defined)); !slices.Equal(got, want) {
				t.Errorf("%s: mounted are %v, defined %v", where, got, want)
			}
		}
	}
}

// Envoy's configuration is made first; then tokengate starts before Envoy, Envoy before
// Jira, and they stop in reverse.
func TestOrder(t *testing.T) {
	for where, o := range deployed(t) {
		for name, pod := range o.pods {
			var order []string
			for _, c := range pod.Spec.InitContainers {
				if c.RestartPolicy == nil {
					order = append(order, c.Name+" ends")
					continue
				}
				order = append(order, c.Name)
				if *c.RestartPolicy != corev1.ContainerRestartPolicyAlways || c.StartupProbe == nil {
					t.Errorf("%s: %s is no sidecar that is waited for", where, c.Name)
				}
			}
			for _, c := range pod.Spec.Containers {
				order = append(order, c.Name)
			}
			want := "envoy-config ends, tokengate, envoy"
			switch name {
			case "tokengate-etcd":
				want = "etcd"
			case "jira":
				want += ", jira"
			}
			if got := strings.Join(order, ", "); got != want {
				t.Errorf("%s: the order is %s, want %s", where, got, want)
			}
			if want == "etcd" {
				continue
			}
			drain := containers(pod)["envoy"].Lifecycle.PreStop.Exec.Command
			var seconds int64
			if _, err := fmt.Sscanf(argument(t, corev1.Container{Command: drain}, "--timeout"), "%ds", &seconds); err != nil || *pod.Spec.TerminationGracePeriodSeconds < seconds+30 {
				t.Errorf("%s: the pod is killed before Envoy and tokengate have stopped: %v, %v", where, drain, err)
			}
			if program := argument(t, containers(pod)["envoy-config"], "--program"); program != drain[0] {
				t.Errorf("%s: the hook runs %s, the copy is at %s", where, drain[0], program)
			}
		}
	}
}

// Every probe asks on a port that its container listens on, on an address that
// the kubelet reaches.
func TestProbes(t *testing.T) {
	for where, o := range deployed(t) {
		for name, pod := range o.pods {
			envoyPort := "8000"
			if strings.Contains(strings.Join(containers(pod)["envoy-config"].Command, " "), " --tls-certificate=") {
				envoyPort = "8443"
			}
			for container, c := range containers(pod) {
				want := map[string]string{
					"envoy-config": "nothing, nothing, nothing",
					"tokengate":    "9464/readyz, 9464/readyz, 9464/healthz",
					"envoy":        envoyPort + ", " + envoyPort + ", " + envoyPort,
					"jira":         "nothing, 8080/status, nothing",
					"etcd":         "2381/livez, 2381/readyz, 2381/livez",
				}[container]
				if got := fmt.Sprintf("%s, %s, %s", asks(c.StartupProbe), asks(c.ReadinessProbe), asks(c.LivenessProbe)); got != want {
					t.Errorf("%s %s: %s is probed at %s, want %s", where, name, container, got, want)
				}
			}
			if name == "tokengate-etcd" {
				continue
			}
			var config tokengateConfig
			for _, m := range o.configMaps {
				if err := yaml.Unmarshal([]byte(m.Data["tokengate.yaml"]), &config); err != nil {
					t.Fatal(err)
				}
			}
			if config.Listen.Metrics != "tcp://0.0.0.0:9464" {
				t.Errorf("%s: the kubelet cannot reach %s", where, config.Listen.Metrics)
			}
			if listen := argument(t, containers(pod)["envoy-config"], "--listen"); listen != "0.0.0.0:8000" {
				t.Errorf("%s: Envoy listens on %s", where, listen)
			}
			if jira, ok := containers(pod)["jira"]; ok {
				public, err := url.Parse(config.PublicURL)
				if err != nil {
					t.Fatal(err)
				}
				if host := environment(jira, "ATL_PROXY_NAME"); host != public.Hostname() {
					t.Errorf("Jira is %q, tokengate's publicURL %s", host, config.PublicURL)
				}
			}
		}
	}
}

// Each object selects the pods that it is about, and nothing but Envoy is a Service.
func TestSelectors(t *testing.T) {
	for where, o := range deployed(t) {
		labels := map[string]map[string]string{}
		for name, pod := range o.pods {
			labels[name] = pod.Labels
		}
		selects := func(what, name string, selector map[string]string) {
			pod := strings.TrimSuffix(name, "-replicas")
			if _, ok := labels[pod]; !ok {
				pod = slices.Collect(maps.Keys(labels))[0]
			}
			if len(selector) == 0 || !maps.Equal(selector, labels[pod]) {
				t.Errorf("%s: the %s %s selects %v, the pod has %v", where, what, name, selector, labels[pod])
			}
		}
		for name, d := range o.deployments {
			selects("Deployment", name, d.Spec.Selector.MatchLabels)
		}
		for name, s := range o.sets {
			selects("StatefulSet", name, s.Spec.Selector.MatchLabels)
			if _, ok := o.services[s.Spec.ServiceName]; !ok {
				t.Errorf("%s: there is no Service %s", where, s.Spec.ServiceName)
			}
		}
		for name, b := range o.budgets {
			selects("PodDisruptionBudget", name, b.Spec.Selector.MatchLabels)
			if b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.IntValue() != 1 {
				t.Errorf("%s: %s lets several pods go at once", where, name)
			}
		}
		for name, p := range o.policies {
			if name != "tokengate-jira" {
				selects("NetworkPolicy", name, p.Spec.PodSelector.MatchLabels)
			}
		}
		for name, s := range o.services {
			selects("Service", name, s.Spec.Selector)
			for _, p := range s.Spec.Ports {
				want := map[int32]int32{80: 8000, 443: 8443, 2379: 0, 2380: 0, 9001: 0, 9002: 0}
				inside := s.Spec.Type == corev1.ServiceTypeClusterIP || s.Spec.ClusterIP == "None"
				if target, ok := want[p.Port]; !ok || p.TargetPort.IntVal != target || !inside && name != "tokengate" {
					t.Errorf("%s: the Service %s opens %+v", where, name, p)
				}
			}
		}
	}
}

// What can be reached from where.
func TestNetworkPolicies(t *testing.T) {
	gateway := map[int32]string{8000: "namespace ingress", 9464: "namespace monitoring", 9465: "namespace monitoring"}
	jira := map[int32]string{8080: "namespace tokengate pods tokengate", 40001: "pods jira", 40011: "pods jira"}
	etcd := map[int32]string{2379: "pods tokengate", 2380: "pods tokengate-etcd", 2381: "namespace monitoring"}
	sidecar := maps.Clone(gateway)
	sidecar[40001], sidecar[40011] = "pods jira", "pods jira"
	replicas := maps.Clone(gateway)
	replicas[9001], replicas[9002] = "pods tokengate", "pods tokengate"
	withTLS := maps.Clone(replicas)
	withTLS[8000], withTLS[8443] = "10.0.0.0/8", "10.0.0.0/8"
	for where, want := range map[string]map[string]map[int32]string{
		"gateway":           {"tokengate": replicas, "tokengate-jira": jira},
		"gateway-badger":    {"tokengate": gateway, "tokengate-jira": jira},
		"etcd":              {"tokengate-etcd": etcd},
		"sidecar":           {"jira": sidecar},
		"chart with etcd":   {"tokengate": replicas, "tokengate-jira": jira, "tokengate-etcd": etcd},
		"chart with badger": {"tokengate": gateway, "tokengate-jira": jira},
		"chart with TLS":    {"tokengate": withTLS, "tokengate-jira": jira, "tokengate-etcd": etcd},
	} {
		got := map[string]map[int32]string{}
		o := deployed(t)[where]
		for name, p := range o.policies {
			got[name] = opens(t, p)
		}
		if !maps.EqualFunc(got, want, maps.Equal[map[int32]string, map[int32]string]) {
			t.Errorf("%s opens\n%v, want\n%v", where, got, want)
		}
	}
}

// How many there are, and how they are replaced.
func TestReplicas(t *testing.T) {
	for where, want := range map[string]string{
		"gateway": "3 RollingUpdate", "gateway-badger": "1 Recreate", "chart with badger": "1 Recreate", "chart with etcd": "autoscaled RollingUpdate",
	} {
		o := deployed(t)[where]
		d := o.deployments["tokengate"]
		replicas := "autoscaled"
		if d.Spec.Replicas != nil {
			replicas = fmt.Sprint(*d.Spec.Replicas)
		} else if len(o.scalers) != 1 {
			t.Errorf("%s: nobody says how many", where)
		}
		if got := fmt.Sprintf("%s %s", replicas, d.Spec.Strategy.Type); got != want {
			t.Errorf("%s: %s, want %s", where, got, want)
		}
		if r := d.Spec.Strategy.RollingUpdate; r != nil {
			if r.MaxUnavailable.IntValue() != 0 || r.MaxSurge.IntValue() != 1 || len(d.Spec.Template.Spec.TopologySpreadConstraints) == 0 || len(o.budgets) == 0 {
				t.Errorf("%s: a rolling update interrupts, or all pods may be on one node or go at once", where)
			}
		} else if !o.services["tokengate"].Spec.PublishNotReadyAddresses {
			t.Errorf("%s: browsers lose Jira while tokengate restarts", where)
		}
	}
	for _, dir := range []string{"sidecar", "etcd"} {
		for name, s := range deployed(t)[dir].sets {
			if want := map[string]int32{"jira": 1, "tokengate-etcd": 3}[name]; *s.Spec.Replicas != want {
				t.Errorf("%s: %d replicas, want %d", name, *s.Spec.Replicas, want)
			}
		}
	}
}
