package tools_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// everything sets what the default does not show.
const everything = `
config: {directory: {upstream: {credential: /etc/tokengate-secrets/jira-directory/credential}}}
secrets: [jira-directory]
etcd: {install: true}
autoscaling: {enabled: true}
ingress: {enabled: true, className: nginx, tlsSecretName: jira-tls, annotations: {a: b}}
image: {pullSecrets: [registry]}
nodeSelector: {disk: fast}
tolerations: [{operator: Exists}]
`

// The chart says what is wrong with values.
func TestChartRefuses(t *testing.T) {
	for values, want := range map[string]string{
		"etcd: {install: true, instal: false}": "instal",
		"replica: 2":                           "replica",
		"replicas: 0":                          "replicas",
		"config: {publicUrl: https://jira.example.com}": "publicUrl",
		"config: {publicURL: ''}":                       "publicURL",
		"{}":                                            "exactly one of",
		"{etcd: {install: true}, store: {badger: {enabled: true}}}":                                                   "exactly one of",
		"{store: {badger: {enabled: true}}, replicas: 3}":                                                             "one pod only",
		"{store: {badger: {enabled: true}}, autoscaling: {enabled: true}}":                                            "one pod only",
		"store: {etcd: {endpoints: ['http://etcd:2379']}}":                                                            "endpoints",
		"store: {etcd: {endpoints: ['https://etcd:2379'], user: me}}":                                                 "passwordSecretName",
		"networkPolicy: {clients: []}":                                                                                "clients",
		"image: {tokengate: tokengate}":                                                                               "tokengate",
		"{etcd: {install: true}, service: {type: ExternalName}}":                                                      "type",
		"etcd: {install: true, tlsSecretName: mine}":                                                                  "set both",
		"{etcd: {install: true}, store: {etcd: {tlsSecretName: mine}}}":                                               "set both",
		"{etcd: {install: true}, service: {type: NodePort}}":                                                          "networkPolicy.clients",
		"{etcd: {install: true}, autoscaling: {enabled: true, minReplicas: 3, maxReplicas: 2}}":                       "minReplicas",
		"{etcd: {install: true}, ingress: {enabled: true}, service: {type: LoadBalancer}}":                            "config.clientAddress",
		"{etcd: {install: true}, service: {tlsSecretName: jira-tls}, config: {publicURL: 'http://jira.example.com'}}": "config.publicURL",
		"{etcd: {install: true}, resources: {envoy: {limits: null}}}":                                                 "limits",
	} {
		files, err := renderChart(kustomizeValues, values)
		if err == nil {
			t.Errorf("%s: rendered %v", values, slices.Sorted(maps.Keys(files)))
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want it to name %s", values, err, want)
		}
	}
}

// The schema knows the keys of tokengate's configuration.
func TestSchemaKnowsConfiguration(t *testing.T) {
	text, err := os.ReadFile("../config/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var full map[string]any
	if err := yaml.Unmarshal(text, &full); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Config struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(schema.Properties.Config.Properties)), slices.Sorted(maps.Keys(full)); !slices.Equal(got, want) {
		t.Errorf("the schema's config has\n%v, tokengate's has\n%v", got, want)
	}
}

// Keys of config win over what the chart writes, and clientAddress is replaced whole.
func TestChartConfiguration(t *testing.T) {
	for values, want := range map[string]string{
		"etcd: {install: true}": "clientAddress:\n  trustedHops: 1\n",
		"{etcd: {install: true}, config: {clientAddress: {metadata: x}}}":                                       "clientAddress:\n  metadata: x\nlisten:\n",
		"{etcd: {install: true}, service: {type: LoadBalancer}, networkPolicy: {enabled: false}}":               "clientAddress:\n  source: true\n",
		"{etcd: {install: true}, config: {store: {etcd: {timeout: 9s}}}}":                                       "    timeout: 9s\n",
		"{etcd: {install: true}, config: {log: {level: debug}}}":                                                "log:\n  level: debug\n",
		"store: {badger: {enabled: true}}":                                                                      "envoy:\n  bypass: true\n",
		"{store: {badger: {enabled: true}}, config: {envoy: {bypass: false}}}":                                  "envoy:\n  bypass: false\n",
		"store: {etcd: {endpoints: ['https://etcd:2379'], tlsSecretName: etcd}}":                                "  etcd:\n    endpoints:\n    - https://etcd:2379\n    prefix: /tokengate/\n    tls:\n      ca: /etc/tokengate-etcd/ca.crt\n",
		"store: {etcd: {endpoints: ['https://etcd:2379'], user: me, passwordSecretName: etcd, prefix: /jira/}}": "    passwordFile: /etc/tokengate-etcd-password/password\n    prefix: /jira/\n    user: me\n",
	} {
		if got := install(t, values).configMaps["tokengate"].Data["tokengate.yaml"]; !strings.Contains(got, want) {
			t.Errorf("%s: the configuration is\n%s, want in it\n%s", values, got, want)
		}
	}
}

// A change replaces the pods only if they cannot reload it.
func TestRestartChecksum(t *testing.T) {
	checksum := func(config string) string {
		pod := install(t, "etcd: {install: true}", "config: "+config).pods["tokengate"]
		return pod.Annotations["tokengate/restart-checksum"]
	}
	base := checksum("{}")
	if len(base) != 64 {
		t.Fatalf("the checksum is %q", base)
	}
	for config, restarts := range map[string]bool{
		"{log: {level: debug}}":                     false,
		"{tokens: {maxPerUser: 9}}":                 false,
		"{access: {admin: [a]}}":                    false,
		"{passwords: {mode: block}}":                false,
		"{tokens: {queryParameter: token}}":         true,
		"{publicURL: https://other.example.com}":    true,
		"{upstream: {url: http://other:80}}":        true,
		"{listen: {metrics: tcp://0.0.0.0:9465}}":   true,
		"{store: {etcd: {timeout: 9s}}}":            true,
		"{clientAddress: {source: true}}":           true,
		"{directory: {file: /etc/tokengate/users}}": true,
		"{envoy: {bypass: true}}":                   true,
	} {
		if got := checksum(config) != base; got != restarts {
			t.Errorf("%s: restarts the pods: %v, want %v", config, got, restarts)
		}
	}
}

// The certificates that the chart makes fit the names under which they are used.
func TestChartCertificates(t *testing.T) {
	secrets := install(t, "etcd: {install: true}").secrets
	for name, hosts := range map[string][]string{
		"tokengate-etcd":        {"tokengate-etcd-0.tokengate-etcd", "tokengate-etcd-2.tokengate-etcd", "127.0.0.1"},
		"tokengate-etcd-client": nil,
		"tokengate-replicas":    {"tokengate-replicas"},
	} {
		// Envoy has the replicas' certificate, and etcd must not believe it.
		by := "tokengate-ca"
		if name == "tokengate-replicas" {
			by = "tokengate-replicas-ca"
		}
		data, authority := secrets[name].Data, x509.NewCertPool()
		if !authority.AppendCertsFromPEM(secrets[by].Data["tls.crt"]) {
			t.Fatal("no authority")
		}
		pair, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: authority, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, host := range hosts {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: authority, DNSName: host}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		// etcd compares a client's address with the names in its certificate.
		if len(hosts) == 0 && len(leaf.DNSNames)+len(leaf.IPAddresses) > 0 {
			t.Errorf("%s has names: %v %v", name, leaf.DNSNames, leaf.IPAddresses)
		}
		if string(data["ca.crt"]) != string(secrets[by].Data["tls.crt"]) {
			t.Errorf("%s names another authority", name)
		}
	}
	if len(install(t, "etcd: {install: true, tlsSecretName: mine}", "store: {etcd: {tlsSecretName: mine}}", "replicasTLSSecretName: mine").secrets) != 0 {
		t.Error("certificates are made although there are others")
	}
}

// The notes are for what was installed.
func TestNotes(t *testing.T) {
	files, err := renderChart(kustomizeValues, "etcd: {install: true}")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"tokengate token create", "tokengate doctor", "curl --max-time 5 http://jira.jira.svc:80/status", "--namespace tokengate deployment/tokengate"} {
		if !strings.Contains(files["NOTES.txt"], want) {
			t.Errorf("the notes do not say %s:\n%s", want, files["NOTES.txt"])
		}
	}
}
