package page

import (
	"fmt"
	"strings"
)

// settingsPage lists the settings in force.
type settingsPage struct {
	Sections []settingSection
}

// settingSection is a top-level section of the configuration.
type settingSection struct {
	Name, Help string
	Settings   []settingRow
}

// settingRow is one setting.
type settingRow struct {
	Key    string
	Values []string // none: an empty list or text
}

// settings shows the settings in force.
func (s *Site) settings(r *Request, l *layout) (Answer, error) {
	found, err := s.Manager.ListSettings(r.HTTP.Context(), r.Caller)
	if err != nil {
		return Answer{}, err
	}
	var p settingsPage
	for _, setting := range found {
		name, _, _ := strings.Cut(setting.Key, ".")
		if n := len(p.Sections); n == 0 || p.Sections[n-1].Name != name {
			p.Sections = append(p.Sections, settingSection{Name: name, Help: text("settings." + name)})
		}
		values, isList := setting.Value.([]string)
		if !isList && setting.Value != "" {
			values = []string{fmt.Sprint(setting.Value)} // a bool, int or string
		}
		last := &p.Sections[len(p.Sections)-1]
		last.Settings = append(last.Settings, settingRow{setting.Key, values})
	}
	return ok("settings", l, p)
}
