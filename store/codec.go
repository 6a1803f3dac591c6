package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// A record is JSON: it can be read without this program, and a field can be
// added without a new format. The field names are for ever.
//
// Fields that are not known are ignored, so that a version can go back to a
// store that a newer one has written. That is safe only for fields that do
// not narrow what a token may do. A version that adds one that does, or that
// must not lose it when an older version rewrites the record, has to raise
// the store's schema version, which the older version refuses to open.
type tokenRecord struct {
	ID        string         `json:"id"`
	Number    uint64         `json:"number"`
	Owner     string         `json:"owner"`
	OwnerKey  string         `json:"ownerKey,omitzero"`
	Name      string         `json:"name"`
	Purpose   string         `json:"purpose,omitzero"`
	Created   time.Time      `json:"created"`
	CreatedBy string         `json:"createdBy"`
	Expires   time.Time      `json:"expires,omitzero"`
	ReadOnly  bool           `json:"readOnly,omitzero"`
	Networks  []netip.Prefix `json:"networks,omitempty"`
	State     string         `json:"state"`
	Revoked   time.Time      `json:"revoked,omitzero"`

	Salt []byte `json:"salt,omitempty"`
	Hash []byte `json:"hash,omitempty"`

	PreviousSalt  []byte    `json:"previousSalt,omitempty"`
	PreviousHash  []byte    `json:"previousHash,omitempty"`
	PreviousUntil time.Time `json:"previousUntil,omitzero"`
}

// EncodeToken returns the record of t, which must have its Number. It refuses
// what Validate refuses.
func EncodeToken(t Token) ([]byte, error) {
	if err := Validate(t); err != nil {
		return nil, err
	}
	if t.Number == 0 {
		return nil, invalid("token has no number")
	}
	r := tokenRecord{
		ID:            t.ID,
		Number:        t.Number,
		Owner:         t.Owner.Name,
		OwnerKey:      t.Owner.Key,
		Name:          t.Name,
		Purpose:       t.Purpose,
		Created:       t.Created,
		CreatedBy:     t.CreatedBy,
		Expires:       t.Expires,
		ReadOnly:      t.ReadOnly,
		Networks:      t.Networks,
		State:         t.State.String(),
		Revoked:       t.Revoked,
		PreviousUntil: t.Previous.Until,
	}
	r.Salt, r.Hash = t.Secret.bytes()
	r.PreviousSalt, r.PreviousHash = t.Previous.Secret.bytes()
	return json.Marshal(r)
}

// DecodeToken reads the record of the token with this id. A record that
// cannot be read whole, belongs to another id or breaks a rule of Validate is
// an error that names the id, and gives no token: half a token could be one
// without its limits.
func DecodeToken(id string, data []byte) (Token, error) {
	t, err := decodeToken(data)
	if err == nil && t.ID != id {
		err = fmt.Errorf("it is the record of %q", t.ID)
	}
	if err != nil {
		return Token{}, fmt.Errorf("read record of token %q: %w", id, err)
	}
	return t, nil
}

func decodeToken(data []byte) (Token, error) {
	var r tokenRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return Token{}, err
	}
	t := Token{
		ID:        r.ID,
		Number:    r.Number,
		Owner:     Owner{Name: r.Owner, Key: r.OwnerKey},
		Name:      r.Name,
		Purpose:   r.Purpose,
		Created:   r.Created.UTC(),
		CreatedBy: r.CreatedBy,
		Expires:   r.Expires.UTC(),
		ReadOnly:  r.ReadOnly,
		Revoked:   r.Revoked.UTC(),
		Previous:  Previous{Until: r.PreviousUntil.UTC()},
	}
	if len(r.Networks) > 0 {
		t.Networks = r.Networks
	}
	var ok bool
	if t.State, ok = ParseState(r.State); !ok {
		return Token{}, fmt.Errorf("it has no state %q", r.State)
	}
	if !t.Secret.set(r.Salt, r.Hash) || !t.Previous.Secret.set(r.PreviousSalt, r.PreviousHash) {
		return Token{}, fmt.Errorf("a salt or a hash has the wrong length")
	}
	if t.Number == 0 {
		return Token{}, fmt.Errorf("it has no number")
	}
	return t, Validate(t)
}

// bytes returns the secret's parts, nil for the zero Secret.
func (s *Secret) bytes() (salt, hash []byte) {
	if *s == (Secret{}) {
		return nil, nil
	}
	return s.Salt[:], s.Hash[:]
}

// set takes what bytes gave, and reports whether the lengths are right.
func (s *Secret) set(salt, hash []byte) bool {
	if len(salt) == 0 && len(hash) == 0 {
		return true
	}
	return len(salt) == len(s.Salt) && len(hash) == len(s.Hash) &&
		copy(s.Salt[:], salt) > 0 && copy(s.Hash[:], hash) > 0
}

type usageRecord struct {
	Count       uint64     `json:"count"`
	Writes      uint64     `json:"writes,omitzero"`
	LastUsed    time.Time  `json:"lastUsed,omitzero"`
	LastAddress netip.Addr `json:"lastAddress,omitzero"`
}

// EncodeUsage returns the record of u.
func EncodeUsage(u Usage) ([]byte, error) { return json.Marshal(usageRecord(u)) }

// DecodeUsage reads the usage record of the token with this id.
func DecodeUsage(id string, data []byte) (Usage, error) {
	var r usageRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return Usage{}, fmt.Errorf("read usage of token %q: %w", id, err)
	}
	r.LastUsed = r.LastUsed.UTC()
	return Usage(r), nil
}

type auditRecord struct {
	Sequence uint64                  `json:"sequence"`
	Time     time.Time               `json:"time"`
	Actor    string                  `json:"actor"`
	From     string                  `json:"from,omitzero"`
	Action   string                  `json:"action"`
	TokenID  string                  `json:"token,omitzero"`
	Owner    string                  `json:"owner,omitzero"`
	Outcome  string                  `json:"outcome"`
	Reason   string                  `json:"reason,omitzero"`
	Changes  map[string]changeRecord `json:"changes,omitempty"`
}

type changeRecord struct {
	Before string `json:"before"`
	After  string `json:"after"`
}

// EncodeAudit returns the record of a, its time in UTC.
func EncodeAudit(a Audit) ([]byte, error) {
	r := auditRecord{
		Sequence: a.Sequence,
		Time:     a.Time.UTC(),
		Actor:    a.Actor,
		From:     a.From,
		Action:   a.Action,
		TokenID:  a.TokenID,
		Owner:    a.Owner,
		Outcome:  a.Outcome,
		Reason:   a.Reason,
	}
	for field, c := range a.Changes {
		if r.Changes == nil {
			r.Changes = make(map[string]changeRecord, len(a.Changes))
		}
		r.Changes[field] = changeRecord(c)
	}
	return json.Marshal(r)
}

// DecodeAudit reads the audit record with this sequence.
func DecodeAudit(sequence uint64, data []byte) (Audit, error) {
	var r auditRecord
	err := json.Unmarshal(data, &r)
	if err == nil && r.Sequence != sequence {
		err = fmt.Errorf("it is record %d", r.Sequence)
	}
	if err != nil {
		return Audit{}, fmt.Errorf("read audit record %d: %w", sequence, err)
	}
	a := Audit{
		Sequence: r.Sequence,
		Time:     r.Time.UTC(),
		Actor:    r.Actor,
		From:     r.From,
		Action:   r.Action,
		TokenID:  r.TokenID,
		Owner:    r.Owner,
		Outcome:  r.Outcome,
		Reason:   r.Reason,
	}
	for field, c := range r.Changes {
		if a.Changes == nil {
			a.Changes = make(map[string]Change, len(r.Changes))
		}
		a.Changes[field] = Change(c)
	}
	return a, nil
}
