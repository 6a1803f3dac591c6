package store_test

import (
	"errors"
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
	t.Previous = store.Previous{Secret: t.Secret, Until: storetest.Epoch.Add(time.Hour)}
	return t
}

const salts = `"salt":"c2FsdCB0ZXN0MDAwMDAwMA==","hash":"aGFzaCB0ZXN0MDAwMDAwMDEAAAAAAAAAAAAAAAAAAAA="`

// records are what is on disk: a change of these texts loses tokens.
var records = []struct {
	name   string
	token  store.Token
	record string
}{
	{
		"small", numbered(storetest.NewToken(1, "fred")),
		`{"id":"test00000001","number":42,"owner":"fred","name":"token 1","created":"2026-03-01T12:00:00Z",` +
			`"createdBy":"uid:0","state":"active",` + salts + `}`,
	},
	{
		"full", fullToken(),
		`{"id":"test00000001","number":42,"owner":"fred","ownerKey":"JIRAUSER10100","name":"Büro \u003c1\u003e",` +
			`"purpose":"export\nnightly","created":"2026-03-01T12:00:00Z","createdBy":"uid:0",` +
			`"expires":"2026-06-01T12:00:00Z","readOnly":true,"networks":["10.0.0.0/8","2001:db8::/32"],"state":"disabled",` +
			salts + `,"previousSalt":"c2FsdCB0ZXN0MDAwMDAwMA==",` +
			`"previousHash":"aGFzaCB0ZXN0MDAwMDAwMDEAAAAAAAAAAAAAAAAAAAA=","previousUntil":"2026-03-01T13:00:00Z"}`,
	},
	{
		"revoked", func() store.Token { t := numbered(storetest.NewToken(1, "fred")); revokedToken(&t); return t }(),
		`{"id":"test00000001","number":42,"owner":"fred","name":"token 1","created":"2026-03-01T12:00:00Z",` +
			`"createdBy":"uid:0","state":"revoked","revoked":"2026-03-01T12:00:00Z"}`,
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
			if diff := cmp.Diff(test.record, string(data)); diff != "" {
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
			t.Errorf("%s: record %s, error %v", name, data, err)
		}
	}
}

func TestDecodeToken(t *testing.T) {
	small, full := records[0].record, records[1].record
	tests := []struct {
		name   string
		record string
		want   string // part of the error; empty: none
	}{
		{"unknown fields", strings.Replace(small, `{`, `{"later":{"x":[1]},`, 1), ""},
		{"empty", ``, "unexpected end"},
		{"null", `null`, `it has no state ""`},
		{"no object", `[]`, "cannot unmarshal array"},
		{"two", small + small, "after top-level value"},
		{"cut", full[:len(full)/2], "unexpected end"},
		{"of another token", strings.Replace(small, "test00000001", "test00000002", 1), `it is the record of "test00000002"`},
		{"without number", strings.Replace(small, `"number":42,`, "", 1), "no number"},
		{"without owner", strings.Replace(small, `"owner":"fred",`, "", 1), "owner name is empty"},
		{"without state", strings.Replace(small, `"state":"active",`, "", 1), `no state ""`},
		{"unknown state", strings.Replace(small, "active", "paused", 1), `no state "paused"`},
		{"without secret", strings.Replace(small, ","+salts, "", 1), "no salt or no hash"},
		{"short hash", strings.Replace(small, "aGFzaCB0ZXN0MDAwMDAwMDEAAAAAAAAAAAAAAAAAAAA=", "aGFzaA==", 1), "wrong length"},
		{"short salt", strings.Replace(small, "c2FsdCB0ZXN0MDAwMDAwMA==", "c2FsdA==", 1), "wrong length"},
		{"no base64", strings.Replace(small, "c2FsdCB0", "c2FsdCB*", 1), "illegal base64"},
		{"readOnly of another type", strings.Replace(full, `"readOnly":true`, `"readOnly":"true"`, 1), "cannot unmarshal"},
		{"network that is none", strings.Replace(full, "10.0.0.0/8", "10.0.0.0", 1), "10.0.0.0"},
		{"network not masked", strings.Replace(full, "10.0.0.0/8", "10.0.0.1/8", 1), "bits set"},
		{"no time", strings.Replace(full, "2026-06-01T12:00:00Z", "soon", 1), "soon"},
		{"time in another zone", strings.Replace(full, "2026-06-01T12:00:00Z", "2026-06-01T14:00:00+02:00", 1), ""},
		{"revoked with a secret", strings.Replace(small, `"state":"active"`, `"state":"revoked","revoked":"2026-03-01T12:00:00Z"`, 1), "still has a secret"},
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
				t.Errorf("a record that cannot be read gives a token:\n%s", diff)
			}
		})
	}
}

// FuzzTokenRecord shows that what is valid comes back as it was, and that
// nothing else is written.
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
			t.Fatalf("record %s: %v", data, err)
		}
		if diff := cmp.Diff(token, got, comparer); diff != "" {
			t.Fatalf("record %s (-want +got):\n%s", data, diff)
		}
	})
}

// FuzzDecodeToken shows that whatever is read as a token is a valid one, and
// is written and read again as the same.
func FuzzDecodeToken(f *testing.F) {
	for _, r := range records {
		f.Add([]byte(r.record))
	}
	for _, s := range []string{"", "null", "{}", `{"ID":"test00000001"}`, `{"number":-1}`, `{"number":1e3}`, `{"networks":[null]}`, `{"hash":null}`} {
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
			t.Fatalf("record %s became %s (-want +got):\n%s", data, again, diff)
		}
	})
}

func TestUsageRecord(t *testing.T) {
	full := store.Usage{Count: 3, Writes: 1, LastUsed: storetest.Epoch, LastAddress: netip.MustParseAddr("192.0.2.7")}
	for usage, want := range map[store.Usage]string{
		{Count: 1}: `{"count":1}`,
		full:       `{"count":3,"writes":1,"lastUsed":"2026-03-01T12:00:00Z","lastAddress":"192.0.2.7"}`,
	} {
		data, err := store.EncodeUsage(usage)
		if err != nil || string(data) != want {
			t.Errorf("record %s (error %v), want %s", data, err, want)
		}
		if got, err := store.DecodeUsage("x", data); err != nil || got != usage {
			t.Errorf("usage %+v (error %v), want %+v", got, err, usage)
		}
	}
	for _, bad := range []string{"", "[]", `{"count":-1}`, `{"lastAddress":"x"}`} {
		if got, err := store.DecodeUsage("test00000001", []byte(bad)); err == nil || got != (store.Usage{}) || !strings.Contains(err.Error(), "test00000001") {
			t.Errorf("%s: usage %+v, error %v", bad, got, err)
		}
	}
}

func TestAuditRecord(t *testing.T) {
	audit := store.Audit{
		Sequence: 7, Time: storetest.Epoch.Add(5e8), Actor: "uid:0", From: "admin socket", Action: "token.update",
		TokenID: "test00000001", Owner: "fred", Outcome: "done",
		Changes: map[string]store.Change{"name": {Before: "a", After: "b"}},
	}
	const want = `{"sequence":7,"time":"2026-03-01T12:00:00.5Z","actor":"uid:0","from":"admin socket","action":"token.update",` +
		`"token":"test00000001","owner":"fred","outcome":"done","changes":{"name":{"before":"a","after":"b"}}}`
	data, err := store.EncodeAudit(audit)
	if err != nil || string(data) != want {
		t.Errorf("record %s (error %v), want %s", data, err, want)
	}
	got, err := store.DecodeAudit(7, data)
	if diff := cmp.Diff(audit, got); err != nil || diff != "" {
		t.Errorf("audit record: error %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", want[:50], strings.Replace(want, "7", "8", 1)} {
		if got, err := store.DecodeAudit(7, []byte(bad)); err == nil || got.Action != "" || !strings.Contains(err.Error(), "audit record 7") {
			t.Errorf("%s: record %+v, error %v", bad, got, err)
		}
	}
	audit.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := store.EncodeAudit(audit); err == nil {
		t.Error("a time that JSON cannot spell is no error")
	}
}
