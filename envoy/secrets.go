package envoy

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"text/template"

	"github.com/tokengate/tokengate/authz/config"
)

// Names of the files that Secrets returns.
const (
	replicasCA          = "replicas-ca.yaml"
	replicasClient      = "replicas-client.yaml"
	listenerCertificate = "listener-certificate.yaml"
)

// secret is a certificate with its key, or certificate authorities, by the paths of their
// files.
type secret struct {
	Name             string // in the bootstrap
	Certificate, Key string
	CA               string
}

// Envoy reads such a file, and the files that it names, again when they change; it does not
// do so for files that the bootstrap itself names.
var secretTemplate = template.Must(template.New("secret").Funcs(template.FuncMap{"quote": quote}).Parse(
	`# Written by tokengate envoy bootstrap. Envoy uses changed certificates without a restart.
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: {{.Name}}
{{- if .CA}}
  validation_context: {trusted_ca: {filename: {{quote .CA}}}}
{{- else}}
  tls_certificate: {certificate_chain: {filename: {{quote .Certificate}}}, private_key: {filename: {{quote .Key}}}}
{{- end}}
`))

// Secrets returns the files, by name, that the bootstrap for cfg and opts refers to in
// BootstrapOptions.Secrets. They hold paths of certificates and keys, not their contents.
func Secrets(cfg config.Config, opts BootstrapOptions) (map[string][]byte, error) {
	secrets := make(map[string]secret)
	if r := cfg.Listen.Replicas; r != (config.Replicas{}) {
		secrets[replicasCA] = secret{Name: "tokengate-ca", CA: r.TLS.CA}
		secrets[replicasClient] = secret{Name: "tokengate-client", Certificate: r.TLS.Certificate, Key: r.TLS.Key}
	}
	if opts.Certificate != "" {
		secrets[listenerCertificate] = secret{Name: "listener", Certificate: opts.Certificate, Key: opts.Key}
	}
	files := make(map[string][]byte)
	for name, s := range secrets {
		var text bytes.Buffer
		if err := secretTemplate.Execute(&text, s); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		files[name] = text.Bytes()
	}
	return files, nil
}

// secrets returns the directory of the files with Envoy's certificates.
func (o BootstrapOptions) secrets() (string, error) {
	dir := cmp.Or(o.Secrets, DefaultSecrets)
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("secrets %q: give the absolute path of a directory", dir)
	}
	return dir, nil
}
