package token_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tokengate/tokengate/authz/token"
)

func mint(t testing.TB, kind token.Kind) token.Value {
	t.Helper()
	v, err := token.Mint(kind, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestMintedValueHasTheDocumentedShape(t *testing.T) {
	for kind, shape := range map[token.Kind]string{
		token.Ordinary:   `\btgate_[0-9A-Za-z]{61}\b`,
		token.Management: `\btgadm_[0-9A-Za-z]{61}\b`,
	} {
		v := mint(t, kind)
		if got := regexp.MustCompile(shape).FindString(v.Reveal()); got != v.Reveal() || len(got) != 67 {
			t.Errorf("a value of kind %d is %d characters and does not match %s as a whole", kind, len(v.Reveal()), shape)
		}
		parsed, err := token.Parse(v.Reveal())
		if err != nil || parsed != v {
			t.Errorf("Parse(Reveal()) = %v, %v; want the same value", parsed, err)
		}
		if v.Kind() != kind || !token.ValidID(v.ID().String()) || !strings.Contains(v.Reveal(), v.ID().String()) {
			t.Errorf("kind %d, id %q", v.Kind(), v.ID())
		}
	}
}

// The text form never changes, because users' scripts contain tokens.
func TestTextFormIsStable(t *testing.T) {
	v, err := token.Mint(token.Ordinary, bytes.NewReader(bytes.Repeat([]byte{0, 1, 2, 250, 61, 62}, 50)))
	if err != nil {
		t.Fatal(err)
	}
	const want = "tgate_012z0012z0012z0012z0012z0012z0012z0012z0012z0012z00" // up to the checksum
	if got := v.Reveal(); got[:len(want)] != want || got[61:] != "0dmjdV" {
		t.Errorf("minted %s…%s", got[:len(want)], got[61:])
	}
}

func TestRemintKeepsTheID(t *testing.T) {
	v := mint(t, token.Ordinary)
	again, err := token.Remint(token.Ordinary, v.ID(), token.Random)
	if err != nil || again.ID() != v.ID() || again == v {
		t.Errorf("Remint = %v, %v", again, err)
	}
	if _, err := token.Remint(token.Ordinary, token.ID{}, token.Random); !errors.Is(err, token.ErrMalformed) {
		t.Errorf("Remint with a bad id: %v", err)
	}
}

func TestMintFailsWithItsRandomness(t *testing.T) {
	broken := errors.New("no entropy")
	if v, err := token.Mint(token.Ordinary, iotest.ErrReader(broken)); !errors.Is(err, broken) || v != (token.Value{}) {
		t.Errorf("Mint = %v, %v", v, err)
	}
	if _, err := token.Salt(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("Salt: %v", err)
	}
	if _, err := token.Mint(0, token.Random); err == nil {
		t.Error("Mint made a token of no kind")
	}
}

func TestParseRefuses(t *testing.T) {
	good := mint(t, token.Ordinary).Reveal()
	flip := func(i int) string {
		c := byte('A')
		if good[i] == c {
			c = 'B'
		}
		return good[:i] + string(c) + good[i+1:]
	}
	cases := map[string]string{
		"empty":              "",
		"prefix only":        "tgate_",
		"upper-case prefix":  "TGATE_" + good[6:],
		"other prefix":       "tgadm_" + good[6:],
		"cut short":          good[:66],
		"one too long":       good + "0",
		"leading space":      " " + good,
		"trailing newline":   good + "\n",
		"not base62":         good[:20] + "-" + good[21:],
		"two-byte character": good[:20] + "é" + good[22:],
	}
	for i := 6; i < len(good); i++ {
		cases[fmt.Sprintf("character %d changed", i)] = flip(i)
	}
	for name, text := range cases {
		v, err := token.Parse(text)
		if !errors.Is(err, token.ErrMalformed) || v != (token.Value{}) {
			t.Errorf("%s: Parse = %v, %v; want ErrMalformed", name, v, err)
		}
		if err != nil && strings.Contains(err.Error(), good[20:50]) {
			t.Errorf("%s: the error repeats the secret", name)
		}
	}
}

func TestMatches(t *testing.T) {
	v, other := mint(t, token.Ordinary), mint(t, token.Ordinary)
	salt, err := token.Salt(token.Random)
	if err != nil {
		t.Fatal(err)
	}
	hash := v.Hash(salt)
	for name, c := range map[string]struct {
		value token.Value
		salt  [16]byte
		hash  [32]byte
		want  bool
	}{
		"its own":                 {v, salt, hash, true},
		"another secret":          {other, salt, hash, false},
		"another salt":            {v, [16]byte{1}, hash, false},
		"a wiped hash":            {v, [16]byte{}, [32]byte{}, false},
		"no value":                {token.Value{}, salt, hash, false},
		"no value and wiped hash": {token.Value{}, [16]byte{}, token.Value{}.Hash([16]byte{}), false},
	} {
		if got := c.value.Matches(c.salt, c.hash); got != c.want {
			t.Errorf("%s: Matches = %v, want %v", name, got, c.want)
		}
	}
}

func TestNoPrintedFormHoldsTheSecret(t *testing.T) {
	v := mint(t, token.Ordinary)
	secret := v.Reveal()[18:61]
	encoded, err := json.Marshal(struct{ V token.Value }{v})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		v.String(), fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s %q", v, v, v, v, v), string(encoded),
		fmt.Sprintf("%+v", struct{ V token.Value }{v}),
	} {
		if strings.Contains(shown, secret) {
			t.Errorf("the secret is in %q", strings.ReplaceAll(shown, secret, "SECRET"))
		}
		if !strings.Contains(shown, v.ID().String()) {
			t.Errorf("%q does not name the id", shown)
		}
	}
}

func TestContainsAndRedact(t *testing.T) {
	v := mint(t, token.Ordinary).Reveal()
	short := v[:18]
	for _, c := range []struct {
		text     string
		contains bool
		redacted string
	}{
		{"", false, ""},
		{"/rest/api/2/myself", false, "/rest/api/2/myself"},
		{"tgate_", false, "tgate_"},
		{"text~tgate_ and tg", false, "text~tgate_ and tg"},
		{v, true, short + "…"},
		{"x" + v + "/y", true, "x" + short + "…/y"},
		{"tgtgate_" + v, true, "tgtgate_" + short + "…"},
		{"tgadm_" + v[6:] + "," + v, true, "tgadm_" + v[6:18] + "…," + short + "…"},
		{v[:60], false, short + "…"},
		{v[:token.SecretEnd], true, short + "…"},
		{v[:50] + v, true, short + "…" + short + "…"},
		{v + "00", true, short + "…"},
	} {
		if got := token.Contains(c.text); got != c.contains {
			t.Errorf("Contains(%.20q…) = %v, want %v", c.text, got, c.contains)
		}
		if got := token.Redact(c.text); got != c.redacted {
			t.Errorf("Redact(%.20q…) = %q, want %q", c.text, got, c.redacted)
		}
	}
}

func FuzzParse(f *testing.F) {
	good := mint(f, token.Ordinary).Reveal()
	for _, seed := range []string{"", good, good[:66], good + "A", "tgadm_" + good[6:], strings.ToUpper(good), "tgate_é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := token.Parse(text)
		if err != nil {
			if !errors.Is(err, token.ErrMalformed) || v != (token.Value{}) {
				t.Errorf("a refusal is %v, %v", v, err)
			}
			return
		}
		if v.Reveal() != text {
			t.Error("a text parsed to a value that is another text")
		}
		if !token.IsCredential(text) || !token.Contains(text) || token.Redact(text) == text {
			t.Error("a value is not recognised as one")
		}
	})
}

// Minted values parse to themselves, and no other text parses to them.
func FuzzMint(f *testing.F) {
	f.Add([]byte("seed"), 0)
	f.Fuzz(func(t *testing.T, seed []byte, at int) {
		v, err := token.Mint(token.Ordinary, bytes.NewReader(bytes.Repeat(append(seed, 7), 400)))
		if err != nil {
			return // nothing but bytes above 247
		}
		text := v.Reveal()
		if parsed, err := token.Parse(text); err != nil || parsed != v {
			t.Fatalf("Parse = %v, %v", parsed, err)
		}
		at = int(uint(at) % uint(len(text)))
		changed := []byte(text)
		changed[at] ^= 1
		if _, err := token.Parse(string(changed)); err == nil {
			t.Error("a changed text parses")
		}
	})
}
