package tools_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// chartReadme returns the README of the chart.
func chartReadme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(chartDir + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The README has a row for every value, with its default.
func TestChartReadmeValues(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z.]+)` \\| (?:`(.*?)` )?\\| ").FindAllStringSubmatch(chartReadme(t), -1) {
		if _, twice := rows[m[1]]; twice {
			t.Errorf("%s has two rows", m[1])
		}
		rows[m[1]] = m[2]
	}
	// values.yaml does not have these: they are in config, or depend on other values.
	optional := []string{"config.publicURL", "config.upstream.url", "config.clientAddress", "replicas"}
	described := map[string]bool{}
	var compare func(path string, value any)
	compare = func(path string, value any) {
		row, ok := rows[path]
		object, isObject := value.(map[string]any)
		if !ok && isObject && len(object) > 0 {
			for key, v := range object {
				compare(path+"."+key, v)
			}
			return
		}
		described[path] = true
		var said any
		if err := yaml.Unmarshal([]byte(row), &said); err != nil || !ok || !reflect.DeepEqual(said, value) {
			t.Errorf("%s is %v by default; the README says %q (%v)", path, value, row, err)
		}
	}
	for key, v := range values {
		compare(key, v)
	}
	for path, row := range rows {
		if !described[path] && (row != "" || !slices.Contains(optional, path)) {
			t.Errorf("the README has the value %s, values.yaml does not", path)
		}
	}
	for _, path := range optional {
		if _, ok := rows[path]; !ok {
			t.Errorf("the README does not have %s", path)
		}
	}
}

// The values that the README shows can be installed, the second ones over the first.
func TestChartReadmeExamples(t *testing.T) {
	var examples []string
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(chartReadme(t), -1) {
		examples = append(examples, m[1])
	}
	if len(examples) != 2 {
		t.Fatalf("%d examples", len(examples))
	}
	for i := range examples {
		files, err := renderChart(examples[:i+1]...)
		if err != nil || !strings.Contains(files["deployment.yaml"], "image: registry.example.com/tokengate:0.1.0") {
			t.Errorf("the example %d: %v: %v", i, err, files["deployment.yaml"])
		}
	}
}
