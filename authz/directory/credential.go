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

// serviceCredential is what Jira is asked with. It never appears in a text.
type serviceCredential struct {
	header http.Header
	hash   [sha256.Size]byte // tells one content of the file from another
	basic  bool
}

// String says nothing of the credential.
func (serviceCredential) String() string { return "service credential" }

// GoString is String.
func (s serviceCredential) GoString() string { return s.String() }

// readCredential reads the file of the service credential: "user:password", or a
// native personal access token alone. Its errors say nothing of the content.
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
	s := serviceCredential{hash: sha256.Sum256([]byte(text))}
	name, _, basic := strings.Cut(text, ":")
	switch {
	case basic && name == "":
		return serviceCredential{}, fmt.Errorf("the service credential in %s has no user name before the colon", path)
	case basic:
		s.basic = true
		s.header = http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(text))}}
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return serviceCredential{}, fmt.Errorf("the service credential in %s is neither user:password nor a personal access token", path)
	default:
		s.header = http.Header{"Authorization": {"Bearer " + text}}
	}
	return s, nil
}

// maxRefused is how often a refused password of the service user is sent. Jira
// asks for a CAPTCHA after three, by default.
const maxRefused = 2

// credentialUsage counts what Jira said of one content of the service credential's
// file.
type credentialUsage struct {
	hash    [32]byte
	refused int  // since a whole refresh was good
	good    bool // since it was refused last
	inFlight   int  // questions under way
}

// serviceCredential reads the credential, and returns an error if Jira has refused it too
// often.
func (j *Jira) credential() (serviceCredential, error) {
	s, err := readCredential(j.file)
	if err != nil {
		return serviceCredential{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return s, j.checkRefusals(s)
}

// checkRefusals is called with mu held.
func (j *Jira) checkRefusals(s serviceCredential) error {
	if s.basic && j.usage.hash == s.hash && j.usage.refused >= maxRefused {
		return fmt.Errorf("%w: %w, and it is not tried again before another one is in its file (or tokengate is restarted)", ErrUnavailable, errCredential)
	}
	return nil
}

// beginUse is called right before a credential is sent. A password goes out only
// as often as it may be refused, counted with the questions under way.
func (j *Jira) beginUse(s serviceCredential) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.usage.hash != s.hash {
		j.usage = credentialUsage{hash: s.hash}
	}
	if err := j.checkRefusals(s); err != nil {
		return err
	}
	if s.basic && j.usage.refused+j.usage.inFlight >= maxRefused {
		return fmt.Errorf("%w: Jira has refused the service credential, and is being asked with it again", ErrUnavailable)
	}
	j.usage.inFlight++
	return nil
}

// endUse says what Jira said of it. No answer, and one that tells nothing,
// leaves the count as it is.
func (j *Jira) endUse(s serviceCredential, v verdict) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.usage.hash != s.hash {
		return // its file has changed since
	}
	j.usage.inFlight--
	switch v {
	case verdictRejected:
		j.usage.refused++
		j.usage.good = false
	case verdictAccepted:
		j.usage.good = true
	}
}

// recordSuccess begins the count anew after a refresh in which Jira took the
// credential, as Jira does. Single answers do not: where some are good and others
// refused, nobody knows what is counted.
func (j *Jira) recordSuccess(s serviceCredential) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.usage.hash == s.hash && j.usage.good {
		j.usage.refused = 0
	}
}

// credentialVerdict returns what an answer says of the credential that it was
// asked with.
func credentialVerdict(r jiraResponse) verdict {
	reason := loginReason(r)
	switch {
	case r.status == http.StatusUnauthorized, reason == loginFailed, reason == loginDenied:
		return verdictRejected
	case basicDisabled(r):
		return verdictUnchecked
	case r.status == http.StatusOK && r.isJSON() && !strings.EqualFold(r.header.Get("X-AUSERNAME"), "anonymous"):
		return verdictAccepted
	}
	return verdictUnknown
}
