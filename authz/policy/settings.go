package policy

import (
	"reflect"
	"slices"
	"time"

	"github.com/tokengate/tokengate/authz/config"
)

// Setting is one setting in force, for users to read.
type Setting struct {
	Key   string `json:"key"`   // configuration key, such as access.create[0].maxLifetime
	Value any    `json:"value"` // a string, int, bool or non-nil []string; read-only
}

// Settings returns the settings that affect users and their tokens, in the order
// of the file. It includes only the kind of the directory.
func (a *Access) Settings() []Setting { return slices.Clone(a.settings) }

// shownSections are the sections of the configuration that users may read. Others
// are about the installation.
var shownSections = []string{"tokens", "access", "directory", "network", "passwords", "audit", "bearer", "cors"}

// appendSettings appends the settings of a key of the configuration, "" for all.
func appendSettings(all []Setting, key string, v reflect.Value) []Setting {
	switch value := v.Interface().(type) {
	case config.Directory:
		return append(all, Setting{key, value.Kind()})
	case time.Duration:
		return append(all, Setting{key, config.Lifetime{Duration: value}.String()})
	case config.Lifetime:
		return append(all, Setting{key, value.String()})
	case config.Rate:
		if value == (config.Rate{}) {
			return append(all, Setting{key, value.String()})
		}
	case []string:
		return append(all, Setting{key, append([]string{}, value...)})
	case []config.Prefix:
		texts := make([]string, len(value))
		for i, p := range value {
			texts[i] = p.String()
		}
		return append(all, Setting{key, texts})
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("yaml")
			switch {
			case key != "":
				all = appendSettings(all, key+"."+name, v.Field(i))
			case slices.Contains(shownSections, name):
				all = appendSettings(all, name, v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Len() == 0 {
			all = append(all, Setting{key, []string{}})
		}
		for i := range v.Len() {
			all = appendSettings(all, config.IndexKey(key, i), v.Index(i))
		}
	case reflect.String:
		all = append(all, Setting{key, v.String()})
	default: // an int or a bool
		all = append(all, Setting{key, v.Interface()})
	}
	return all
}
