package web

import (
	"bytes"
	"encoding/json"

	"github.com/tokengate/tokengate/authz/manage"
)

// ChangeRequest asks for a token to be otherwise. What is nil or empty stays as
// it is, but for an empty list of networks, which is any.
type ChangeRequest struct {
	Label   *string `json:"label,omitempty"`
	Purpose *string `json:"purpose,omitempty"`
	Expiry
	ReadOnly *bool      `json:"readOnly,omitempty"`
	Networks *[]string  `json:"networks,omitempty"` // the whole list
	Rate     RateChange `json:"rate,omitzero"`
}

func (*ChangeRequest) nullable() []string { return []string{"rate"} }

// RateChange says whether there is to be another rate. In JSON it is the rate, or
// null for none. The zero RateChange leaves it as it is.
type RateChange struct {
	Given bool
	Rate  *Rate // nil: none
}

// MarshalJSON implements json.Marshaler.
func (c RateChange) MarshalJSON() ([]byte, error) { return json.Marshal(c.Rate) }

// UnmarshalJSON implements json.Unmarshaler.
func (c *RateChange) UnmarshalJSON(data []byte) error {
	c.Given = true
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(&c.Rate)
}

func change(c call[ChangeRequest], m *manage.Manager) (Token, error) {
	expires, err := c.body.Expiry.read()
	if err != nil {
		return Token{}, err
	}
	wanted := manage.Change{
		Name:     c.body.Label,
		Purpose:  c.body.Purpose,
		Expires:  expires,
		ReadOnly: c.body.ReadOnly,
		Networks: c.body.Networks,
	}
	if c.body.Rate.Given {
		rate, err := c.body.Rate.Rate.read()
		if err != nil {
			return Token{}, err
		}
		wanted.Rate = &rate
	}
	changed, err := m.Change(c.ctx, c.caller, c.id, wanted)
	return apiToken(changed), err
}
