package tools_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// objects are Kubernetes objects by kind and name.
type objects struct {
	pods        map[string]corev1.PodTemplateSpec // of Deployments and StatefulSets
	deployments map[string]appsv1.Deployment
	sets        map[string]appsv1.StatefulSet
	services    map[string]corev1.Service
	policies    map[string]networkingv1.NetworkPolicy
	budgets     map[string]policyv1.PodDisruptionBudget
	scalers     map[string]autoscalingv2.HorizontalPodAutoscaler
	ingresses   map[string]networkingv1.Ingress
	claims      map[string]corev1.PersistentVolumeClaim
	configMaps  map[string]corev1.ConfigMap
	secrets     map[string]corev1.Secret
	names       []string // kind/name, sorted
}

func newObjects() *objects {
	return &objects{
		map[string]corev1.PodTemplateSpec{}, map[string]appsv1.Deployment{}, map[string]appsv1.StatefulSet{},
		map[string]corev1.Service{}, map[string]networkingv1.NetworkPolicy{}, map[string]policyv1.PodDisruptionBudget{},
		map[string]autoscalingv2.HorizontalPodAutoscaler{}, map[string]networkingv1.Ingress{},
		map[string]corev1.PersistentVolumeClaim{}, map[string]corev1.ConfigMap{}, map[string]corev1.Secret{}, nil,
	}
}

// build returns what `kubectl apply -k` would send.
func build(t *testing.T, dir string) *objects {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("../../k8s", dir))
	if err != nil {
		t.Fatal(err)
	}
	o := newObjects()
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		o.decode(t, text)
	}
	return o
}

// install returns what `helm install` would send.
func install(t *testing.T, values ...string) *objects {
	t.Helper()
	files, err := renderChart(append([]string{kustomizeValues}, values...)...)
	if err != nil {
		t.Fatal(err)
	}
	o := newObjects()
	for name, text := range files {
		if name == "NOTES.txt" {
			continue
		}
		for document := range strings.SplitSeq("\n"+text, "\n---\n") {
			if strings.TrimSpace(document) != "" {
				o.decode(t, []byte(document))
			}
		}
	}
	return o
}

func (o *objects) decode(t *testing.T, text []byte) {
	t.Helper()
	var head struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
	}
	if err := yaml.Unmarshal(text, &head); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	name := head.Metadata.Name
	o.names = append(o.names, head.Kind+"/"+name)
	slices.Sort(o.names)
	switch head.APIVersion + " " + head.Kind {
	case "apps/v1 Deployment":
		decodeInto(t, text, o.deployments, name)
		o.pods[name] = o.deployments[name].Spec.Template
	case "apps/v1 StatefulSet":
		decodeInto(t, text, o.sets, name)
		o.pods[name] = o.sets[name].Spec.Template
	case "v1 Service":
		decodeInto(t, text, o.services, name)
	case "networking.k8s.io/v1 NetworkPolicy":
		decodeInto(t, text, o.policies, name)
	case "policy/v1 PodDisruptionBudget":
		decodeInto(t, text, o.budgets, name)
	case "autoscaling/v2 HorizontalPodAutoscaler":
		decodeInto(t, text, o.scalers, name)
	case "networking.k8s.io/v1 Ingress":
		decodeInto(t, text, o.ingresses, name)
	case "v1 PersistentVolumeClaim":
		decodeInto(t, text, o.claims, name)
	case "v1 ConfigMap":
		decodeInto(t, text, o.configMaps, name)
	case "v1 Secret":
		decodeInto(t, text, o.secrets, name)
	default:
		t.Fatalf("no type for %s %s", head.APIVersion, head.Kind)
	}
}

func decodeInto[T any](t *testing.T, text []byte, into map[string]T, name string) {
	t.Helper()
	if _, twice := into[name]; twice {
		t.Errorf("%T: %s exists twice", into, name)
	}
	var object T
	decodeStrictly(t, text, &object)
	into[name] = object
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

// containers are all of a pod's containers by name.
func containers(pod corev1.PodTemplateSpec) map[string]corev1.Container {
	all := map[string]corev1.Container{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		all[c.Name] = c
	}
	return all
}

// argument is the value of a flag in a container's command line.
func argument(t *testing.T, c corev1.Container, flag string) string {
	t.Helper()
	line := slices.Concat(c.Command, c.Args)
	for i, word := range line {
		if value, ok := strings.CutPrefix(word, flag+"="); ok {
			return value
		}
		if word == flag && i+1 < len(line) {
			return line[i+1]
		}
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

// opens says what a NetworkPolicy opens: for each port, who may connect.
func opens(t *testing.T, p networkingv1.NetworkPolicy) map[int32]string {
	t.Helper()
	if !slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}) || len(p.Spec.PodSelector.MatchLabels) == 0 {
		t.Errorf("%s does not hold for all that comes into its pods: %+v", p.Name, p.Spec)
	}
	open := map[int32]string{}
	for _, rule := range p.Spec.Ingress {
		if len(rule.From) == 0 || len(rule.Ports) == 0 {
			t.Errorf("a rule of %s is open to everybody or for every port", p.Name)
		}
		var from []string
		for _, peer := range rule.From {
			var text []string
			if s := peer.NamespaceSelector; s != nil {
				text = append(text, "namespace "+s.MatchLabels["kubernetes.io/metadata.name"])
			}
			if s := peer.PodSelector; s != nil {
				text = append(text, "pods "+s.MatchLabels["app.kubernetes.io/name"])
			}
			if b := peer.IPBlock; b != nil {
				text = append(text, b.CIDR)
			}
			from = append(from, strings.Join(text, " "))
		}
		for _, port := range rule.Ports {
			if port.Port == nil || port.EndPort != nil {
				t.Fatalf("a rule of %s is not for one port: %+v", p.Name, port)
			}
			open[port.Port.IntVal] += strings.Join(from, ", ")
		}
	}
	return open
}

// asks says what a probe asks for.
func asks(p *corev1.Probe) string {
	switch {
	case p == nil:
		return "nothing"
	case p.HTTPGet != nil && p.HTTPGet.Host == "":
		return fmt.Sprintf("%s%s", p.HTTPGet.Port.String(), p.HTTPGet.Path)
	case p.TCPSocket != nil && p.TCPSocket.Host == "":
		return p.TCPSocket.Port.String()
	}
	return "something else"
}
