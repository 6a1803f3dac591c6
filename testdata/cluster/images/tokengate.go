package images

import (
	"debug/buildinfo"
	"encoding/pem"
	"fmt"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// Tokengate describes tokengate's image: the program, two users, certificate authorities and an empty /tmp, as in
// distroless/static, on which k8s/Dockerfile is based.
func Tokengate(program, arch, version, commit string, created time.Time) (Spec, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return Spec{}, fmt.Errorf("read how the program was built: %w", err)
	}
	for _, s := range info.Settings {
		if s.Key == "GOARCH" && s.Value != arch || s.Key == "GOOS" && s.Value != "linux" || s.Key == "CGO_ENABLED" && s.Value != "0" {
			return Spec{}, fmt.Errorf("%s was built with %s=%s", program, s.Key, s.Value)
		}
	}
	var roots []byte
	for root := range bundle.Roots() {
		if root.Constraint != nil { // which a file of certificates cannot express
			continue
		}
		roots = append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})...)
	}
	return Spec{
		Arch: arch, User: "65532:65532", Entrypoint: []string{"/usr/local/bin/tokengate"},
		Env: []string{"PATH=/usr/local/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "tokengate",
			"org.opencontainers.image.source":   "https://github.com/tokengate/tokengate",
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.revision": commit,
		},
		Created: created,
		Files: []File{
			{Path: "/usr/local/bin/tokengate", Source: program, Mode: 0o755},
			{Path: "/etc/passwd", Content: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"), Mode: 0o644},
			{Path: "/etc/group", Content: []byte("root:x:0:\nnonroot:x:65532:\n"), Mode: 0o644},
			{Path: "/etc/ssl/certs/ca-certificates.crt", Content: roots, Mode: 0o644},
			{Path: "/tmp", Dir: true, Mode: 0o1777},
		},
	}, nil
}
