package page

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tokengate/tokengate/authz/policy"
)

// settingsPage are the rules in force.
type settingsPage struct {
	Sections []settingSection
}

// settingSection are the rules of one part of the configuration.
type settingSection struct {
	Name, Help string
	Settings   []settingRow
}

// settingRow is a setting that binds people or their tokens.
type settingRow struct {
	Key    string
	Values []string // none: an empty list
}

// settings shows the rules in force.
func (s *Site) settings(r *Request) (Answer, error) {
	f, err := s.layout(r, text("settings.title"), "settings")
	if err != nil {
		return Answer{}, err
	}
	found, err := s.Manager.ListSettings(r.HTTP.Context(), r.Caller)
	if err != nil {
		return Answer{}, err
	}
	var p settingsPage
	for _, rule := range found {
		name, _, _ := strings.Cut(rule.Key, ".")
		if n := len(p.Sections); n == 0 || p.Sections[n-1].Name != name {
			p.Sections = append(p.Sections, settingSection{Name: name, Help: text("settings." + name)})
		}
		last := &p.Sections[len(p.Sections)-1]
		row, err := settingRowOf(rule)
		if err != nil {
			return Answer{}, err
		}
		last.Settings = append(last.Settings, row)
	}
	return ok("settings", f, p)
}

// settingRowOf shows a rule, or fails where it is of a kind that nobody knows how to.
func settingRowOf(r policy.Setting) (settingRow, error) {
	row := settingRow{Key: r.Key}
	switch v := r.Value.(type) {
	case []string:
		row.Values = v
	case bool:
		row.Values = []string{strconv.FormatBool(v)}
	case int:
		row.Values = []string{strconv.Itoa(v)}
	case string:
		row.Values = []string{v}
	default:
		return row, fmt.Errorf("the rule %s holds a %T", r.Key, r.Value)
	}
	return row, nil
}
