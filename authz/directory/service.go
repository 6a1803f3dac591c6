package directory

import (
	"fmt"
	"net/http"
	"strings"
)

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
	if s.basic && j.use.hash == s.hash && j.use.refused >= maxFailures {
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
	if s.basic && j.use.refused+j.use.under >= maxFailures {
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
