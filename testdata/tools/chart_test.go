package tools_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the manifests that the chart renders")

const chartDir = "../../k8s/chart/tokengate"

var loadChart = sync.OnceValues(func() (*chart.Chart, error) { return loader.Load(chartDir) })

// manifests are the directories that are rendered from the chart.
var manifests = []struct {
	dir    string // below k8s
	values string // see kustomizeValues
	part   string // the prefix of the templates in there; "" is all others
}{
	{"gateway", "etcd: {install: true}", ""},
	{"etcd", "etcd: {install: true}", "etcd-"},
	{"gateway-badger", "store: {badger: {enabled: true}}", ""},
}

// kustomizeValues are the values of all of them.
const kustomizeValues = `
config:
  publicURL: https://jira.example.com
  upstream: {url: http://jira.jira.svc:80}
`

// renderChart returns what the templates of our chart become, by their names. Values of
// later texts win.
func renderChart(values ...string) (map[string]string, error) {
	loaded, err := loadChart()
	if err != nil {
		return nil, err
	}
	return render(loaded, "tokengate", values...)
}

// render does the same with any chart, in a release and a namespace of one name.
func render(loaded *chart.Chart, release string, values ...string) (map[string]string, error) {
	merged, err := mergeValues(values...)
	if err != nil {
		return nil, err
	}
	full, err := util.ToRenderValues(loaded, merged, common.ReleaseOptions{Name: release, Namespace: release, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(loaded, full)
	if err != nil {
		return nil, err
	}
	byName := map[string]string{}
	for file, text := range files {
		if name := path.Base(file); strings.TrimSpace(text) != "" && name != "_helpers.tpl" {
			byName[name] = strings.Trim(text, "\n") + "\n"
		}
	}
	return byName, nil
}

// mergeValues returns the values of all texts. Those of later ones win.
func mergeValues(texts ...string) (map[string]any, error) {
	merged := map[string]any{}
	for _, text := range texts {
		var v map[string]any
		if err := yaml.UnmarshalStrict([]byte(text), &v); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		merged = loader.MergeMaps(merged, v)
	}
	return merged, nil
}

// kustomized returns the files of a directory of manifests. The chart's Secrets are not
// among them, because their content is new each time.
func kustomized(t *testing.T, values, part string) map[string]string {
	t.Helper()
	rendered, err := renderChart(kustomizeValues, values)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, text := range rendered {
		short, isPart := strings.CutPrefix(name, part)
		switch {
		case !isPart || part == "" && strings.HasPrefix(name, "etcd-") || name == "NOTES.txt" || name == "certificates.yaml":
		case name == "configmap.yaml":
			var configMap struct{ Data map[string]string }
			if err := yaml.Unmarshal([]byte(text), &configMap); err != nil {
				t.Fatal(err)
			}
			files["tokengate.yaml"] = "# tokengate's configuration. testdata/config/full.yaml documents all keys.\n" + configMap.Data["tokengate.yaml"]
		default:
			files[short] = withoutChecksum(text)
		}
	}
	return files
}

// withoutChecksum removes the pods' annotation, which only Helm keeps up to date.
func withoutChecksum(text string) string {
	before, after, found := strings.Cut(text, "      annotations:\n        # Changes only")
	if !found {
		return text
	}
	_, after, _ = strings.Cut(after, "\n    spec:")
	return before + "    spec:" + after
}

// The manifests are what the chart renders.
func TestManifestsMatchChart(t *testing.T) {
	for _, m := range manifests {
		dir := filepath.Join("../../k8s", m.dir)
		want := kustomized(t, m.values, m.part)
		if *update {
			for name, text := range want {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		got := map[string]string{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if slices.Contains([]string{"kustomization.yaml", "namespace.yaml"}, e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			got[e.Name()] = string(text)
		}
		if got, want := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
			t.Errorf("k8s/%s holds %v, the chart renders %v", m.dir, got, want)
		}
		for name, text := range want {
			if got[name] != text {
				t.Errorf("k8s/%s/%s is not what the chart renders: run make manifests", m.dir, name)
			}
		}
	}
}
