package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tokengate/tokengate/authz/manage"
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
		if answer.Rules, err = appendRules(answer.Rules, r.Key, r.Value); err != nil {
			return Rules{}, err
		}
	}
	return answer, nil
}

// appendRules adds a rule, or each of the keys below it.
func appendRules(rules []Rule, key string, value any) ([]Rule, error) {
	var s Setting
	switch v := value.(type) {
	case map[string]any:
		var err error
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if rules, err = appendRules(rules, key+"."+name, v[name]); err != nil {
				return nil, err
			}
		}
		return rules, nil
	case string:
		s.Text = &v
	case int:
		s.Number = &v
	case bool:
		s.Flag = &v
	case []string:
		s.List = v
	case []any:
		if len(v) > 0 {
			return nil, fmt.Errorf("the rule %s holds a list of %T", key, v[0])
		}
	default:
		return nil, fmt.Errorf("the rule %s holds a %T", key, value)
	}
	return append(rules, Rule{key, s}), nil
}
