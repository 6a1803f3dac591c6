package store

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The lengths of a record's texts. Names and purposes are counted in
// characters (Unicode code points), the others in bytes.
const (
	IDLength     = 12
	maxName      = 100
	maxPurpose   = 1000
	maxOwnerName = 255
	maxOwnerKey  = 255
	maxCreatedBy = 255

	lastYear   = 9999         // the last that RFC 3339, and so the API's JSON, can spell
	lastSecond = 253402300799 // its last second, since 1970
)

// Normalize returns t as a store keeps it: times in UTC and whole seconds,
// rounded down, and no secrets in a revoked token. It repairs nothing else;
// Validate says what is wrong.
func Normalize(t Token) Token {
	for _, at := range []*time.Time{&t.Created, &t.Expires, &t.Revoked, &t.Previous.Until} {
		*at = wholeSeconds(*at)
	}
	if t.State == Revoked {
		t.Secret, t.Previous = Secret{}, Previous{}
	}
	return t
}

func wholeSeconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// Validate reports the first rule that a normalized token breaks, as an error
// that wraps ErrInvalid and is fit to show to whoever sent the record. Every
// Store calls it before it writes; the Number is the store's own and not
// looked at.
func Validate(t Token) error {
	if err := checkID(t.ID); err != nil {
		return err
	}
	if err := checkOwner(t); err != nil {
		return err
	}
	if err := checkText("name", t.Name, utf8.RuneCountInString(t.Name), 1, maxName, false); err != nil {
		return err
	}
	if strings.TrimSpace(t.Name) == "" {
		return invalid("name has only spaces")
	}
	if err := checkText("purpose", t.Purpose, utf8.RuneCountInString(t.Purpose), 0, maxPurpose, true); err != nil {
		return err
	}
	if err := checkText("created by", t.CreatedBy, len(t.CreatedBy), 1, maxCreatedBy, false); err != nil {
		return err
	}
	for _, by := range [...]struct{ what, text string }{
		{"key of created by", t.CreatedByKey},
		{"issued by", t.IssuedBy},
		{"key of issued by", t.IssuedByKey},
		{"previous issued by", t.PreviousIssuedBy},
		{"key of previous issued by", t.PreviousIssuedByKey},
	} {
		if err := checkText(by.what, by.text, len(by.text), 0, maxCreatedBy, false); err != nil {
			return err
		}
	}
	if err := t.Rate.check(); err != nil {
		return err
	}
	if err := checkTimes(t); err != nil {
		return err
	}
	if err := checkNetworks(t.Networks); err != nil {
		return err
	}
	return checkSecrets(t)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

func checkID(id string) error {
	if len(id) != IDLength {
		return invalid("id has %d characters, not %d", len(id), IDLength)
	}
	for i := range len(id) {
		c := id[i]
		if !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return invalid("id has a character that is neither a letter A to Z nor a digit")
		}
	}
	return nil
}

// checkOwner holds a token's owner against its kind.
func checkOwner(t Token) error {
	switch {
	case t.Kind > Management:
		return invalid("kind %d is none", t.Kind)
	case t.Kind == Management && t.Owner != Owner{}:
		return invalid("management token has an owner")
	case t.Kind == Management && t.Expires.IsZero():
		return invalid("management token does not expire")
	case t.Kind == Management:
		return nil
	}
	if err := ValidOwnerName(t.Owner.Name); err != nil {
		return err
	}
	return checkText("owner key", t.Owner.Key, len(t.Owner.Key), 0, maxOwnerKey, false)
}

// ValidOwnerName reports why name cannot be the name of a token's owner, as an
// error that wraps ErrInvalid; nil if it can: 1 to 255 characters of printable
// ASCII without comma, semicolon and colon and without a space at either end.
//
// The name travels in a header and in Basic credentials. Basic ends a user
// name at the first colon (RFC 7617, section 2), authenticators behind a
// proxy split header values at commas and semicolons and trim spaces, and
// they disagree on the encoding of anything but ASCII: any of these could
// turn one user into another.
func ValidOwnerName(name string) error {
	switch {
	case name == "":
		return invalid("owner name is empty")
	case len(name) > maxOwnerName:
		return invalid("owner name has %d characters, at most %d are allowed", len(name), maxOwnerName)
	case name[0] == ' ' || name[len(name)-1] == ' ':
		return invalid("owner name begins or ends with a space")
	}
	for _, r := range name {
		switch {
		case r < ' ' || r > '~':
			return invalid("owner name has the character %U: only printable ASCII is allowed", r)
		case r == ',' || r == ';' || r == ':':
			return invalid("owner name has the character %q: comma, semicolon and colon are not allowed", r)
		}
	}
	return nil
}

// checkText checks the length, the encoding and the characters of a text for
// people. Letters, marks, numbers, punctuation, symbols and spaces of every
// script are good. Control and format characters are not: they break log
// lines and tables, and the bidirectional ones (CVE-2021-42574) show a text
// in another order than it has. lines allows line breaks, as "\n" alone.
func checkText(what, text string, length, least, most int, lines bool) error {
	switch {
	case length < least:
		return invalid("%s is empty", what)
	case length > most:
		return invalid("%s has %d characters, at most %d are allowed", what, length, most)
	case !utf8.ValidString(text):
		return invalid("%s is not valid UTF-8", what)
	}
	if plainText(text) {
		return nil
	}
	for _, r := range text {
		if !unicode.IsGraphic(r) && !(lines && r == '\n') {
			return invalid("%s has the character %U: control and format characters are not allowed", what, r)
		}
	}
	return nil
}

// plainText reports whether a text is printable ASCII, as almost all are.
func plainText(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

func checkTimes(t Token) error {
	if t.Created.IsZero() {
		return invalid("created has no time")
	}
	if !t.Expires.IsZero() && t.Expires.Unix() == 0 {
		return invalid("expires is not between the years 1970 and %d", lastYear) // the index's 0 is never
	}
	for _, at := range []struct {
		what string
		time time.Time
	}{
		{"created", t.Created},
		{"expires", t.Expires},
		{"revoked", t.Revoked},
		{"end of the previous secret", t.Previous.Until},
	} {
		switch {
		case at.time.IsZero():
		case at.time != wholeSeconds(at.time):
			return invalid("%s is not in UTC and whole seconds", at.what)
		case at.time.Unix() < 0 || at.time.Unix() > lastSecond:
			return invalid("%s is not between the years 1970 and %d", at.what, lastYear)
		}
	}
	return nil
}

func checkNetworks(networks []netip.Prefix) error {
	if len(networks) > MaxNetworks {
		return invalid("token has %d networks, at most %d are allowed", len(networks), MaxNetworks)
	}
	for _, n := range networks {
		switch {
		case !n.IsValid():
			return invalid("token has a network that is none")
		case n.Addr().Is4In6():
			return invalid("network %s is an IPv4 network in IPv6 form: write it as IPv4", n)
		case n != n.Masked():
			return invalid("network %s has bits set behind its prefix: write %s", n, n.Masked())
		}
	}
	return nil
}

func checkSecrets(t Token) error {
	if !t.State.known() {
		return invalid("state %d is none", t.State)
	}
	if t.State == Revoked {
		switch {
		case t.Revoked.IsZero():
			return invalid("token is revoked and does not say when")
		case t.Secret != Secret{} || t.Previous != Previous{}:
			return invalid("token is revoked and still has a secret")
		}
		return nil
	}
	switch {
	case !t.Revoked.IsZero():
		return invalid("token is %s and says when it was revoked", t.State)
	case !t.Secret.complete():
		return invalid("token has no salt or no hash")
	case t.Previous == Previous{}:
		return nil
	case !t.Previous.Secret.complete():
		return invalid("previous secret has no salt or no hash")
	case t.Previous.Until.IsZero():
		return invalid("previous secret has no end")
	}
	return nil
}

// complete reports whether both parts are there.
func (s Secret) complete() bool { return s.Salt != [16]byte{} && s.Hash != [32]byte{} }
