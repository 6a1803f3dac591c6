package web

import (
	"encoding/json"
	"fmt"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
)

// ListSettings answers GET /settings.
type Settings struct {
	Settings []Setting `json:"settings"`
}

// SettingValue is one setting that binds people or their tokens.
type Setting struct {
	Key   string       `json:"key"` // of the configuration, such as access.create[0].maxLifetime
	Value SettingValue `json:"value"`
}

// SettingValue is what a key of the configuration is set to: in JSON a string, a
// number, a boolean or an array of strings. It has one of them.
type SettingValue struct {
	Text   *string
	Number *int
	Flag   *bool
	List   []string // where there is no other
}

// MarshalJSON implements json.Marshaler.
func (s SettingValue) MarshalJSON() ([]byte, error) {
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
func (s *SettingValue) UnmarshalJSON(data []byte) error {
	for _, into := range []any{&s.Text, &s.Number, &s.Flag, &s.List} {
		*s = SettingValue{} // what did not fit has left something
		if json.Unmarshal(data, into) == nil {
			return nil
		}
	}
	return fmt.Errorf("a setting is a string, a number, a boolean or an array of strings")
}

func listSettings(c call[empty], m *manage.Manager) (Settings, error) {
	found, err := m.ListSettings(c.ctx, c.caller)
	if err != nil {
		return Settings{}, err
	}
	answer := Settings{Settings: []Setting{}}
	for _, r := range found {
		s, err := settingValue(r)
		if err != nil {
			return Settings{}, err
		}
		answer.Settings = append(answer.Settings, Setting{r.Key, s})
	}
	return answer, nil
}

func settingValue(r policy.Setting) (s SettingValue, err error) {
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
