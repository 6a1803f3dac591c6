// Package k8s_test has the tests of the manifests that need this module's code.
// testdata/tools validates them as Kubernetes objects.
package k8s_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// options and regenerate are the options and the command for envoy.yaml.
var options = envoy.BootstrapOptions{Listen: "0.0.0.0:8000", AdminSocket: "/run/envoy/admin.sock"}

const regenerate = `
	go run ./cmd/tokengate envoy bootstrap --config k8s/base/tokengate.yaml \
		--listen 0.0.0.0:8000 --envoy-admin /run/envoy/admin.sock \
		> k8s/base/envoy.yaml`

func load(t *testing.T) config.Config {
	t.Helper()
	c, err := config.Load("base/tokengate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// envoy.yaml is the output of tokengate for tokengate.yaml.
func TestEnvoyMatchesTokengate(t *testing.T) {
	var want bytes.Buffer
	if err := envoy.Bootstrap(&want, load(t), options); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("base/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("k8s/base/envoy.yaml does not match k8s/base/tokengate.yaml (-want +got):\n%s\nregenerate it in the repository's root:\n%s", diff, regenerate)
	}
}

// The pod uses the defaults, except for the public URL, the ingress controller in
// front of Envoy, and the metrics address, which the kubelet and Prometheus use
// from outside of the pod.
func TestTokengateUsesDefaults(t *testing.T) {
	want := config.Default()
	want.PublicURL = "https://jira.example.com"
	want.ClientAddress = config.ClientAddress{TrustedHops: 1}
	want.Listen.Metrics.Address = config.Address{Network: "tcp", Address: "0.0.0.0:9464"}
	if diff := cmp.Diff(want, load(t), cmpopts.EquateComparable(config.Prefix{})); diff != "" {
		t.Errorf("k8s/base/tokengate.yaml (-want +got):\n%s", diff)
	}
}
