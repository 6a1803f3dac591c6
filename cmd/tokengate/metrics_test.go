package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/envoy/envoytest"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// cmd/tokengate/README.md names exactly the metrics of the program, and testdata/metrics.txt has every series of it and
// those of Envoy that k8s/monitoring asks for: each metric of its alerts and its dashboard is there, and make test-long tests
// its queries with that file. -update writes it.
func TestReadmeMetrics(t *testing.T) {
	t.Parallel()
	r := newConnected(t) // has the metrics of a server that names users in a header, too
	r.refresh()
	_, exposed := r.probe("/metrics")
	etcd := etcdtest.Start(t, etcdtest.Options{}).Endpoints()[0]
	_, withTLS := newRig(t, options{settings: func(yaml string) string {
		dir := envoytest.Dir(t)
		envoytest.NewAuthority(t).Write(dir, "localhost")
		replicas := strings.ReplaceAll(fmt.Sprintf(failoverConfig, "127.0.0.1", freePort(t), freePort(t)), "DIR", dir)
		yaml = strings.Replace(yaml, "listen:\n", "listen:\n"+replicas, 1)
		return regexp.MustCompile(`badger: \{[^}]*\}`).ReplaceAllString(yaml, "etcd: {endpoints: ['"+etcd+"']}")
	}}).probe("/metrics")
	exposed += strings.Join(regexp.MustCompile(`(?m)^(# TYPE )?tokengate_certificate_\w+[ {].*\n`).FindAllString(withTLS, -1), "")
	find := func(pattern, text string) (found []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	want := find(`(?m)^# TYPE (tokengate_\w+)`, exposed)
	got := find("`(tokengate_\\w+)`", read(t, "README.md"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-server +README):\n%s", diff)
	}

	r.send(request{path: "/"})
	const alerts, dashboard = "../../k8s/monitoring/prometheusrule.yaml", "../../k8s/monitoring/dashboard.json"
	asked := find(`\b((?:tokengate|envoy)_\w+)`, read(t, alerts)+read(t, dashboard)) // has names of labels, too
	series := slices.DeleteFunc(find(`(?m)^(\w+(?:\{.*\})?) `, exposed+string(r.envoy.Admin("/stats/prometheus"))), func(series string) bool {
		name, _, _ := strings.Cut(series, "{")
		return !strings.HasPrefix(name, "tokengate_") && !slices.Contains(asked, name)
	})
	text := strings.Join(series, "\n") + "\n"
	exported := find(`\b((?:tokengate|envoy)_\w+)`, text)
	for _, name := range asked {
		if !slices.Contains(exported, name) {
			t.Errorf("k8s/monitoring asks for %s, which neither tokengate nor Envoy exports", name)
		}
	}
	text = regexp.MustCompile(`(go|version|envoy_listener_address)="[^"]*"`).ReplaceAllString(text, `$1="x"`)
	text = strings.ReplaceAll(text, "{}", "")
	const file = "testdata/metrics.txt"
	if *updateReadme {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(read(t, file), text); diff != "" {
		t.Errorf("series (-%s +server and Envoy; -update writes it):\n%s", file, diff)
	}
}
