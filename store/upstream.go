package store

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tokengate/tokengate/store/storepb"
)

// UpstreamCredential is a sealed credential of one user, made by the application. With it,
// requests with the user's tokens are forwarded. The store does not know the sealing key.
type UpstreamCredential struct {
	ID         string    // random, 12 letters and digits; the sealed secret is bound to it
	Owner      string    // the user's name when it was made
	UpstreamID string    // the application's id of it; empty until that is known
	Name       string    // its name in the application
	Created    time.Time // UTC, whole seconds
	Expires    time.Time // zero: never
	Checked    time.Time // when the application last confirmed or refused it; zero: never
	State      UpstreamState
	SetBy      string // who connected the user, as in audit records
	// Sealed is the secret if State is UpstreamActive or UpstreamBroken. It may be the login
	// with which the credential is asked for, if State is UpstreamMinting, and the secret if
	// it is UpstreamDeleting.
	Sealed []byte
}

// UpstreamState is the state of an upstream credential. The zero value is invalid. The numbers are
// stored in records and never change.
type UpstreamState uint8

// The states of an upstream credential.
const (
	UpstreamMinting UpstreamState = iota + 1 // the application is asked for it, under Name
	UpstreamActive
	UpstreamBroken   // the application does not accept it any more
	UpstreamDeleting // no longer used, and to be deleted in the application
)

var upstreamStates = [...]string{
	UpstreamMinting:  "minting",
	UpstreamActive:   "active",
	UpstreamBroken:   "broken",
	UpstreamDeleting: "deleting",
}

// String returns the state's name, and "state(n)" for an invalid number.
func (s UpstreamState) String() string {
	if s.known() {
		return upstreamStates[s]
	}
	return "state(" + strconv.Itoa(int(s)) + ")"
}

// InUse reports whether requests with the user's tokens depend on a credential in this state.
func (s UpstreamState) InUse() bool { return s == UpstreamActive || s == UpstreamBroken }

func (s UpstreamState) known() bool { return s >= UpstreamMinting && int(s) < len(upstreamStates) }

// Limits on upstream credentials.
const (
	MaxUpstreamCredentials = 20   // of one user
	maxSealed              = 1024 // bytes
	maxUpstreamText        = 512  // bytes; an actor of audit records with a long name
)

// UpstreamFunc changes the upstream credentials of a user: see Store.UpdateUpstream.
type UpstreamFunc = func(before []UpstreamCredential) (after []UpstreamCredential, audits []Audit, err error)

// normalizeUpstream returns the credentials with times in whole seconds and UTC.
func normalizeUpstream(all []UpstreamCredential) []UpstreamCredential {
	normal := make([]UpstreamCredential, len(all))
	for i, c := range all {
		for _, at := range []*time.Time{&c.Created, &c.Expires, &c.Checked} {
			if !at.IsZero() {
				*at = wholeSeconds(*at)
			}
		}
		normal[i] = c
	}
	return normal
}

// checkUpstream checks the credentials of a user. Its error wraps ErrInvalid.
func checkUpstream(user string, all []UpstreamCredential) error {
	if err := checkText("user key", user, len(user), 1, maxOwnerKey, false); err != nil {
		return err
	}
	if len(all) > MaxUpstreamCredentials {
		return invalid("a user has %d upstream credentials, more than %d", len(all), MaxUpstreamCredentials)
	}
	working := 0
	for _, c := range all {
		if err := checkID(c.ID); err != nil {
			return err
		}
		if err := ValidOwnerName(c.Owner); err != nil {
			return err
		}
		for what, text := range map[string]string{"id in the application": c.UpstreamID, "name in the application": c.Name, "set by": c.SetBy} {
			if err := checkText(what, text, len(text), 0, maxUpstreamText, false); err != nil {
				return err
			}
		}
		inUse := c.State.InUse()
		if inUse {
			working++
		}
		switch {
		case !c.State.known():
			return invalid("an upstream credential has the state %v", c.State)
		case inUse && len(c.Sealed) == 0:
			return invalid("an upstream credential that is %v has no sealed bytes", c.State)
		case len(c.Sealed) > maxSealed:
			return invalid("an upstream credential has %d sealed bytes", len(c.Sealed))
		case c.Created.IsZero():
			return invalid("an upstream credential has no time of creation")
		case working > 1:
			return invalid("a user has two upstream credentials in use")
		}
	}
	return nil
}

// EncodeUpstream returns the record of a user's upstream credentials. user is the user's key. The
// error wraps ErrInvalid.
func EncodeUpstream(user string, all []UpstreamCredential) ([]byte, error) {
	all = normalizeUpstream(all)
	if err := checkUpstream(user, all); err != nil {
		return nil, err
	}
	m := &storepb.UpstreamCredentials{User: user}
	for _, c := range all {
		m.Credentials = append(m.Credentials, &storepb.UpstreamCredential{
			Id: c.ID, Owner: c.Owner, UpstreamId: c.UpstreamID, Name: c.Name,
			Created: seconds(c.Created), Expires: seconds(c.Expires), Checked: seconds(c.Checked),
			State: uint32(c.State), SetBy: c.SetBy, Sealed: c.Sealed,
		})
	}
	return marshal(m), nil
}

// DecodeUpstream reads the record of a user's upstream credentials. The error wraps ErrInvalid.
func DecodeUpstream(user string, data []byte) (all []UpstreamCredential, err error) {
	var m storepb.UpstreamCredentials
	if err = proto.Unmarshal(data, &m); err == nil && m.User != user {
		err = fmt.Errorf("they belong to another user")
	}
	for _, c := range m.Credentials {
		all = append(all, UpstreamCredential{
			ID: c.Id, Owner: c.Owner, UpstreamID: c.UpstreamId, Name: c.Name,
			Created: timeOrZero(c.Created), Expires: timeOrZero(c.Expires), Checked: timeOrZero(c.Checked),
			State: UpstreamState(min(c.State, 255)), SetBy: c.SetBy, Sealed: c.Sealed,
		})
	}
	if err == nil {
		err = checkUpstream(user, all)
	}
	if err != nil && !errors.Is(err, ErrInvalid) {
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the upstream credentials of user %q: %w", user, err)
	}
	return all, nil
}
