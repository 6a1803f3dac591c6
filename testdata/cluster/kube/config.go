package kube

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// Addresses in the cluster's network namespace.
const (
	NodeAddress = "10.99.0.1"
	apiServer   = "https://127.0.0.1:6443"
	etcdURL     = "http://127.0.0.1:2379"
	etcdPeerURL = "http://127.0.0.1:2380"
	services    = "10.96.0.0/16"
	pods        = "10.244.0.0/24"
)

// configs are the files that the programs read, by name in the run directory.
var configs = map[string]string{
	"kubeconfig": `apiVersion: v1
kind: Config
clusters: [{name: cluster, cluster: {server: "{{.APIServer}}", certificate-authority: "{{.Dir}}/certs/ca.crt"}}]
users: [{name: admin, user: {token: "{{.Token}}"}}]
contexts: [{name: cluster, context: {cluster: cluster, user: admin}}]
current-context: cluster
`,
	"tokens.csv": `{{.Token}},admin,admin,system:masters
`,
	"cni/10-pods.conflist": `{"cniVersion": "1.0.0", "name": "pods", "plugins": [{
  "type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.Pods}}"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "{{.Dir}}/addresses"}}]}
`,
	"containerd.toml": `version = 2
root = "{{.Dir}}/containerd"
state = "{{.Dir}}/containerd-state"
[grpc]
  address = "{{.Dir}}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.Pause}}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{{.Dir}}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = false
`,
	"kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: {{.Cgroup}}
enforceNodeAllocatable: []
address: {{.Node}}
containerRuntimeEndpoint: unix://{{.Dir}}/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: {{.Dir}}/certs/ca.crt}}
authorization: {mode: Webhook}
clusterDomain: cluster.local
clusterDNS: [{{.Node}}]
resolvConf: ""
imageGCHighThresholdPercent: 100
evictionHard: {}
oomScoreAdj: 0
configMapAndSecretChangeDetectionStrategy: Watch
syncFrequency: 5s
podLogsDir: {{.Dir}}/pod-logs
volumePluginDir: {{.Dir}}/volume-plugins
`,
	"Corefile": `.:53 {
  errors
  kubernetes cluster.local {
    kubeconfig {{.Dir}}/kubeconfig
    ttl 5
  }
}
`,
}

// writeConfigs writes the files.
func (c Cluster) writeConfigs(token string) error {
	data := struct{ Dir, Token, APIServer, Node, Pods, Pause, Cgroup string }{c.Dir, token, apiServer, NodeAddress, pods, PauseImage, "/" + cgroup}
	for name, text := range configs {
		t, err := template.New(name).Option("missingkey=error").Parse(text)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, data); err != nil {
			return err
		}
		file := filepath.Join(c.Dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			return fmt.Errorf("write a configuration: %w", err)
		}
	}
	return nil
}
