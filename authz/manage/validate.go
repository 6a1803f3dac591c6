package manage

import (
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

// checkID refuses texts that cannot be an id. Users sometimes paste a value, which
// is neither looked up nor repeated.
func checkID(id string) error {
	switch {
	case token.IsCredential(id), token.Contains(id):
		return invalid(FieldID, "This is a token's value, not its id. The id is the 12 characters after the first underscore.")
	case !token.ValidID(id):
		return errNoToken()
	}
	return nil
}

// checkOwner refuses names that no user can have.
func checkOwner(name string) error {
	if err := store.ValidOwnerName(name); err != nil {
		return invalid(FieldOwner, "%s", Sentence(err))
	}
	return checkNoValue(FieldOwner, name)
}

// checkName returns a token's name without leading and trailing spaces.
func checkName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if strings.TrimFunc(name, isBlank) == "" {
		return "", invalid(FieldName, "A token needs a name of 1 to %d characters.", store.MaxName)
	}
	return name, checkText(FieldName, name, store.MaxName, "")
}

// isBlank reports whether a character is invisible, even if Unicode calls it
// graphic.
func isBlank(r rune) bool { return unicode.IsSpace(r) || r == 0x2800 || isIgnorable(r) }

// isIgnorable reports whether most fonts show nothing for a character, such as a
// filler or a variation selector.
// Source: Default_Ignorable_Code_Point of Unicode, DerivedCoreProperties.txt.
func isIgnorable(r rune) bool {
	return unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || unicode.Is(unicode.Variation_Selector, r)
}

// sameName reports whether two names look the same, ignoring case.
func sameName(a, b string) bool {
	shown := func(name string) string {
		return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
			switch {
			case isIgnorable(r):
				return -1
			case isBlank(r):
				return ' '
			}
			return r
		}, name)), " ")
	}
	return strings.EqualFold(shown(a), shown(b))
}

// checkPurpose returns a token's purpose with the store's line endings.
func checkPurpose(purpose string) (string, error) {
	purpose = strings.TrimSpace(strings.ReplaceAll(purpose, "\r\n", "\n"))
	return purpose, checkText(FieldPurpose, purpose, store.MaxPurpose, "\n")
}

// checkText refuses a text that is too long or that a terminal or a page might
// show as something that it is not. It lets the characters in also through.
func checkText(field Field, text string, most int, also string) error {
	if n := utf8.RuneCountInString(text); n > most {
		return invalid(field, "The %s has %d characters; at most %d are allowed.", field, n, most)
	}
	if !utf8.ValidString(text) {
		return invalid(field, "The %s is not valid UTF-8.", field)
	}
	for _, r := range text {
		if !unicode.IsGraphic(r) && !strings.ContainsRune(also, r) {
			return invalid(field, "The %s holds the character %U; only printable characters are allowed.", field, r)
		}
	}
	return checkNoValue(field, text)
}

// checkNoValue refuses a text that contains a token's value, since the text appears
// in listings and logs.
func checkNoValue(field Field, text string) error {
	if token.Contains(text) {
		return invalid(field, "The %s holds a token's value, which must stay secret.", field)
	}
	return nil
}

// parseNetworks reads networks and addresses, without duplicates.
func parseNetworks(texts []string) ([]netip.Prefix, error) {
	if len(texts) > store.MaxNetworks {
		return nil, invalid(FieldNetworks, "%d networks were given; a token has at most %d. Give larger networks.", len(texts), store.MaxNetworks)
	}
	var networks []netip.Prefix
	for _, text := range texts {
		parsed, err := config.ParsePrefix(text)
		if err != nil {
			return nil, invalid(FieldNetworks, "%s", token.Redact(Sentence(err)))
		}
		if !slices.Contains(networks, parsed.Prefix) {
			networks = append(networks, parsed.Prefix)
		}
	}
	return networks, nil
}

// expiry returns when a token expires that is created or rotated at now; the zero
// time is never. asked is false for the zero Expiry.
func (e Expiry) expiry(now time.Time) (at time.Time, asked bool, err error) {
	in := e.In != config.Lifetime{}
	switch {
	case !e.At.IsZero() && in:
		return at, false, invalid(FieldExpires, "Two expiries were given. Give a time or a lifetime.")
	case in && e.In.Unlimited:
		return at, true, nil
	case in:
		at = now.Add(e.In.Duration)
	case !e.At.IsZero():
		at = e.At
	default:
		return at, false, nil
	}
	at = at.UTC().Truncate(time.Second)
	switch {
	case !at.After(now):
		return at, true, invalid(FieldExpires, "The token would already have expired, at %s. Give a time in the future.", timeText(at))
	case at.Year() > lastYear:
		return at, true, invalid(FieldExpires, "The token would expire after the year %d. Give an earlier time, or make it unlimited.", lastYear)
	}
	return at, true, nil
}

// lastYear is the last year that RFC 3339 can represent.
const lastYear = 9999

// defaultBurst returns a rate whose missing burst is the largest that limit allows.
func defaultBurst(r, limit config.Rate) config.Rate {
	if r.Burst == 0 && limit.Burst > 0 {
		r.Burst = min(r.Requests, limit.Burst)
	}
	return r
}

// checkRate validates a rate. The default burst is all requests.
func checkRate(r config.Rate) (store.Rate, error) {
	if r == (config.Rate{}) {
		return store.Rate{}, nil
	}
	if r.Burst == 0 {
		r.Burst = r.Requests
	}
	switch {
	case r.Requests < 1 || r.Requests > store.MaxRateRequests:
		return store.Rate{}, invalid(FieldRate, "A rate has 1 to %d requests.", store.MaxRateRequests)
	case r.Per < time.Second || r.Per > store.MaxRatePer || r.Per%time.Second != 0:
		return store.Rate{}, invalid(FieldRate, "A rate's period is 1 to %d seconds.", int(store.MaxRatePer.Seconds()))
	case r.Burst < 1 || r.Burst > r.Requests:
		return store.Rate{}, invalid(FieldRate, "A rate's burst is 1 to its number of requests, %d.", r.Requests)
	}
	return storeRate(r), nil
}
