package tools_test

import (
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const atlassianDir = "../../k8s/atlassian"

// atlassian returns what a chart of Atlassian's shape renders in a release and a namespace
// of the application's name, with files of values on top of those of somebody who uses the
// chart's own Ingress.
func atlassian(t *testing.T, application string, files ...string) *objects {
	t.Helper()
	loaded, err := loader.Load("testdata/atlassian")
	if err != nil {
		t.Fatal(err)
	}
	loaded.Metadata.Name = application
	values := []string{"{ingress: {create: true, host: old.example.com}, replicaCount: 2, " + application + ": {service: {type: LoadBalancer}}}"}
	for _, file := range files {
		values = append(values, readValues(t, file))
	}
	rendered, err := render(loaded, application, values...)
	if err != nil {
		t.Fatal(err)
	}
	o := newObjects()
	for _, text := range rendered {
		o.decode(t, []byte(text))
	}
	return o
}

func readValues(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(atlassianDir, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// In both topologies the chart has no way in: no Ingress, and no Service for others than
// the cluster. The application knows its public name all the same.
func TestAtlassianHasNoWayAround(t *testing.T) {
	if o := atlassian(t, "jira"); len(o.ingresses) != 1 || o.services["jira"].Spec.Type != corev1.ServiceTypeLoadBalancer {
		t.Fatal("without our values the chart has no way in: the test proves nothing")
	}
	for _, application := range []string{"jira", "confluence", "bitbucket"} {
		for _, more := range [][]string{nil, {"sidecar-values.yaml"}} {
			o := atlassian(t, application, append([]string{application + "-values.yaml"}, more...)...)
			if want := []string{"Service/" + application, "StatefulSet/" + application}; !slices.Equal(o.names, want) {
				t.Errorf("%s: the chart has %v, want %v", application, o.names, want)
			}
			if s := o.services[application].Spec; s.Type != corev1.ServiceTypeClusterIP {
				t.Errorf("%s: the chart's Service is a %s", application, s.Type)
			}
			c := containers(o.pods[application])[application]
			if host := environment(c, "ATL_PROXY_NAME"); host != application+".example.com" || environment(c, "ATL_TOMCAT_SCHEME") != "https" {
				t.Errorf("%s believes that its name is %q", application, host)
			}
		}
	}
}

// For the gateway the pod stays as it is. Our chart leads to its Service, and closes its
// port to all others.
func TestAtlassianGateway(t *testing.T) {
	jira := atlassian(t, "jira", "jira-values.yaml")
	pod := jira.pods["jira"]
	if names := slices.Sorted(maps.Keys(containers(pod))); !slices.Equal(names, []string{"jira", "permissions"}) {
		t.Errorf("the pod has the containers %v", names)
	}
	gateway := install(t, readValues(t, "gateway-values.yaml"))
	var config tokengateConfig
	if err := yaml.Unmarshal([]byte(gateway.configMaps["tokengate"].Data["tokengate.yaml"]), &config); err != nil {
		t.Fatal(err)
	}
	if service := jira.services["jira"].Spec.Ports[0]; config.Upstream.URL != "http://jira.jira.svc:80" || service.Port != 80 {
		t.Errorf("the upstream is %s, Jira's Service has the port %d", config.Upstream.URL, service.Port)
	}
	closed := gateway.policies["tokengate-jira"]
	if selector := closed.Spec.PodSelector.MatchLabels; closed.Namespace != "jira" || !maps.Equal(selector, pod.Labels) {
		t.Errorf("the policy is for pods %v in %s, Jira's are %v", selector, closed.Namespace, pod.Labels)
	}
	if got := opens(t, closed)[containers(pod)["jira"].Ports[0].ContainerPort]; got != "namespace tokengate pods tokengate" {
		t.Errorf("Jira's port is open to %q", got)
	}
	checkIngress(t, gateway, "tokengate", environment(containers(pod)["jira"], "ATL_PROXY_NAME"), config.PublicURL)
}

// In the sidecar topology, Envoy and tokengate are in the pod as in k8s/sidecar.
func TestAtlassianSidecar(t *testing.T) {
	own := build(t, "sidecar").pods["jira"]
	beside := build(t, "atlassian/sidecar")
	for application, port := range map[string]int32{"jira": 8080, "confluence": 8090, "bitbucket": 7990} {
		set := atlassian(t, application, application+"-values.yaml", "sidecar-values.yaml").sets[application]
		pod := set.Spec.Template
		if *set.Spec.Replicas != 1 {
			t.Errorf("%s: %d pods open one database", application, *set.Spec.Replicas)
		}
		var names []string
		for _, c := range pod.Spec.InitContainers {
			names = append(names, c.Name)
		}
		if want := "envoy-config tokengate envoy permissions"; strings.Join(names, " ") != want {
			t.Fatalf("%s: the containers begin in the order %v, want %s", application, names, want)
		}

		ours := pod
		ours.Spec.InitContainers, ours.Spec.Containers = pod.Spec.InitContainers[:3], nil
		checkSecurity(t, application, ours)
		for n, want := range own.Spec.InitContainers {
			if got := inOwnPod(t, ours.Spec.InitContainers[n]); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s is\n%+v\nin k8s/sidecar it is\n%+v", application, want.Name, got, want)
			}
		}

		volumes := map[string]corev1.Volume{}
		for _, v := range pod.Spec.Volumes {
			volumes[v.Name] = v
		}
		for _, v := range own.Spec.Volumes {
			if !reflect.DeepEqual(volumes[v.Name], v) {
				t.Errorf("%s: the volume %s is %+v, in k8s/sidecar %+v", application, v.Name, volumes[v.Name], v)
			}
		}
		if claim := volumes["tokengate-data"].PersistentVolumeClaim; claim == nil || beside.claims[claim.ClaimName].Name == "" {
			t.Errorf("%s: there is no claim for the tokens", application)
		}
		if v := volumes["no-service-account-token"]; v.EmptyDir == nil {
			t.Errorf("%s: there is something in place of the service account token: %+v", application, v)
		}
		others := pod
		others.Spec.InitContainers = pod.Spec.InitContainers[3:]
		ports := map[string]int32{}
		for _, c := range containers(pod) {
			for _, p := range c.Ports {
				if _, twice := ports[p.Name]; twice || slices.Contains(slices.Collect(maps.Values(ports)), p.ContainerPort) {
					t.Errorf("%s: the port %s, %d exists twice", application, p.Name, p.ContainerPort)
				}
				ports[p.Name] = p.ContainerPort
			}
		}
		if want := (map[string]int32{"http": port, "envoy": 8000, "envoy-metrics": 9465, "metrics": 9464}); !maps.Equal(ports, want) {
			t.Errorf("%s: the ports are %v, want %v", application, ports, want)
		}
		for name, c := range containers(others) {
			for _, m := range c.VolumeMounts {
				if m.Name != "local-home" && m.Name != "shared-home" {
					t.Errorf("%s: %s mounts %s", application, name, m.Name)
				}
			}
		}
		if *pod.Spec.TerminationGracePeriodSeconds < 150 {
			t.Errorf("%s is killed before Envoy and tokengate have stopped", application)
		}
	}
}

// inOwnPod returns a container as it is in k8s/sidecar, whose pod has no service account token, and
// where the name http is Envoy's.
func inOwnPod(t *testing.T, c corev1.Container) corev1.Container {
	t.Helper()
	c.VolumeMounts = slices.Clone(c.VolumeMounts)
	before := len(c.VolumeMounts)
	c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.Name == "no-service-account-token" && m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount"
	})
	if len(c.VolumeMounts) != before-1 {
		t.Errorf("%s gets a credential of the cluster's API", c.Name)
	}
	c.Ports = slices.Clone(c.Ports)
	for n := range c.Ports {
		if c.Ports[n].Name == "envoy" {
			c.Ports[n].Name = "http"
		}
	}
	return c
}

// Beside the chart in the sidecar topology are our Service and Ingress to Envoy, and a policy that
// closes Jira's own port.
func TestAtlassianSidecarObjects(t *testing.T) {
	jira := atlassian(t, "jira", "jira-values.yaml", "sidecar-values.yaml")
	beside := build(t, "atlassian/sidecar")
	want := []string{"ConfigMap/jira-tokengate", "Ingress/jira-tokengate", "NetworkPolicy/jira", "PersistentVolumeClaim/jira-tokengate", "Service/jira-tokengate"}
	if !slices.Equal(beside.names, want) {
		t.Errorf("beside the chart are %v, want %v", beside.names, want)
	}
	if own := build(t, "sidecar"); !reflect.DeepEqual(beside.configMaps, own.configMaps) || !reflect.DeepEqual(beside.policies, own.policies) {
		t.Error("the configuration or the policy is not that of k8s/sidecar")
	}
	pod := jira.pods["jira"]
	for what, selector := range map[string]map[string]string{
		"Service": beside.services["jira-tokengate"].Spec.Selector, "NetworkPolicy": beside.policies["jira"].Spec.PodSelector.MatchLabels,
	} {
		for label, value := range selector {
			if pod.Labels[label] != value || len(selector) == 0 {
				t.Errorf("the %s selects %v, the pod has %v", what, selector, pod.Labels)
			}
		}
	}
	if target := beside.services["jira-tokengate"].Spec.Ports[0].TargetPort.IntVal; target != containers(pod)["envoy"].Ports[0].ContainerPort {
		t.Errorf("the Service leads to %d", target)
	}
	var config tokengateConfig
	if err := yaml.Unmarshal([]byte(beside.configMaps["jira-tokengate"].Data["tokengate.yaml"]), &config); err != nil {
		t.Fatal(err)
	}
	if config.Upstream.URL != "http://127.0.0.1:8080" || containers(pod)["jira"].Ports[0].ContainerPort != 8080 {
		t.Errorf("the upstream is %s, Jira listens on %+v", config.Upstream.URL, containers(pod)["jira"].Ports)
	}
	if by, open := opens(t, beside.policies["jira"])[8080]; open {
		t.Errorf("Jira's port is open to %s", by)
	}
	checkIngress(t, beside, "jira-tokengate", environment(containers(pod)["jira"], "ATL_PROXY_NAME"), config.PublicURL)
}

// checkIngress checks that one Ingress sends all of a host to a Service, and takes attachments.
func checkIngress(t *testing.T, o *objects, service, host, publicURL string) {
	t.Helper()
	if public, err := url.Parse(publicURL); err != nil || public.Hostname() != host {
		t.Errorf("Jira is %s, tokengate's publicURL %s", host, publicURL)
	}
	ingress := o.ingresses[service]
	if len(o.ingresses) != 1 || len(ingress.Spec.Rules) != 1 || len(ingress.Spec.TLS) != 1 {
		t.Fatalf("the Ingress is %+v", o.ingresses)
	}
	rule := ingress.Spec.Rules[0]
	if rule.Host != host || !slices.Equal(ingress.Spec.TLS[0].Hosts, []string{host}) || len(rule.HTTP.Paths) != 1 {
		t.Errorf("the Ingress is for %+v, want %s", ingress.Spec, host)
	}
	path := rule.HTTP.Paths[0]
	if to := path.Backend.Service; path.Path != "/" || to.Name != service || to.Port.Name != o.services[service].Spec.Ports[0].Name {
		t.Errorf("the Ingress sends %s to %+v", path.Path, to)
	}
	if size := ingress.Annotations["nginx.ingress.kubernetes.io/proxy-body-size"]; size != "250m" {
		t.Errorf("attachments are limited to %q", size)
	}
}

// The commands in the README name files that exist.
func TestAtlassianReadme(t *testing.T) {
	named := regexp.MustCompile(` (k8s/[a-z./-]+)`).FindAllStringSubmatch(readValues(t, "README.md"), -1)
	if len(named) < 6 {
		t.Fatalf("the commands name only %v", named)
	}
	for _, m := range named {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Error(err)
		}
	}
}
