package page

import (
	"strconv"

	"github.com/tokengate/tokengate/authz/policy"
)

// rulesPage are the rules in force.
type rulesPage struct {
	Sections []ruleSection
}

// ruleSection are the rules of one part of the configuration.
type ruleSection struct {
	Name, Help string
	Rules      []ruleRow
}

// ruleRow is a setting that binds people or their tokens.
type ruleRow struct {
	Key    string
	Values []string // none: an empty list
	List   bool
}

// rules shows the rules in force.
func (s *Site) rules(r *Request) (Answer, error) {
	f, err := s.frame(r, text("rules.title"), "rules")
	if err != nil {
		return Answer{}, err
	}
	found, err := s.Manager.RulesInForce(r.HTTP.Context(), r.Caller)
	if err != nil {
		return Answer{}, err
	}
	var p rulesPage
	for _, rule := range found {
		name := section(rule.Key)
		if n := len(p.Sections); n == 0 || p.Sections[n-1].Name != name {
			p.Sections = append(p.Sections, ruleSection{Name: name, Help: text("rules." + name)})
		}
		last := &p.Sections[len(p.Sections)-1]
		last.Rules = append(last.Rules, ruleRowOf(rule))
	}
	return ok("rules", f, p)
}

// section is the part of the configuration that a key belongs to.
func section(key string) string {
	for i := range key {
		if key[i] == '.' {
			return key[:i]
		}
	}
	return key
}

func ruleRowOf(r policy.Rule) ruleRow {
	row := ruleRow{Key: r.Key}
	switch v := r.Value.(type) {
	case []string:
		row.Values, row.List = v, true
	case bool:
		row.Values = []string{strconv.FormatBool(v)}
	case int:
		row.Values = []string{strconv.Itoa(v)}
	case string:
		row.Values = []string{v}
	}
	return row
}
