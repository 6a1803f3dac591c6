package store

import (
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Records are messages in protobuf's wire format
// (https://protobuf.dev/programming-guides/encoding/). Package storepb has the generated code for
// the others; tokens and usage are read and written by hand, because a start decodes a million of
// them and decoding must be strict. These are their messages; a field's number and type never
// change. Times are Unix seconds. An absent field has no value, which for a time differs from 0.
//
//	message Token {
//	  string id               = 1;
//	  uint64 number           = 2;
//	  string owner            = 3;
//	  string owner_key        = 4;
//	  string name             = 5;
//	  string purpose          = 6;
//	  optional int64 created  = 7;
//	  string created_by       = 8;
//	  optional int64 expires  = 9;
//	  bool read_only          = 10;
//	  repeated bytes networks = 11;  // 4 or 16 bytes of address, 1 of prefix length
//	  optional int64 revoked  = 12;
//	  bytes secret            = 13;  // 16 bytes of salt, 32 of hash
//	  bytes previous_secret   = 14;  // the same
//	  optional int64 previous_until = 15;
//	  Kind kind               = 16;  // as the constants count: 1 management
//	  uint64 rate_requests    = 17;
//	  uint64 rate_per         = 18;  // seconds
//	  uint64 rate_burst       = 19;
//	  string created_by_key   = 20;
//	  string issued_by        = 21;
//	  string issued_by_key    = 22;
//	  string previous_issued_by     = 23;
//	  string previous_issued_by_key = 24;
//	  State state             = 31;  // as the constants count: 1 pending, 2 active, 3 disabled, 4 revoked
//	}
//
//	message Usage {
//	  uint64 count             = 1;
//	  uint64 writes            = 2;
//	  optional int64 last_used = 3;
//	  bytes last_address       = 4;  // 4 or 16 bytes
//	}
//
// Fields are in the order of their numbers, each at most once unless it is repeated; any other
// order is an error. Every token has a state, the last field of the schema, so that a record
// truncated anywhere is detected.
//
// Unknown fields are skipped, so that a store written by a newer version can be opened by an
// older one; an update then drops them. That is only safe for fields that do not restrict a
// token. In tokens, numbers from firstOptional on are for such fields, and an unknown number
// below it is an error. Numbers 25 to 30 are free for new restrictions. If failing on each such
// token is not enough, the schema version has to increase, so that older versions refuse to open
// the store.
const (
	tokenID protowire.Number = iota + 1
	tokenNumber
	tokenOwner
	tokenOwnerKey
	tokenName
	tokenPurpose
	tokenCreated
	tokenCreatedBy
	tokenExpires
	tokenReadOnly
	tokenNetworks
	tokenRevoked
	tokenSecret
	tokenPreviousSecret
	tokenPreviousUntil
	tokenKind
	tokenRateRequests
	tokenRatePer
	tokenRateBurst
	tokenCreatedByKey
	tokenIssuedBy
	tokenIssuedByKey
	tokenPreviousIssuedBy
	tokenPreviousIssuedByKey

	tokenState    protowire.Number = 31
	firstOptional protowire.Number = 32
)

// EncodeToken returns the record of t, which must be valid and have its Number.
func EncodeToken(t Token) ([]byte, error) {
	if err := Validate(t); err != nil {
		return nil, err
	}
	if t.Number == 0 {
		return nil, invalid("token has no number")
	}
	r := make(encoder, 0, 256)
	r.text(tokenID, t.ID)
	r.uint(tokenNumber, t.Number)
	r.text(tokenOwner, t.Owner.Name)
	r.text(tokenOwnerKey, t.Owner.Key)
	r.text(tokenName, t.Name)
	r.text(tokenPurpose, t.Purpose)
	r.time(tokenCreated, t.Created)
	r.text(tokenCreatedBy, t.CreatedBy)
	r.time(tokenExpires, t.Expires)
	if t.ReadOnly {
		r.uint(tokenReadOnly, 1)
	}
	for _, n := range t.Networks {
		r.bytes(tokenNetworks, append(n.Addr().AsSlice(), byte(n.Bits())))
	}
	r.time(tokenRevoked, t.Revoked)
	r.secret(tokenSecret, t.Secret)
	r.secret(tokenPreviousSecret, t.Previous.Secret)
	r.time(tokenPreviousUntil, t.Previous.Until)
	r.uint(tokenKind, uint64(t.Kind))
	r.uint(tokenRateRequests, uint64(t.Rate.Requests))
	r.uint(tokenRatePer, uint64(t.Rate.Per/time.Second))
	r.uint(tokenRateBurst, uint64(t.Rate.Burst))
	r.text(tokenCreatedByKey, t.CreatedByKey)
	r.text(tokenIssuedBy, t.IssuedBy)
	r.text(tokenIssuedByKey, t.IssuedByKey)
	r.text(tokenPreviousIssuedBy, t.PreviousIssuedBy)
	r.text(tokenPreviousIssuedByKey, t.PreviousIssuedByKey)
	r.uint(tokenState, uint64(t.State))
	return r, nil
}

// DecodeToken reads the record of the token with this id. If the record is incomplete, belongs to
// another id or is invalid, it returns an error that names the id, and no token: a partial token
// could lack its restrictions.
//
// The token's texts share one copy of the record. Clone a text that outlives the token.
func DecodeToken(id string, data []byte) (Token, error) {
	t, err := decodeToken(data)
	if err == nil && t.ID != id {
		err = fmt.Errorf("it belongs to token %q", t.ID)
	}
	if err != nil {
		return Token{}, fmt.Errorf("read record of token %q: %w", id, err)
	}
	return t, nil
}

func decodeToken(data []byte) (t Token, err error) {
	f := newDecoder(data)
	for f.next(tokenNetworks) {
		switch f.number {
		case tokenID:
			t.ID = f.text()
		case tokenNumber:
			t.Number = f.uint()
		case tokenOwner:
			t.Owner.Name = f.text()
		case tokenOwnerKey:
			t.Owner.Key = f.text()
		case tokenName:
			t.Name = f.text()
		case tokenPurpose:
			t.Purpose = f.text()
		case tokenCreated:
			t.Created = f.time()
		case tokenCreatedBy:
			t.CreatedBy = f.text()
		case tokenExpires:
			t.Expires = f.time()
		case tokenReadOnly:
			t.ReadOnly = f.atMost(1) == 1
		case tokenNetworks:
			t.Networks = append(t.Networks, f.network())
		case tokenRevoked:
			t.Revoked = f.time()
		case tokenSecret:
			t.Secret = f.secret()
		case tokenPreviousSecret:
			t.Previous.Secret = f.secret()
		case tokenPreviousUntil:
			t.Previous.Until = f.time()
		case tokenKind:
			t.Kind = Kind(f.atMost(uint64(Management)))
		case tokenRateRequests:
			t.Rate.Requests = uint32(f.atMost(MaxRateRequests))
		case tokenRatePer:
			t.Rate.Per = time.Duration(f.atMost(uint64(MaxRatePer/time.Second))) * time.Second
		case tokenRateBurst:
			t.Rate.Burst = uint32(f.atMost(MaxRateRequests))
		case tokenCreatedByKey:
			t.CreatedByKey = f.text()
		case tokenIssuedBy:
			t.IssuedBy = f.text()
		case tokenIssuedByKey:
			t.IssuedByKey = f.text()
		case tokenPreviousIssuedBy:
			t.PreviousIssuedBy = f.text()
		case tokenPreviousIssuedByKey:
			t.PreviousIssuedByKey = f.text()
		case tokenState:
			t.State = State(f.atMost(uint64(Revoked)))
		default:
			if f.number < firstOptional {
				f.fail("is unknown to this version of tokengate and may restrict the token")
			}
		}
	}
	switch {
	case f.err != nil:
		return Token{}, f.err
	case !t.State.known():
		return Token{}, fmt.Errorf("it has no state: the record is incomplete")
	case t.Number == 0:
		return Token{}, fmt.Errorf("it has no number")
	}
	return t, Validate(t)
}

func (r *encoder) secret(n protowire.Number, s Secret) {
	if s != (Secret{}) {
		var both [48]byte
		copy(both[:16], s.Salt[:])
		copy(both[16:], s.Hash[:])
		r.bytes(n, both[:])
	}
}

func (f *decoder) secret() (s Secret) {
	both := f.bytes()
	if len(both) != len(s.Salt)+len(s.Hash) {
		f.fail("is not a salt and hash: it has %d bytes", len(both))
		return Secret{}
	}
	copy(s.Salt[:], both)
	copy(s.Hash[:], both[len(s.Salt):])
	return s
}

// network returns a prefix, which Validate checks.
func (f *decoder) network() netip.Prefix {
	data := f.bytes()
	if len(data) == 0 {
		f.fail("is an empty network")
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(data[:len(data)-1])
	if !ok {
		f.fail("is not a network: it has %d bytes", len(data))
	}
	return netip.PrefixFrom(addr, int(data[len(data)-1]))
}

// time omits the zero Time.
func (r *encoder) time(n protowire.Number, at time.Time) {
	if !at.IsZero() {
		r.int(n, at.Unix())
	}
}

// time returns a time, never the zero Time.
func (f *decoder) time() time.Time {
	return time.Unix(int64(f.atMost(lastSecond)), 0).UTC()
}
