package web

import (
	"encoding/json"
	"fmt"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
)

// Rules answers GET /rules.
type Rules struct {
	Rules []Rule `json:"rules"`
}

// Rule is one setting that binds people or their tokens.
type Rule struct {
	Key     string  `json:"key"` // of the configuration, such as access.create[0].maxLifetime
	Setting Setting `json:"value"`
}

// Setting is what a key of the configuration is set to: in JSON a string, a
// number, a boolean or an array of strings. It has one of them.
type Setting struct {
	Text   *string
	Number *int
	Flag   *bool
	List   []string // where there is no other
}

// MarshalJSON implements json.Marshaler.
func (s Setting) MarshalJSON() ([]byte, error) {
	switch {
	case s.Text != nil:
		return json.Marshal(s.Text)
	case s.Number != nil:
		return json.Marshal(s.Number)
	case s.Flag != nil:
		return json.Marshal(s.Flag)
	}
	return json.Marshal(append([]string{}, s.List...))
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Setting) UnmarshalJSON(data []byte) error {
	for _, into := range []any{&s.Text, &s.Number, &s.Flag, &s.List} {
		*s = Setting{} // what did not fit has left something
		if json.Unmarshal(data, into) == nil {
			return nil
		}
	}
	return fmt.Errorf("a setting is a string, a number, a boolean or an array of strings")
}

func rules(c call[none], m *manage.Manager) (Rules, error) {
	found, err := m.RulesInForce(c.ctx, c.caller)
	if err != nil {
		return Rules{}, err
	}
	answer := Rules{Rules: []Rule{}}
	for _, r := range found {
		s, err := setting(r)
		if err != nil {
			return Rules{}, err
		}
		answer.Rules = append(answer.Rules, Rule{r.Key, s})
	}
	return answer, nil
}

func setting(r policy.Rule) (s Setting, err error) {
	switch v := r.Value.(type) {
	case string:
		s.Text = &v
	case int:
		s.Number = &v
	case bool:
		s.Flag = &v
	case []string:
		s.List = v
	default:
		return s, fmt.Errorf("the rule %s holds a %T", r.Key, r.Value)
	}
	return s, nil
}
