package tools_test

import (
	"cmp"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
)

// choices are alternatives that are combined with each other.
var choices = [][]string{
	{
		"etcd: {install: true}",
		"{etcd: {install: true, tlsSecretName: etcd-members}, store: {etcd: {tlsSecretName: etcd-client}}, replicasTLSSecretName: mine}",
		"store: {etcd: {endpoints: ['https://etcd.example.com:2379']}}",
		"store: {etcd: {endpoints: ['https://etcd.example.com:2379'], tlsSecretName: etcd-client, user: me, passwordSecretName: etcd-password}}",
		"store: {badger: {enabled: true}}",
	},
	{
		"{}",
		"{service: {type: NodePort}, networkPolicy: {clients: [{ipBlock: {cidr: 10.0.0.0/8}}]}}",
		"{service: {type: LoadBalancer}, networkPolicy: {clients: [{ipBlock: {cidr: 10.0.0.0/8}}]}}",
	},
	{"{}", "service: {tlsSecretName: jira-tls}"},
	{"{}", "ingress: {enabled: true, tlsSecretName: jira-tls}"},
	{"{}", "autoscaling: {enabled: true}"},
	{"{}", "{networkPolicy: {enabled: false}, jira: {networkPolicy: false}}"},
}

// combinations are the values of all combinations that make sense, and of the others,
// followed by what the chart must say about them.
func combinations() (valid, refused map[string][]string) {
	all := [][]string{nil}
	for _, alternatives := range choices {
		var longer [][]string
		for _, values := range all {
			for _, v := range alternatives {
				longer = append(longer, slices.Concat(values, []string{v}))
			}
		}
		all = longer
	}
	valid, refused = map[string][]string{}, map[string][]string{}
	for _, values := range all {
		store, service, ingress, autoscaling := values[0], values[1], values[3], values[4]
		name := "chart with " + strings.Join(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "{}" }), ", ")
		switch {
		case strings.Contains(store, "badger") && autoscaling != "{}":
			refused[name] = append(values, "use etcd, or neither set replicas nor enable autoscaling")
		case service != "{}" && ingress != "{}":
			refused[name] = append(values, "set config.clientAddress, such as {trustedHops: 1}")
		default:
			valid[name] = values
		}
	}
	return valid, refused
}

// The chart refuses what makes no sense, and says what to do. All that it does not refuse is
// among what the other tests look at.
func TestChartRefusesCombinations(t *testing.T) {
	_, refused := combinations()
	for name, values := range refused {
		last := len(values) - 1
		if _, err := renderChart(append([]string{kustomizeValues}, values[:last]...)...); err == nil || !strings.Contains(err.Error(), values[last]) {
			t.Errorf("%s: %v; want it to say: %s", name, err, values[last])
		}
	}
}

// What `helm lint` says about the chart.
func TestLint(t *testing.T) {
	values, err := mergeValues(kustomizeValues, everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range lint.RunAll(chartDir, values, "tokengate").Messages {
		if m.Severity > support.InfoSev {
			t.Error(m)
		}
	}
}

// Every port of the pods is open to somebody and no other is, and Services and the Ingress
// lead to ports that are there.
func TestChartPorts(t *testing.T) {
	valid, _ := combinations()
	for name, values := range valid {
		o := deployed(t)[name]
		listens, open, unprotected := map[string][]int32{}, map[string][]int32{}, strings.Contains(strings.Join(values, " "), "{enabled: false}")
		for pod, template := range o.pods {
			for _, c := range containers(template) {
				for _, p := range c.Ports {
					listens[pod] = append(listens[pod], p.ContainerPort)
				}
			}
			slices.Sort(listens[pod])
		}
		for policy, p := range o.policies {
			if policy != "tokengate-jira" {
				open[policy] = slices.Sorted(maps.Keys(opens(t, p)))
			}
		}
		if !unprotected && !maps.EqualFunc(listens, open, slices.Equal) || unprotected && len(o.policies) > 0 {
			t.Errorf("%s: the pods listen on %v, open are %v", name, listens, open)
		}
		ports := map[string]bool{}
		for service, s := range o.services {
			pod := strings.TrimSuffix(service, "-replicas")
			for _, p := range s.Spec.Ports {
				ports[service+" "+p.Name] = true
				if target := cmp.Or(p.TargetPort.IntVal, p.Port); !slices.Contains(listens[pod], target) {
					t.Errorf("%s: nothing listens where the Service %s sends to: %v", name, service, p)
				}
			}
		}
		for _, i := range o.ingresses {
			if b := i.Spec.Rules[0].HTTP.Paths[0].Backend.Service; !ports[b.Name+" "+b.Port.Name] || ports["tokengate https"] && b.Port.Name != "https" {
				t.Errorf("%s: the Ingress sends to %+v", name, b)
			}
		}
		for _, a := range o.scalers {
			d, ok := o.deployments[a.Spec.ScaleTargetRef.Name]
			if !ok || d.Spec.Replicas != nil {
				t.Errorf("%s: what scales %s, and an upgrade, undo each other's count", name, a.Spec.ScaleTargetRef.Name)
			}
		}
	}
}

// tokengate takes every configuration that the chart writes, and the init container's
// command makes one for Envoy from it.
func TestChartStarts(t *testing.T) {
	dir := t.TempDir()
	program, config := filepath.Join(dir, "tokengate"), filepath.Join(dir, "tokengate.yaml")
	build := exec.Command("go", "build", "-o", program, "./cmd/tokengate")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tried := map[string]bool{}
	for name, o := range deployed(t) {
		c, text := containers(o.pods["tokengate"])["envoy-config"], o.configMaps["tokengate"].Data["tokengate.yaml"]
		key := text + strings.Join(c.Command, " ")
		if text == "" || tried[key] {
			continue
		}
		tried[key] = true
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var args []string
		for _, word := range c.Command[1:] {
			if !strings.HasPrefix(word, "--program=") { // which only takes time
				args = append(args, strings.NewReplacer("/etc/tokengate/", dir+"/", "/etc/envoy/", dir+"/").Replace(word))
			}
		}
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %q: %v: %s", name, args, err, out)
		}
	}
	if len(tried) < 10 {
		t.Errorf("only %d configurations", len(tried))
	}
}
