package page

import (
	"fmt"
	"strconv"
	"strings"

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
		name, _, _ := strings.Cut(rule.Key, ".")
		if n := len(p.Sections); n == 0 || p.Sections[n-1].Name != name {
			p.Sections = append(p.Sections, ruleSection{Name: name, Help: text("rules." + name)})
		}
		last := &p.Sections[len(p.Sections)-1]
		row, err := ruleRowOf(rule)
		if err != nil {
			return Answer{}, err
		}
		last.Rules = append(last.Rules, row)
	}
	return ok("rules", f, p)
}

// ruleRowOf shows a rule, or fails where it is of a kind that nobody knows how to.
func ruleRowOf(r policy.Rule) (ruleRow, error) {
	row := ruleRow{Key: r.Key}
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
