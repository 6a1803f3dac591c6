package directory

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// maxCredential bounds the file of the service credential, in bytes.
const maxCredential = 4 << 10

// service is what Jira is asked with. It never appears in a text.
type service struct {
	header http.Header
	hash   [sha256.Size]byte // tells one content of the file from another
	basic  bool
}

// String says nothing of the credential.
func (service) String() string { return "service credential" }

// GoString is String.
func (s service) GoString() string { return s.String() }

// readService reads the file of the service credential: "user:password", or a
// native personal access token alone. Its errors say nothing of the content.
func readService(path string) (service, error) {
	f, err := os.Open(path)
	if err != nil {
		return service{}, fmt.Errorf("open the service credential: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxCredential+1))
	if err != nil {
		return service{}, fmt.Errorf("read the service credential: %w", err)
	}
	text := strings.TrimRight(string(content), "\r\n")
	switch {
	case len(content) > maxCredential:
		return service{}, fmt.Errorf("the service credential in %s is longer than %d bytes", path, maxCredential)
	case text == "":
		return service{}, fmt.Errorf("the service credential in %s is empty", path)
	case strings.ContainsAny(text, "\r\n"):
		return service{}, fmt.Errorf("the service credential in %s has more than one line", path)
	}
	s := service{hash: sha256.Sum256([]byte(text))}
	name, _, basic := strings.Cut(text, ":")
	switch {
	case basic && name == "":
		return service{}, fmt.Errorf("the service credential in %s has no user name before the colon", path)
	case basic:
		s.basic = true
		s.header = http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(text))}}
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return service{}, fmt.Errorf("the service credential in %s is neither user:password nor a personal access token", path)
	default:
		s.header = http.Header{"Authorization": {"Bearer " + text}}
	}
	return s, nil
}
