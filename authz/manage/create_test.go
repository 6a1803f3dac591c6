package manage_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/store"
)

func TestCreate(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, manage.NewToken{
		Owner:    "Fred",
		Name:     " build server ",
		Purpose:  "nightly\r\nbuilds",
		Expires:  days(90),
		ReadOnly: true,
		Networks: []string{"192.0.2.0/24", "::ffff:198.51.100.7", "2001:db8::/32", "192.0.2.0/24"},
	})
	networks := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("2001:db8::/32"),
	}
	want := manage.Token{
		ID:        issued.Value.ID().String(),
		Number:    1,
		Owner:     "Fred",
		Name:      "build server",
		Purpose:   "nightly\nbuilds",
		Created:   start,
		CreatedBy: "uid:0",
		Expires:   start.Add(90 * 24 * time.Hour),
		ReadOnly:  true,
		Networks:  networks,
		State:     manage.StateActive,
	}
	if diff := cmp.Diff(want, issued.Token, compareAddresses); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if got := f.reason(issued.Value); got != authz.TokenAllowed {
		t.Errorf("a request with the new token is decided as %v", got)
	}
	wantAudit := []store.Audit{{
		Time: start, Actor: "uid:0", From: "admin socket", Action: "token.create",
		TokenID: issued.Token.ID, Owner: "Fred", Outcome: "done",
		Changes: map[string]store.Change{
			"name":     {After: "build server"},
			"purpose":  {After: "nightly\nbuilds"},
			"expires":  {After: "2026-05-30T12:00:00Z"},
			"readOnly": {After: "true"},
			"networks": {After: "192.0.2.0/24 198.51.100.7/32 2001:db8::/32"},
			"state":    {After: "active"},
			"type":     {After: "ordinary"},
			"owner":    {After: "Fred"},
		},
	}}
	if diff := cmp.Diff(wantAudit, f.audit(t)); diff != "" {
		t.Errorf("audit log (-want +got):\n%s", diff)
	}
}

func TestCreateRefused(t *testing.T) {
	value, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		ask   func(*manage.NewToken)
		field manage.Field
		says  string // part of the message
	}{
		{"no owner", func(n *manage.NewToken) { n.Owner = "" }, manage.FieldOwner, "which user"},
		{"a rate of nothing", func(n *manage.NewToken) { n.Rate = config.Rate{Per: time.Minute} }, manage.FieldRate, "1 to 1000000 requests"},
		{"a rate per no time", func(n *manage.NewToken) { n.Rate = config.Rate{Requests: 1} }, manage.FieldRate, "1 to 86400 seconds"},
		{"a rate with a large burst", func(n *manage.NewToken) { n.Rate = config.Rate{Requests: 1, Per: time.Minute, Burst: 2} }, manage.FieldRate, "burst"},
		{"owner with a comma", func(n *manage.NewToken) { n.Owner = "a,b" }, manage.FieldOwner, "','"},
		{"owner with a control character", func(n *manage.NewToken) { n.Owner = "a\nb" }, manage.FieldOwner, "U+000A"},
		{"a value as owner", func(n *manage.NewToken) { n.Owner = value.Reveal() }, manage.FieldOwner, "secret"},
		{"no name", func(n *manage.NewToken) { n.Name = "" }, manage.FieldName, "1 to 100"},
		{"a name that shows as nothing", func(n *manage.NewToken) { n.Name = "\u3164 \u2800" }, manage.FieldName, "1 to 100"},
		{"a name of marks alone", func(n *manage.NewToken) { n.Name = "\ufe0f\u180b\u034f" }, manage.FieldName, "1 to 100"},
		{"a name of spaces", func(n *manage.NewToken) { n.Name = " \t " }, manage.FieldName, "1 to 100"},
		{"a long name", func(n *manage.NewToken) { n.Name = strings.Repeat("ü", 101) }, manage.FieldName, "101 characters"},
		{"a name with an escape", func(n *manage.NewToken) { n.Name = "a\x1b[2Jb" }, manage.FieldName, "U+001B"},
		{"a name with a line break", func(n *manage.NewToken) { n.Name = "a\nb" }, manage.FieldName, "U+000A"},
		{"a name that runs backwards", func(n *manage.NewToken) { n.Name = "a\u202eb" }, manage.FieldName, "U+202E"},
		{"a name that is no text", func(n *manage.NewToken) { n.Name = "a\xffb" }, manage.FieldName, "UTF-8"},
		{"a value in the name", func(n *manage.NewToken) { n.Name = "my " + value.Reveal() }, manage.FieldName, "secret"},
		{"a long purpose", func(n *manage.NewToken) { n.Purpose = strings.Repeat("a", 1001) }, manage.FieldPurpose, "1001 characters"},
		{"a purpose with a tab", func(n *manage.NewToken) { n.Purpose = "a\tb" }, manage.FieldPurpose, "U+0009"},
		{"a value in the purpose", func(n *manage.NewToken) { n.Purpose = value.Reveal() }, manage.FieldPurpose, "secret"},
		{"no network", func(n *manage.NewToken) { n.Networks = []string{"office"} }, manage.FieldNetworks, "office"},
		{"bits behind the prefix", func(n *manage.NewToken) { n.Networks = []string{"192.0.2.7/24"} }, manage.FieldNetworks, "192.0.2.0/24"},
		{"a zone", func(n *manage.NewToken) { n.Networks = []string{"fe80::1%eth0"} }, manage.FieldNetworks, "zone"},
		{"a value as network", func(n *manage.NewToken) { n.Networks = []string{value.Reveal()} }, manage.FieldNetworks, "not a network"},
		{"65 networks", func(n *manage.NewToken) { n.Networks = networks(65) }, manage.FieldNetworks, "65 networks"},
		{"10000 networks", func(n *manage.NewToken) { n.Networks = slices.Repeat([]string{"x"}, 10000) }, manage.FieldNetworks, "10000 networks"},
		{"an end in the past", func(n *manage.NewToken) { n.Expires = manage.Expiry{At: start} }, manage.FieldExpires, "future"},
		{"a negative lifetime", func(n *manage.NewToken) { n.Expires = days(-1) }, manage.FieldExpires, "future"},
		{"an end too far off", func(n *manage.NewToken) { n.Expires = manage.Expiry{At: start.AddDate(9000, 0, 0)} }, manage.FieldExpires, "9999"},
		{"two ends", func(n *manage.NewToken) {
			n.Expires = days(1)
			n.Expires.At = start.Add(time.Hour)
		}, manage.FieldExpires, "Two expiries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			asked := manage.NewToken{Owner: "fred", Name: "ci"}
			c.ask(&asked)
			issued, err := f.Create(t.Context(), root, asked)
			is(t, err, manage.ErrInvalid, c.field)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("the message is %q; it does not say %q", err, c.says)
			}
			if token.Redact(err.Error()) != err.Error() {
				t.Errorf("the message repeats a secret: %q", err)
			}
			if issued.Value != (token.Value{}) {
				t.Error("a refusal came with a value")
			}
			if n := f.count(t); n != 0 {
				t.Errorf("the store has %d tokens", n)
			}
			audit := f.lastAudit(t)
			if audit.Outcome != "refused" || audit.Reason != "invalid: "+string(c.field) || audit.Changes != nil {
				t.Errorf("audit record %+v", audit)
			}
			if text := fmt.Sprint(audit); token.Redact(text) != text || strings.ContainsAny(text, "\n\x1b") {
				t.Errorf("the audit record repeats what was not checked: %q", text)
			}
		})
	}
}

func networks(n int) (texts []string) {
	for i := range n {
		texts = append(texts, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String())
	}
	return texts
}

func TestCreateLargest(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, manage.NewToken{
		Owner:    strings.Repeat("o", 255),
		Name:     strings.Repeat("ü", 100),
		Purpose:  strings.Repeat("世", 1000),
		Networks: networks(64),
		Expires:  unlimited,
	})
	if n := len(issued.Token.Networks); n != 64 {
		t.Errorf("%d networks", n)
	}
	if !issued.Token.Expires.IsZero() {
		t.Errorf("it expires at %v", issued.Token.Expires)
	}
}

func TestCreateDefaultLifetime(t *testing.T) {
	f := newFixture(t)
	f.pass(900 * time.Millisecond)
	issued := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
	if got, want := issued.Token.Expires, start.Add(manage.DefaultLifetime); !got.Equal(want) {
		t.Errorf("expires at %v, want %v", got, want)
	}
	f.pass(manage.DefaultLifetime)
	if got := f.reason(issued.Value); got != authz.Expired {
		t.Errorf("after its life it is decided as %v", got)
	}
}

func TestNameIsUniqueAmongTokensInForce(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, manage.NewToken{Owner: "fred", Name: "ci", Expires: days(1)})
	_, err := f.Create(t.Context(), root, manage.NewToken{Owner: "FRED", Name: "CI"})
	is(t, err, manage.ErrConflict, manage.FieldName)
	if !strings.Contains(err.Error(), first.Token.ID) {
		t.Errorf("the message %q does not name the other token", err)
	}
	for _, alike := range []string{"c\ufe0fi", "ci\u2800", "\u3164ci"} {
		if _, err := f.Create(t.Context(), root, manage.NewToken{Owner: "fred", Name: alike}); !errors.Is(err, manage.ErrConflict) {
			t.Errorf("%q is no conflict: %v", alike, err)
		}
	}
	f.create(t, manage.NewToken{Owner: "fred", Name: "c i ⚠️"})
	if _, err := f.Create(t.Context(), root, manage.NewToken{Owner: "fred", Name: "c \u00a0 i ⚠"}); !errors.Is(err, manage.ErrConflict) {
		t.Errorf("other spaces are no conflict: %v", err)
	}
	f.create(t, manage.NewToken{Owner: "wilma", Name: "ci"})

	f.pass(24 * time.Hour)
	second := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
	if err := f.Revoke(t.Context(), root, second.Token.ID); err != nil {
		t.Fatal(err)
	}
	f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
}

func TestLimitCountsTokensInForce(t *testing.T) {
	f := newFixture(t)
	gone := f.create(t, manage.NewToken{Owner: "fred", Name: "0"})
	f.create(t, manage.NewToken{Owner: "fred", Name: "1", Expires: days(1)})
	off := f.create(t, manage.NewToken{Owner: "fred", Name: "2"})
	f.disable(t, off.Token.ID) // it may be switched on again, so it counts

	refusedNow := func() {
		t.Helper()
		_, err := f.Create(t.Context(), root, manage.NewToken{Owner: "fred", Name: "one more"})
		is(t, err, manage.ErrLimit, "")
		if !strings.Contains(err.Error(), "maxPerUser") {
			t.Errorf("the message %q does not name the setting", err)
		}
	}
	refusedNow()
	f.create(t, manage.NewToken{Owner: "wilma", Name: "0"})
	if err := f.Revoke(t.Context(), root, gone.Token.ID); err != nil {
		t.Fatal(err)
	}
	f.create(t, manage.NewToken{Owner: "fred", Name: "instead of the revoked"})
	refusedNow()
	f.pass(24 * time.Hour)
	f.create(t, manage.NewToken{Owner: "fred", Name: "instead of the expired"})
	refusedNow()
	if got := f.lastAudit(t); got.Reason != "limit" || got.Owner != "fred" {
		t.Errorf("audit record %+v", got)
	}
}

// noRandomness is a broken source of randomness.
type noRandomness struct{}

func (noRandomness) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestNoRandomness(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
	f.Random = noRandomness{}
	if _, err := f.Create(t.Context(), root, manage.NewToken{Owner: "fred", Name: "other"}); err == nil {
		t.Error("a token came to be without randomness")
	}
	if _, err := f.Rotate(t.Context(), root, issued.Token.ID, manage.Rotation{}); err == nil {
		t.Error("a token was rotated without randomness")
	}
	if got := f.reason(issued.Value); got != authz.TokenAllowed {
		t.Errorf("the token is decided as %v", got)
	}
	if n := f.count(t); n != 1 {
		t.Errorf("the store has %d tokens", n)
	}
}
