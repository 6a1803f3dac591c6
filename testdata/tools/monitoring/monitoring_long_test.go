//go:build long

// Package monitoring_test checks k8s/monitoring with the code of Prometheus, its
// operator and Grafana, which no other module should list.
package monitoring_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	corev1 "k8s.io/api/core/v1"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

const (
	manifests = "../../../k8s/monitoring"
	series    = "../../../cmd/tokengate/testdata/metrics.txt" // a test of cmd/tokengate compares it with a running server
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manifests, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// decode reads a file of k8s/monitoring strictly.
func decode[T any](t *testing.T, name string) (object T) {
	t.Helper()
	if err := yaml.UnmarshalStrict(read(t, name), &object); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return object
}

// ruleFile returns the rules in the format of Prometheus's own rule files.
func ruleFile(t *testing.T) []byte {
	t.Helper()
	text, err := yaml.Marshal(decode[monitoringv1.PrometheusRule](t, "prometheusrule.yaml").Spec)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Prometheus accepts the rules, and each says how bad it is and what it means. README.md
// explains each one.
func TestRules(t *testing.T) {
	groups, errs := rulefmt.Parse(ruleFile(t), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if errs != nil {
		t.Fatal(errs)
	}
	severities := map[string]string{}
	for _, rule := range groups.Groups[0].Rules {
		severities[rule.Alert] = rule.Labels["severity"]
		if !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) {
			t.Errorf("%s has the severity %q", rule.Alert, rule.Labels["severity"])
		}
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" || len(rule.Annotations) != 2 {
			t.Errorf("%s does not say what is wrong and what to do", rule.Alert)
		}
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| .{10,} \\|$").FindAllSubmatch(read(t, "README.md"), -1) {
		documented[string(m[1])] = string(m[2])
	}
	for alert, severity := range severities {
		if documented[alert] != severity {
			t.Errorf("README.md says that %s is %q, want %s", alert, documented[alert], severity)
		}
	}
	if len(documented) != len(severities) {
		t.Errorf("README.md has %d alerts, want %d", len(documented), len(severities))
	}
}

// The monitor finds the Service and its ports, and the kustomization has every file.
func TestObjects(t *testing.T) {
	service := decode[corev1.Service](t, "service.yaml")
	monitor := decode[monitoringv1.ServiceMonitor](t, "servicemonitor.yaml")
	for name, value := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[name] != value {
			t.Errorf("the monitor looks for %s: %s", name, value)
		}
	}
	var want, got []string
	for _, port := range service.Spec.Ports {
		want = append(want, port.Name)
	}
	for _, endpoint := range monitor.Spec.Endpoints {
		got = append(got, endpoint.Port)
	}
	if !slices.Equal(want, got) {
		t.Errorf("the monitor scrapes the ports %v, the Service has %v", got, want)
	}
	// Prometheus's label job is the Service's name.
	if !strings.Contains(string(read(t, "prometheusrule.yaml")), `up{job="`+service.Name+`"}`) {
		t.Errorf("no rule is about the job %s", service.Name)
	}

	kustomization := decode[kustomize.Kustomization](t, "kustomization.yaml")
	listed := append(kustomization.Resources, "README.md", "kustomization.yaml")
	for _, generated := range kustomization.ConfigMapGenerator {
		for _, file := range generated.FileSources {
			listed = append(listed, file[strings.Index(file, "=")+1:])
		}
	}
	files, err := filepath.Glob(manifests + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.Contains(listed, filepath.Base(file)) {
			t.Errorf("the kustomization does not list %s", filepath.Base(file))
		}
	}
}

// panel is a panel of the dashboard, as far as the tests read it.
type panel struct {
	ID      int
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var d struct{ Panels []panel }
	if err := json.Unmarshal(read(t, "dashboard.json"), &d); err != nil {
		t.Fatal(err)
	}
	return d.Panels
}

// Grafana's types accept the dashboard, and its panels are in 24 columns without overlaps.
func TestDashboard(t *testing.T) {
	cog.NewRuntime().RegisterPanelcfgVariant(stat.VariantConfig())
	cog.NewRuntime().RegisterPanelcfgVariant(timeseries.VariantConfig())
	cog.NewRuntime().RegisterDataqueryVariant(prometheus.VariantConfig())
	//lint:ignore SA1019 Every Grafana imports this format.
	var strict dashboard.Dashboard
	// It returns an empty list of errors, which is not nil.
	if err := strict.UnmarshalJSONStrict(read(t, "dashboard.json")); err != nil && err.Error() != "" {
		t.Error(err)
	}
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range panels(t) {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("the panel %d, %q, has no id of its own, no title or no query", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("%q is over %q or too wide", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// targetLabels are the labels that Prometheus adds to every series.
var targetLabels = []string{"namespace", "pod", "job", "endpoint"}

// Every selector of every query finds a series of tokengate or of Envoy, and
// every grouping is by a label of those.
func TestQueries(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	text, err := os.ReadFile(series)
	if err != nil {
		t.Fatal(err)
	}
	var known []labels.Labels
	for line := range strings.Lines(string(text)) {
		metric, err := p.ParseMetric(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, metric)
	}

	queries := map[string]string{}
	for _, group := range decode[monitoringv1.PrometheusRule](t, "prometheusrule.yaml").Spec.Groups {
		for _, rule := range group.Rules {
			queries[rule.Alert] = rule.Expr.String()
		}
	}
	for _, panel := range panels(t) {
		for _, target := range panel.Targets {
			if !strings.Contains(target.Expr, `{namespace=~"$namespace"`) {
				t.Errorf("%q shows other namespaces", panel.Title)
			}
			queries[panel.Title+": "+target.Expr] = strings.NewReplacer("$__rate_interval", "2m", "$__range", "6h").Replace(target.Expr)
		}
	}
	for name, query := range queries {
		expression, err := p.ParseExpr(query)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
			switch n := node.(type) {
			case *parser.VectorSelector:
				if n.Name != "up" && !slices.ContainsFunc(known, func(metric labels.Labels) bool { return matches(n, metric) }) {
					t.Errorf("%s: no series is %s", name, n)
				}
			case *parser.AggregateExpr:
				for _, label := range n.Grouping {
					if !slices.Contains(targetLabels, label) && !groups(n, label, known) {
						t.Errorf("%s: no series has the label %s", name, label)
					}
				}
			}
			return nil
		})
	}
}

// matches reports whether a selector finds a series.
func matches(selector *parser.VectorSelector, metric labels.Labels) bool {
	for _, m := range selector.LabelMatchers {
		if !slices.Contains(targetLabels, m.Name) && !m.Matches(metric.Get(m.Name)) {
			return false
		}
	}
	return true
}

// groups reports whether the series that an aggregation is over have a label.
func groups(aggregation *parser.AggregateExpr, label string, known []labels.Labels) bool {
	has := true
	parser.Inspect(aggregation.Expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			has = has && slices.ContainsFunc(known, func(metric labels.Labels) bool { return matches(selector, metric) && metric.Has(label) })
		}
		return nil
	})
	return has
}
