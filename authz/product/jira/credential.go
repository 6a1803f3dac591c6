package jira

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
)

// maxCredential limits the file of the service credential, in bytes.
const maxCredential = 4 << 10

// serviceCredential authenticates the service user. It is never printed.
type serviceCredential struct {
	header http.Header
	hash   [sha256.Size]byte // identifies the content of the file
	basic  bool
}

// String returns a placeholder.
func (serviceCredential) String() string { return "service credential" }

// GoString is String.
func (c serviceCredential) GoString() string { return c.String() }

// readCredential reads the file of the service credential: "user:password" or a
// native personal access token. Its errors reveal nothing of the content.
func readCredential(path string) (serviceCredential, error) {
	f, err := os.Open(path)
	if err != nil {
		return serviceCredential{}, fmt.Errorf("open the service credential: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxCredential+1))
	if err != nil {
		return serviceCredential{}, fmt.Errorf("read the service credential: %w", err)
	}
	text := strings.TrimRight(string(content), "\r\n")
	switch {
	case len(content) > maxCredential:
		return serviceCredential{}, fmt.Errorf("the service credential in %s is longer than %d bytes", path, maxCredential)
	case text == "":
		return serviceCredential{}, fmt.Errorf("the service credential in %s is empty", path)
	case strings.ContainsAny(text, "\r\n"):
		return serviceCredential{}, fmt.Errorf("the service credential in %s has more than one line", path)
	}
	c := serviceCredential{hash: sha256.Sum256([]byte(text))}
	name, _, basic := strings.Cut(text, ":")
	switch {
	case basic && name == "":
		return serviceCredential{}, fmt.Errorf("the service credential in %s has no user name before the colon", path)
	case basic:
		c.basic = true
		c.header = http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(text))}}
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return serviceCredential{}, fmt.Errorf("the service credential in %s is neither user:password nor a personal access token", path)
	default:
		c.header = http.Header{"Authorization": {"Bearer " + text}}
	}
	return c, nil
}

// maxRefused is how often a refused password of the service user is sent. By
// default Jira asks for a CAPTCHA after three failures.
const maxRefused = 2

// credentialUsage counts Jira's refusals of one content of the credential file.
type credentialUsage struct {
	hash     [32]byte
	refused  int  // since the last successful refresh
	good     bool // accepted since the last refusal
	inFlight int  // requests in flight
}

// credential reads the credential file, and returns an error if Jira has
// refused its content too often.
func (s *source) credential() (serviceCredential, error) {
	c, err := readCredential(s.file)
	if err != nil {
		return serviceCredential{}, fmt.Errorf("%w: %w", directory.ErrUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return c, s.checkRefusals(c)
}

// checkRefusals must be called with mu held.
func (s *source) checkRefusals(c serviceCredential) error {
	if c.basic && s.usage.hash == c.hash && s.usage.refused >= maxRefused {
		return fmt.Errorf("%w: %w: it is not tried again until its file changes or tokengate restarts", directory.ErrUnavailable, errCredential)
	}
	return nil
}

// beginUse must be called before a credential is sent. Requests in flight count
// as refused, so that a wrong password is never sent too often.
func (s *source) beginUse(c serviceCredential) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usage.hash != c.hash {
		s.usage = credentialUsage{hash: c.hash}
	}
	if err := s.checkRefusals(c); err != nil {
		return err
	}
	if c.basic && s.usage.refused+s.usage.inFlight >= maxRefused {
		return fmt.Errorf("%w: Jira refused the service credential and is checking it again", directory.ErrUnavailable)
	}
	s.usage.inFlight++
	return nil
}

// endUse records the result. Verdicts other than accepted and rejected change
// nothing.
func (s *source) endUse(c serviceCredential, v product.Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usage.hash != c.hash {
		return // the file has changed since
	}
	s.usage.inFlight--
	switch v {
	case product.VerdictRejected:
		s.usage.refused++
		s.usage.good = false
	case product.VerdictAccepted:
		s.usage.good = true
	}
}

// recordSuccess resets the count after a refresh in which Jira accepted the
// credential, as Jira does. Single answers do not: if some are accepted and
// others refused, Jira's count is unknown.
func (s *source) recordSuccess(c serviceCredential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usage.hash == c.hash && s.usage.good {
		s.usage.refused = 0
	}
}

// credentialVerdict returns a response's verdict on the service credential.
func credentialVerdict(r response) product.Verdict {
	reason := loginReason(r)
	switch {
	case r.status == http.StatusUnauthorized, reason == loginFailed, reason == loginDenied:
		return product.VerdictRejected
	case basicDisabled(r):
		return product.VerdictUnchecked
	case r.status == http.StatusOK && r.isJSON() && !strings.EqualFold(r.header.Get("X-AUSERNAME"), "anonymous"):
		return product.VerdictAccepted
	}
	return product.VerdictUnknown
}
