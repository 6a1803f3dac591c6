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

// maxRefused is how often a refused password of the service user is sent. Jira
// asks for a CAPTCHA after three, by default.
const maxRefused = 2

// serviceUse counts what Jira said of one content of the service credential's
// file.
type serviceUse struct {
	hash    [32]byte
	refused int  // since a whole refresh was good
	good    bool // since it was refused last
	under   int  // questions under way
}

// service reads the credential, and returns an error if Jira has refused it too
// often.
func (j *Jira) service() (service, error) {
	s, err := readService(j.file)
	if err != nil {
		return service{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return s, j.refusedTooOften(s)
}

// refusedTooOften is called with mu held.
func (j *Jira) refusedTooOften(s service) error {
	if s.basic && j.use.hash == s.hash && j.use.refused >= maxRefused {
		return fmt.Errorf("%w: %w, and it is not tried again before another one is in its file (or tokengate is restarted)", ErrUnavailable, errCredential)
	}
	return nil
}

// beginUse is called right before a credential is sent. A password goes out only
// as often as it may be refused, counted with the questions under way.
func (j *Jira) beginUse(s service) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.use.hash != s.hash {
		j.use = serviceUse{hash: s.hash}
	}
	if err := j.refusedTooOften(s); err != nil {
		return err
	}
	if s.basic && j.use.refused+j.use.under >= maxRefused {
		return fmt.Errorf("%w: Jira has refused the service credential, and is being asked with it again", ErrUnavailable)
	}
	j.use.under++
	return nil
}

// endUse says what Jira said of it. No answer, and one that tells nothing,
// leaves the count as it is.
func (j *Jira) endUse(s service, v verdict) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.use.hash != s.hash {
		return // its file has changed since
	}
	j.use.under--
	switch v {
	case looked:
		j.use.refused++
		j.use.good = false
	case good:
		j.use.good = true
	}
}

// recordSuccess begins the count anew after a refresh in which Jira took the
// credential, as Jira does. Single answers do not: where some are good and others
// refused, nobody knows what is counted.
func (j *Jira) recordSuccess(s service) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.use.hash == s.hash && j.use.good {
		j.use.refused = 0
	}
}

// serviceVerdict returns what an answer says of the credential that it was
// asked with.
func serviceVerdict(r jiraResponse) verdict {
	reason := loginReason(r)
	switch {
	case r.status == http.StatusUnauthorized, reason == loginFailed, reason == loginDenied:
		return looked
	case basicRefused(r):
		return notLooked
	case r.status == http.StatusOK && r.isJSON() && !strings.EqualFold(r.header.Get("X-AUSERNAME"), "anonymous"):
		return good
	}
	return unsure
}
