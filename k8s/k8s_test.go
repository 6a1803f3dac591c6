// Package k8s_test has the tests of the manifests that need this module's code.
// testdata/tools validates them as Kubernetes objects, and cmd/tokengate runs them.
package k8s_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/authz/config"
)

// The pods use the defaults, except for what is listed here: the public URL, the ingress
// controller in front of Envoy, the metrics address, which the kubelet and Prometheus use
// from outside of the pod, and what makes a topology.
func TestTokengateUsesDefaults(t *testing.T) {
	for dir, change := range map[string]func(*config.Config){
		"sidecar": func(c *config.Config) { c.Envoy.Bypass = true },
		"gateway-badger": func(c *config.Config) {
			c.Envoy.Bypass = true
			c.Upstream.URL = "http://jira.jira.svc:80"
		},
		"gateway": func(c *config.Config) {
			c.Upstream.URL = "http://jira.jira.svc:80"
		},
	} {
		want := config.Default()
		want.PublicURL = "https://jira.example.com"
		want.ClientAddress = config.ClientAddress{TrustedHops: 1}
		want.Listen.Metrics.Address = config.Address{Network: "tcp", Address: "0.0.0.0:9464"}
		change(&want)
		got, err := config.Load(dir + "/tokengate.yaml")
		if err != nil {
			t.Error(err)
			continue
		}
		if dir == "gateway" {
			if etcd := got.Store.Settings; etcd == nil {
				t.Error("the gateway has no store of its own")
			}
			want.Store = got.Store
			const dir = "/etc/tokengate-replicas/"
			want.Listen.Replicas = config.Replicas{
				GRPC: config.Address{Network: "tcp", Address: "0.0.0.0:9001"},
				HTTP: config.Address{Network: "tcp", Address: "0.0.0.0:9002"},
				Host: "tokengate-replicas",
				TLS:  config.ReplicasTLS{Certificate: dir + "tls.crt", Key: dir + "tls.key", CA: dir + "ca.crt"},
			}
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(config.Prefix{})); diff != "" {
			t.Errorf("k8s/%s/tokengate.yaml (-want +got):\n%s", dir, diff)
		}
	}
}
