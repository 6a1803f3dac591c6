package store

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Maximum lengths of a record's texts: names and purposes in Unicode code points, the others in
// bytes.
const (
	MaxName      = 100
	MaxPurpose   = 1000
	maxOwnerName = 255
	maxOwnerKey  = 255
	maxCreatedBy = 255

	lastYear   = 9999         // the last year of RFC 3339, and so of the API's JSON
	lastSecond = 253402300799 // the last second of that year, in Unix seconds
)

// Normalize returns t as a store keeps it: times in UTC, rounded down to whole seconds, and no
// secrets in a revoked token.
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

// Validate checks a normalized token. Its error wraps ErrInvalid and may be shown to the client.
// Every Store calls it before it writes. It ignores the Number, which the store sets.
func Validate(t Token) error {
	if err := checkID(t.ID); err != nil {
		return err
	}
	if err := checkOwner(t); err != nil {
		return err
	}
	if err := checkText("name", t.Name, utf8.RuneCountInString(t.Name), 1, MaxName, false); err != nil {
		return err
	}
	if strings.TrimSpace(t.Name) == "" {
		return invalid("name has only spaces")
	}
	if err := checkText("purpose", t.Purpose, utf8.RuneCountInString(t.Purpose), 0, MaxPurpose, true); err != nil {
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

// checkOwner checks the kind, and that the owner fits it.
func checkOwner(t Token) error {
	switch {
	case t.Kind > Management:
		return invalid("kind %d does not exist", t.Kind)
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

// ValidOwnerName returns an error that wraps ErrInvalid unless name can be a token owner's name:
// 1 to 255 characters of printable ASCII without comma, semicolon and colon, and without a space
// at either end.
//
// The name is sent in a header and in Basic credentials. In Basic credentials the user name ends
// at the first colon (RFC 7617, section 2). Authenticators behind a proxy split header values at
// commas and semicolons, trim spaces, and disagree on the encoding of non-ASCII characters. Any
// of these could turn one user into another.
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

// checkText checks the length, encoding and characters of a free text. It refuses control and
// format characters: they break log lines and tables, and bidirectional ones (CVE-2021-42574)
// display a text in another order. lines allows "\n".
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

// plainText reports whether a text is printable ASCII: a fast path for almost all texts.
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
		return invalid("expires is not between the years 1970 and %d", lastYear) // 0 means never in the index
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
			return invalid("token has an invalid network")
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
		return invalid("state %d does not exist", t.State)
	}
	if t.State == Revoked {
		switch {
		case t.Revoked.IsZero():
			return invalid("token is revoked but has no revocation time")
		case t.Secret != Secret{} || t.Previous != Previous{}:
			return invalid("token is revoked and still has a secret")
		}
		return nil
	}
	switch {
	case !t.Revoked.IsZero():
		return invalid("token is %s but has a revocation time", t.State)
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

func (r Rate) check() error {
	switch {
	case r == Rate{}:
		return nil
	case r.Requests < 1 || r.Requests > MaxRateRequests:
		return invalid("rate has %d requests; 1 to %d are allowed", r.Requests, MaxRateRequests)
	case r.Per < time.Second || r.Per > MaxRatePer || r.Per%time.Second != 0:
		return invalid("rate is per %s; whole seconds from 1s to %s are allowed", r.Per, MaxRatePer)
	case r.Burst < 1 || r.Burst > r.Requests:
		return invalid("rate has a burst of %d; 1 to its %d requests are allowed", r.Burst, r.Requests)
	}
	return nil
}
