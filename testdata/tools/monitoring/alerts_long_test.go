//go:build long

package monitoring_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

// alertTests is promtool's format of unit tests, as far as it is used here, without
// rule_files.
type alertTests struct {
	EvaluationInterval model.Duration `json:"evaluation_interval"`
	Tests              []struct {
		Name           string         `json:"name"`
		Interval       model.Duration `json:"interval"`
		InputSeries    []inputSeries  `json:"input_series"`
		AlertRuleTests []struct {
			EvalTime  model.Duration `json:"eval_time"`
			Alertname string         `json:"alertname"`
			ExpAlerts []struct {
				ExpLabels      map[string]string `json:"exp_labels"`
				ExpAnnotations map[string]string `json:"exp_annotations"`
			} `json:"exp_alerts"`
		} `json:"alert_rule_test"`
	} `json:"tests"`
}

type inputSeries struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

// Every alert fires when it should, for whom it should, and not otherwise.
func TestAlerts(t *testing.T) {
	var file alertTests
	text, err := os.ReadFile("testdata/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	ruleName := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(ruleName, ruleFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	fired, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		t.Run(test.Name, func(t *testing.T) {
			for _, at := range test.AlertRuleTests {
				got := firing(t, ruleName, time.Duration(file.EvaluationInterval), time.Duration(at.EvalTime), at.Alertname, test.InputSeries)
				var want []string
				for _, alert := range at.ExpAlerts {
					if alert.ExpLabels == nil {
						alert.ExpLabels = map[string]string{}
					}
					alert.ExpLabels["alertname"] = at.Alertname
					want = append(want, show(alert.ExpLabels, alert.ExpAnnotations["summary"]))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s after %v (-want +got):\n%s", at.Alertname, at.EvalTime, diff)
				}
				fired[at.Alertname] = fired[at.Alertname] || len(want) > 0
				silent[at.Alertname] = silent[at.Alertname] || len(want) == 0
			}
		})
	}
	for line := range strings.Lines(string(read(t, "prometheusrule.yaml"))) {
		if _, alert, ok := strings.Cut(strings.TrimSpace(line), "alert: "); ok && (!fired[alert] || !silent[alert]) {
			t.Errorf("no test has %s fire and be silent: %v, %v", alert, fired[alert], silent[alert])
		}
	}
}

// firing returns the alerts of a name that fire at a time after the series began.
func firing(t *testing.T, ruleName string, interval, at time.Duration, name string, input []inputSeries) (alerts []string) {
	t.Helper()
	load := fmt.Sprintf("load %v\n", model.Duration(interval))
	for _, s := range input {
		load += fmt.Sprintf("  %s %s\n", s.Series, s.Values)
	}
	p := parser.NewParser(parser.Options{})
	loader, err := promqltest.NewLazyLoader(load, promqltest.LazyLoaderOpts{Parser: p})
	if err != nil {
		t.Fatal(err)
	}
	defer loader.Close()
	groups, errs := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:    rules.EngineQueryFunc(loader.QueryEngine(), loader.Storage()),
		AppendableV2: loader.Storage(),
		Context:      t.Context(),
		NotifyFunc:   func(context.Context, string, ...*rules.Alert) {},
		Logger:       slog.New(slog.DiscardHandler),
		Parser:       p,
	}).LoadGroups(interval, labels.EmptyLabels(), "", nil, false, ruleName)
	if errs != nil {
		t.Fatal(errs)
	}
	for _, group := range groups {
		for _, rule := range group.Rules() {
			if alert, ok := rule.(*rules.AlertingRule); ok {
				alert.SetRestored(true) // ready at once
			}
		}
	}
	start := time.Unix(0, 0).UTC()
	for now := start; now.Sub(start) <= at; now = now.Add(interval) {
		loader.WithSamplesTill(now, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
			for _, group := range groups {
				group.Eval(loader.Context(), now)
			}
		})
	}
	for _, group := range groups {
		for _, rule := range group.Rules() {
			if err := rule.LastError(); err != nil {
				t.Fatal(err)
			}
			alert, ok := rule.(*rules.AlertingRule)
			if !ok || alert.Name() != name {
				continue
			}
			for _, active := range alert.ActiveAlerts() {
				if active.State == rules.StateFiring {
					alerts = append(alerts, show(active.Labels.Map(), active.Annotations.Get("summary")))
				}
			}
		}
	}
	return alerts
}

func show(of map[string]string, summary string) string { return fmt.Sprint(of, " ", summary) }
