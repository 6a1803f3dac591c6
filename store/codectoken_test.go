package store_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/storetest"
)

var comparer = cmp.Options{cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()}

func fullToken() store.Token {
	t := storetest.NewToken(1, "fred")
	t.Number = 42
	t.Owner.Key = "JIRAUSER10100"
	t.Name = "Büro <1>"
	t.Purpose = "export\nnightly"
	t.Expires = storetest.Epoch.AddDate(0, 3, 0)
	t.ReadOnly = true
	t.Networks = prefixes("10.0.0.0/8", "2001:db8::/32")
	t.State = store.Disabled
	t.Rate = store.Rate{Requests: 600, Per: time.Minute, Burst: 100}
	t.CreatedByKey = "JIRAUSER2"
	t.IssuedBy, t.IssuedByKey = "wilma", "JIRAUSER3"
	t.PreviousIssuedBy, t.PreviousIssuedByKey = "barney", "JIRAUSER4"
	t.Previous = store.Previous{Secret: t.Secret, Until: storetest.Epoch.Add(time.Hour)}
	return t
}

// secret is the field of NewToken(1)'s secret.
const secret = "salt test0000000" + "hash test00000001" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// Parts of records. A tag is the field's number shifted left by 3, plus 2 for fields with a
// length.
const (
	smallHead = "\x0a\x0ctest00000001" + "\x10\x2a" + "\x1a\x04fred" + "\x2a\x07token 1" + "\x38\xc0\xd4\x90\xcd\x06" + "\x42\x05uid:0"
	fullHead  = "\x0a\x0ctest00000001" + "\x10\x2a" + "\x1a\x04fred" + "\x22\x0dJIRAUSER10100" + "\x2a\x09Büro <1>" +
		"\x32\x0eexport\nnightly" + "\x38\xc0\xd4\x90\xcd\x06" + "\x42\x05uid:0"
	fullExpires = "\x48\xc0\xe8\xf5\xd0\x06"
	netA        = "\x5a\x05\x0a\x00\x00\x00\x08"
	netB        = "\x5a\x11\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20"
	readsOnly   = "\x50\x01"
	theSecret   = "\x6a\x30" + secret
	active      = "\xf8\x01\x02"
	rated       = "\x88\x01\xd8\x04" + "\x90\x01\x3c" + "\x98\x01\x64" + "\xa2\x01\x09JIRAUSER2" + "\xaa\x01\x05wilma" + "\xb2\x01\x09JIRAUSER3" + "\xba\x01\x06barney" + "\xc2\x01\x09JIRAUSER4"
	previous    = "\x72\x30" + secret + "\x78\xd0\xf0\x90\xcd\x06"
)

// records is the format on disk: a change makes stored tokens unreadable.
var records = []struct {
	name   string
	token  store.Token
	record string
}{
	{"small", numbered(storetest.NewToken(1, "fred")), smallHead + theSecret + active},
	{"full", fullToken(), fullHead + fullExpires + readsOnly + netA + netB + theSecret + previous + rated + "\xf8\x01\x03"},
	{
		"management", func() store.Token {
			t := numbered(storetest.NewToken(1, ""))
			t.Kind, t.Expires = store.Management, storetest.Epoch
			return t
		}(),
		"\x0a\x0ctest00000001" + "\x10\x2a" + "\x2a\x07token 1" + "\x38\xc0\xd4\x90\xcd\x06" + "\x42\x05uid:0" +
			"\x48\xc0\xd4\x90\xcd\x06" + theSecret + "\x80\x01\x01" + active,
	},
	{
		"revoked", func() store.Token { t := numbered(storetest.NewToken(1, "fred")); revokedToken(&t); return t }(),
		smallHead + "\x60\xc0\xd4\x90\xcd\x06" + "\xf8\x01\x04",
	},
}

func numbered(t store.Token) store.Token {
	t.Number = 42
	return t
}

func TestTokenRecord(t *testing.T) {
	for _, test := range records {
		t.Run(test.name, func(t *testing.T) {
			data, err := store.EncodeToken(test.token)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fmt.Sprintf("%q", test.record), fmt.Sprintf("%q", data)); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
			got, err := store.DecodeToken(test.token.ID, []byte(test.record))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.token, got, comparer); diff != "" {
				t.Errorf("token (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEncodeTokenRefuses(t *testing.T) {
	for name, change := range map[string]func(*store.Token){
		"no number": func(t *store.Token) { t.Number = 0 },
		"invalid":   func(t *store.Token) { t.Name = "" },
	} {
		token := fullToken()
		change(&token)
		if data, err := store.EncodeToken(token); !errors.Is(err, store.ErrInvalid) || data != nil {
			t.Errorf("%s: record %q, error %v", name, data, err)
		}
	}
}

func TestDecodeToken(t *testing.T) {
	small, full := records[0].record, records[1].record
	without := func(record, part string) string {
		if !strings.Contains(record, part) {
			t.Fatalf("the record does not contain %q", part)
		}
		return strings.Replace(record, part, "", 1)
	}
	instead := func(record, old, new string) string {
		without(record, old)
		return strings.Replace(record, old, new, 1)
	}
	tests := []struct {
		name   string
		record string
		want   string // part of the error; empty: none
	}{
		{"unknown fields that narrow nothing", small + "\x80\x02\x07" + "\x8a\x02\x03new" + "\x91\x02\x01\x02\x03\x04\x05\x06\x07\x08", ""},
		{"an unknown field that may narrow", instead(small, active, "\xc8\x01\x01"+active), "field 25 is unknown"},
		{"an unknown kind", instead(small, active, "\x80\x01\x02"+active), "field 16 is 2"},
		{"a rate that is too high", instead(small, active, "\x88\x01\xff\xff\xff\x7f"+active), "field 17 is"},
		{"another", instead(small, active, "\xf2\x01\x01x"+active), "field 30 is unknown"},
		{"empty", "", "no state"},
		{"text", `{"id":"test00000001"}`, "is malformed"},
		{"two", small + small, "field 1 comes after field 31"},
		{"a field twice", instead(full, readsOnly, readsOnly+"\x50\x00"), "field 10 comes after field 10"},
		{"fields out of order", instead(instead(full, readsOnly, ""), netA, netA+readsOnly), "field 10 comes after field 11"},
		{"cut in a field", full[:len(full)/2], "is malformed"},
		{"field number 0", "\x00\x01" + small, "is malformed"},
		{"of another token", instead(small, "test00000001", "test00000002"), `it belongs to token "test00000002"`},
		{"without number", without(small, "\x10\x2a"), "no number"},
		{"number 0", instead(small, "\x10\x2a", "\x10\x00"), "no number"},
		{"number as text", instead(small, "\x10\x2a", "\x12\x0242"), "field 2 is not a number"},
		{"without owner", without(small, "\x1a\x04fred"), "owner name is empty"},
		{"owner as a number", instead(small, "\x1a\x04fred", "\x18\x04"), "field 3 is not text"},
		{"without state", without(small, active), "no state"},
		{"state 0", instead(small, active, "\xf8\x01\x00"), "no state"},
		{"unknown state", instead(small, active, "\xf8\x01\x05"), "field 31 is 5"},
		{"state beyond a byte", instead(small, active, "\xf8\x01\x82\x02"), "field 31 is 258"},
		{"without secret", without(small, theSecret), "no salt or no hash"},
		{"short secret", instead(small, theSecret, "\x6a\x2f"+secret[1:]), "field 13 is not a salt and hash"},
		{"empty secret", instead(small, theSecret, "\x6a\x00"), "field 13 is not a salt and hash"},
		{"read-only of another kind", instead(full, readsOnly, "\x52\x01\x01"), "field 10 is not a number"},
		{"read-only 2", instead(full, readsOnly, "\x50\x02"), "field 10 is 2"},
		{"network without a prefix", instead(full, netA, "\x5a\x04\x0a\x00\x00\x00"), "field 11 is not a network"},
		{"network that is empty", instead(full, netA, "\x5a\x00"), "field 11 is an empty network"},
		{"network that is too narrow", instead(full, netA, "\x5a\x05\x0a\x00\x00\x00\x21"), "invalid network"},
		{"network not masked", instead(full, netA, "\x5a\x05\x0a\x00\x00\x01\x08"), "bits set"},
		{"time beyond the last", instead(full, fullExpires, "\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "is malformed"},
		{"time too late", instead(full, fullExpires, "\x48\x80\x83\xd1\xff\xaf\x07"), "field 9 is"},
		{"the zero time", instead(full, fullExpires, "\x48\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01"), "field 9 is"},
		{"revoked with a secret", instead(instead(small, active, "\xf8\x01\x04"), theSecret, "\x60\xc0\xd4\x90\xcd\x06"+theSecret), "still has a secret"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := store.DecodeToken("test00000001", []byte(test.record))
			if test.want == "" {
				if err != nil {
					t.Errorf("error %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `"test00000001"`) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if diff := cmp.Diff(store.Token{}, got, comparer); diff != "" {
				t.Errorf("an unreadable record returns a token:\n%s", diff)
			}
		})
	}
}

// TestDecodeTokenCut checks that a record truncated anywhere, even between two fields, is
// refused: its restrictions may be missing.
func TestDecodeTokenCut(t *testing.T) {
	for _, r := range records {
		for n := range len(r.record) {
			if got, err := store.DecodeToken(r.token.ID, []byte(r.record[:n])); err == nil || got.ID != "" {
				t.Errorf("%s, %d of %d bytes: token %+v, error %v", r.name, n, len(r.record), got, err)
			}
		}
	}
}

// TestDecodeTokenAllocations checks the exact allocations: one for all texts, and those of the
// networks.
func TestDecodeTokenAllocations(t *testing.T) {
	for i, want := range []float64{1, 3, 1} {
		r := records[i]
		data := []byte(r.record)
		got := testing.AllocsPerRun(100, func() {
			if _, err := store.DecodeToken(r.token.ID, data); err != nil {
				t.Fatal(err)
			}
		})
		if got != want {
			t.Errorf("%s: %v allocations, want %v", r.name, got, want)
		}
	}
}

func BenchmarkDecodeToken(b *testing.B) {
	for _, r := range records {
		b.Run(r.name, func(b *testing.B) {
			data := []byte(r.record)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := store.DecodeToken(r.token.ID, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzTokenRecord checks that valid tokens are read as written, and that invalid ones are not
// written.
func FuzzTokenRecord(f *testing.F) {
	f.Add("test00000001", uint64(1), "fred", "", "name", "", int64(1.7e9), "uid:0", int64(0), false, []byte{}, uint8(2), int64(0), []byte("secret"))
	f.Add("AZaz09AZaz09", uint64(1<<64-1), "a b", "key", "Büro 鍵", "a\nb", int64(0), "x", int64(253402300799), true,
		[]byte{4, 8, 10, 0, 0, 0, 6, 32, 0x20, 1, 0xd, 0xb8}, uint8(3), int64(1.8e9), []byte("0123456789abcdef0123456789abcdef0123456789abcdef!"))
	f.Add("test00000001", uint64(7), "fred", "", "<\"\\>", "\u2028", int64(1.7e9), "uid:0", int64(1.7e9), false, []byte{}, uint8(4), int64(1.7e9), []byte{})
	f.Fuzz(func(t *testing.T, id string, number uint64, owner, key, name, purpose string, created int64, createdBy string,
		expires int64, readOnly bool, networks []byte, state uint8, special int64, secret []byte) {
		at := func(seconds int64) time.Time {
			if seconds == 0 {
				return time.Time{}
			}
			return time.Unix(seconds, 0).UTC()
		}
		token := store.Token{
			ID: id, Number: number, Owner: store.Owner{Name: owner, Key: key}, Name: name, Purpose: purpose,
			Created: at(created), CreatedBy: createdBy, Expires: at(expires), ReadOnly: readOnly, State: store.State(state),
		}
		for ; len(networks) >= 6; networks = networks[6:] {
			addr := netip.AddrFrom4([4]byte(networks[2:6]))
			if networks[0] == 6 {
				addr = netip.AddrFrom16([16]byte{0: networks[2], 1: networks[3], 2: networks[4], 15: networks[5]})
			}
			token.Networks = append(token.Networks, netip.PrefixFrom(addr, int(networks[1])))
		}
		copy(token.Secret.Salt[:], secret)
		if len(secret) > 16 {
			copy(token.Secret.Hash[:], secret[16:])
		}
		if len(secret) > 48 {
			token.Previous = store.Previous{Secret: token.Secret, Until: at(special)}
		}
		if token.State == store.Revoked {
			token.Revoked = at(special)
		}
		data, err := store.EncodeToken(token)
		if valid := store.Validate(token) == nil && number != 0; valid != (err == nil) {
			t.Fatalf("valid is %v, and the record's error %v", valid, err)
		}
		if err != nil {
			return
		}
		got, err := store.DecodeToken(id, data)
		if err != nil {
			t.Fatalf("record %q: %v", data, err)
		}
		if diff := cmp.Diff(token, got, comparer); diff != "" {
			t.Fatalf("record %q (-want +got):\n%s", data, diff)
		}
	})
}

// FuzzDecodeToken checks that every token that is read is valid and can be written and read
// again.
func FuzzDecodeToken(f *testing.F) {
	for _, r := range records {
		f.Add([]byte(r.record))
	}
	for _, s := range []string{"", "\x00", "\x0b\x0c", "\x5a\x00", active, records[0].record + "\x8a\x02\x03new", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		f.Add([]byte(s))
	}
	const id = "test00000001"
	f.Fuzz(func(t *testing.T, data []byte) {
		token, err := store.DecodeToken(id, data)
		if err != nil {
			if token.ID != "" || !strings.Contains(err.Error(), id) {
				t.Fatalf("token %+v with error %v", token, err)
			}
			return
		}
		if err := store.Validate(token); err != nil || token.ID != id {
			t.Fatalf("token %+v was read: %v", token, err)
		}
		again, err := store.EncodeToken(token)
		if err != nil {
			t.Fatal(err)
		}
		got, err := store.DecodeToken(id, again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(token, got, comparer); diff != "" {
			t.Fatalf("record %q became %q (-want +got):\n%s", data, again, diff)
		}
	})
}
