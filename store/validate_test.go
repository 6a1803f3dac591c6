package store_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/storetest"
)

func prefixes(text ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, t := range text {
		p = append(p, netip.MustParsePrefix(t))
	}
	return p
}

func revokedToken(t *store.Token) {
	t.State, t.Revoked = store.Revoked, storetest.Epoch
	t.Secret = store.Secret{}
}

func TestValidate(t *testing.T) {
	good := store.Secret{Salt: [16]byte{1}, Hash: [32]byte{1}}
	tests := []struct {
		name   string
		change func(*store.Token)
		want   string // part of the error; empty: valid
	}{
		{"as it is", func(t *store.Token) {}, ""},
		{"number is ignored", func(t *store.Token) { t.Number = 7 }, ""},

		{"id empty", func(t *store.Token) { t.ID = "" }, "id has 0 characters, not 12"},
		{"id short", func(t *store.Token) { t.ID = "abc" }, "id has 3 characters, not 12"},
		{"id with slash", func(t *store.Token) { t.ID = "abcdefghij/l" }, "neither a letter A to Z nor a digit"},
		{"id beyond ASCII", func(t *store.Token) { t.ID = "abcdefghijé" }, "neither a letter"},
		{"id of all kinds", func(t *store.Token) { t.ID = "AZaz09AZaz09" }, ""},

		{"owner", func(t *store.Token) { t.Owner.Name = "a,b" }, "owner name has the character ','"},
		{"kind unknown", func(t *store.Token) { t.Kind = 2 }, "kind 2 does not exist"},
		{"management", func(t *store.Token) {
			t.Kind, t.Owner, t.Expires = store.Management, store.Owner{}, storetest.Epoch
		}, ""},
		{"management with an owner", func(t *store.Token) { t.Kind, t.Expires = store.Management, storetest.Epoch }, "management token has an owner"},
		{"management without end", func(t *store.Token) { t.Kind, t.Owner = store.Management, store.Owner{} }, "management token does not expire"},
		{"ordinary without owner", func(t *store.Token) { t.Owner = store.Owner{} }, "owner name is empty"},
		{"creator's key long", func(t *store.Token) { t.CreatedByKey = strings.Repeat("x", 256) }, "key of created by has 256 characters"},

		{"rate", func(t *store.Token) { t.Rate = store.Rate{Requests: 1e6, Per: 24 * time.Hour, Burst: 1e6} }, ""},
		{"rate of no requests", func(t *store.Token) { t.Rate = store.Rate{Per: time.Second, Burst: 1} }, "rate has 0 requests"},
		{"rate of too many requests", func(t *store.Token) { t.Rate = store.Rate{Requests: 1e6 + 1, Per: time.Second, Burst: 1} }, "rate has 1000001 requests"},
		{"rate per part of a second", func(t *store.Token) { t.Rate = store.Rate{Requests: 1, Per: 1500 * time.Millisecond, Burst: 1} }, "rate is per 1.5s"},
		{"rate per no time", func(t *store.Token) { t.Rate = store.Rate{Requests: 1, Burst: 1} }, "rate is per 0s"},
		{"rate per two days", func(t *store.Token) { t.Rate = store.Rate{Requests: 1, Per: 48 * time.Hour, Burst: 1} }, "rate is per 48h"},
		{"rate without burst", func(t *store.Token) { t.Rate = store.Rate{Requests: 1, Per: time.Second} }, "rate has a burst of 0"},
		{"rate with a larger burst", func(t *store.Token) { t.Rate = store.Rate{Requests: 1, Per: time.Second, Burst: 2} }, "rate has a burst of 2"},

		{"owner key of an old Jira", func(t *store.Token) { t.Owner.Key = "bérénice" }, ""},
		{"owner key long", func(t *store.Token) { t.Owner.Key = strings.Repeat("x", 256) }, "owner key has 256 characters, at most 255"},
		{"owner key with a line break", func(t *store.Token) { t.Owner.Key = "a\nb" }, "owner key has the character U+000A"},

		{"name empty", func(t *store.Token) { t.Name = "" }, "name is empty"},
		{"name of spaces", func(t *store.Token) { t.Name = " \u3000\u00a0" }, "name has only spaces"},
		{"name of 100 characters", func(t *store.Token) { t.Name = strings.Repeat("鍵", 100) }, ""},
		{"name of 101 characters", func(t *store.Token) { t.Name = strings.Repeat("x", 101) }, "name has 101 characters, at most 100"},
		{"name in many scripts", func(t *store.Token) { t.Name = "Ключ für's Büro, 鍵 مفتاح <b>&\"' 🔑" }, ""},
		{"name with a line break", func(t *store.Token) { t.Name = "a\nb" }, "name has the character U+000A"},
		{"name with an escape", func(t *store.Token) { t.Name = "a\x1b[31mb" }, "name has the character U+001B"},
		{"name with NUL", func(t *store.Token) { t.Name = "a\x00" }, "name has the character U+0000"},
		{"name with a C1 control", func(t *store.Token) { t.Name = "a\u0085" }, "name has the character U+0085"},
		{"name that turns right to left", func(t *store.Token) { t.Name = "a\u202eb" }, "name has the character U+202E"},
		{"name with an isolate", func(t *store.Token) { t.Name = "a\u2066b" }, "name has the character U+2066"},
		{"name with a zero width space", func(t *store.Token) { t.Name = "a\u200bb" }, "name has the character U+200B"},
		{"name with a byte order mark", func(t *store.Token) { t.Name = "\ufeffa" }, "name has the character U+FEFF"},
		{"name with a line separator", func(t *store.Token) { t.Name = "a\u2028b" }, "name has the character U+2028"},
		{"name for private use", func(t *store.Token) { t.Name = "a\ue000" }, "name has the character U+E000"},
		{"name in Latin-1", func(t *store.Token) { t.Name = "B\xfcro" }, "name is not valid UTF-8"},

		{"purpose of lines", func(t *store.Token) { t.Purpose = "one\n\ntwo" }, ""},
		{"purpose of 1000 characters", func(t *store.Token) { t.Purpose = strings.Repeat("鍵", 1000) }, ""},
		{"purpose of 1001 characters", func(t *store.Token) { t.Purpose = strings.Repeat("x", 1001) }, "purpose has 1001 characters, at most 1000"},
		{"purpose with a carriage return", func(t *store.Token) { t.Purpose = "a\r\nb" }, "purpose has the character U+000D"},
		{"purpose not UTF-8", func(t *store.Token) { t.Purpose = "\xff" }, "purpose is not valid UTF-8"},

		{"created by is empty", func(t *store.Token) { t.CreatedBy = "" }, "created by is empty"},
		{"created by with a control", func(t *store.Token) { t.CreatedBy = "a\tb" }, "created by has the character U+0009"},
		{"created never", func(t *store.Token) { t.Created = time.Time{} }, "created has no time"},
		{"created in another zone", func(t *store.Token) { t.Created = t.Created.In(time.FixedZone("", 60)) }, "created is not in UTC and whole seconds"},
		{"expires in parts of a second", func(t *store.Token) { t.Expires = t.Created.Add(1) }, "expires is not in UTC and whole seconds"},
		{"expires too late", func(t *store.Token) { t.Expires = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "expires is not between the years 1970 and 9999"},
		{"expires too early", func(t *store.Token) { t.Expires = time.Unix(-1, 0).UTC() }, "expires is not between"},
		{"expires at the beginning of time", func(t *store.Token) { t.Expires = time.Unix(0, 0).UTC() }, "expires is not between"},
		{"created at the beginning of time", func(t *store.Token) { t.Created = time.Unix(0, 0).UTC() }, ""},

		{"networks", func(t *store.Token) {
			t.Networks = prefixes("10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "2001:db8::/32", "::/0")
		}, ""},
		{"64 networks", func(t *store.Token) { t.Networks = slices.Repeat(prefixes("10.0.0.0/8"), 64) }, ""},
		{"65 networks", func(t *store.Token) { t.Networks = slices.Repeat(prefixes("10.0.0.0/8"), 65) }, "token has 65 networks, at most 64"},
		{"10000 networks", func(t *store.Token) { t.Networks = make([]netip.Prefix, 10_000) }, "token has 10000 networks, at most 64"},
		{"invalid network", func(t *store.Token) { t.Networks = make([]netip.Prefix, 1) }, "an invalid network"},
		{"network not masked", func(t *store.Token) { t.Networks = prefixes("10.1.2.3/8") }, "network 10.1.2.3/8 has bits set behind its prefix: write 10.0.0.0/8"},
		{"network mapped", func(t *store.Token) { t.Networks = prefixes("::ffff:10.0.0.0/104") }, "in IPv6 form: write it as IPv4"},

		{"no state", func(t *store.Token) { t.State = 0 }, "state 0 does not exist"},
		{"state beyond the last", func(t *store.Token) { t.State = store.Revoked + 1 }, "state 5 does not exist"},
		{"pending", func(t *store.Token) { t.State = store.Pending }, ""},
		{"disabled", func(t *store.Token) { t.State = store.Disabled }, ""},
		{"revoked", revokedToken, ""},
		{"revoked, no time", func(t *store.Token) { revokedToken(t); t.Revoked = time.Time{} }, "has no revocation time"},
		{"revoked with a secret", func(t *store.Token) { revokedToken(t); t.Secret = good }, "still has a secret"},
		{"revoked with a previous secret", func(t *store.Token) { revokedToken(t); t.Previous.Secret = good }, "still has a secret"},
		{"active with a time of revocation", func(t *store.Token) { t.Revoked = t.Created }, "token is active but has a revocation time"},

		{"no secret", func(t *store.Token) { t.Secret = store.Secret{} }, "no salt or no hash"},
		{"no salt", func(t *store.Token) { t.Secret.Salt = [16]byte{} }, "no salt or no hash"},
		{"no hash", func(t *store.Token) { t.Secret.Hash = [32]byte{} }, "no salt or no hash"},
		{"previous secret", func(t *store.Token) { t.Previous = store.Previous{Secret: good, Until: t.Created} }, ""},
		{"previous secret without end", func(t *store.Token) { t.Previous.Secret = good }, "previous secret has no end"},
		{"end of no previous secret", func(t *store.Token) { t.Previous.Until = t.Created }, "previous secret has no salt or no hash"},
		{"end of the previous secret not whole", func(t *store.Token) { t.Previous = store.Previous{Secret: good, Until: t.Created.Add(1)} }, "end of the previous secret is not in UTC"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token := storetest.NewToken(1, "fred")
			test.change(&token)
			err := store.Validate(token)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("error %q, want none", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, store.ErrInvalid)):
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestValidOwnerName(t *testing.T) {
	for _, name := range []string{
		"fred", "Fred.Flintstone", "fred@example.com", "EXAMPLE\\fred", "fred smith", "o'hara", "a", "0", "[x]", "~", "!",
		strings.Repeat("x", 255),
	} {
		if err := store.ValidOwnerName(name); err != nil {
			t.Errorf("%.20q: error %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"":                       "owner name is empty",
		" fred":                  "begins or ends with a space",
		"fred ":                  "begins or ends with a space",
		" ":                      "begins or ends with a space",
		"fred,wilma":             "the character ','",
		"fred;wilma":             "the character ';'",
		"fred:wilma":             "the character ':'",
		"fréd":                   "the character U+00E9: only printable ASCII",
		"fred\n":                 "the character U+000A",
		"fred\x7f":               "the character U+007F",
		"fred\x00":               "the character U+0000",
		"fr\xffed":               "the character U+FFFD",
		"\u212aelvin":            "the character U+212A",
		strings.Repeat("x", 256): "256 characters, at most 255",
	} {
		err := store.ValidOwnerName(name)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%.20q: error %v, want %q", name, err, want)
		}
	}
}

func TestNormalize(t *testing.T) {
	token := storetest.NewToken(1, "fred")
	token.Created = storetest.Epoch.Add(999 * time.Millisecond).In(time.FixedZone("", -3600))
	token.Previous.Secret, token.Previous.Until = token.Secret, storetest.Epoch.Add(1)
	got := store.Normalize(token)
	if got.Created != storetest.Epoch || got.Previous.Until != storetest.Epoch || !got.Expires.IsZero() {
		t.Errorf("times are %v, %v and %v", got.Created, got.Previous.Until, got.Expires)
	}
	if got.Secret != token.Secret {
		t.Error("a live token lost its secret")
	}
	token.State = store.Revoked
	if got := store.Normalize(token); got.Secret != (store.Secret{}) || got.Previous != (store.Previous{}) {
		t.Error("a revoked token keeps a secret")
	}
}

func TestState(t *testing.T) {
	for state, want := range map[store.State]string{
		store.Pending: "pending", store.Active: "active", store.Disabled: "disabled", store.Revoked: "revoked",
	} {
		if got := state.String(); got != want {
			t.Errorf("state %d is %q, want %q", state, got, want)
		}
	}
	for _, state := range []store.State{0, 5, 255} {
		if got := state.String(); !strings.HasPrefix(got, "state(") {
			t.Errorf("state %d is %q", state, got)
		}
	}
}
