package page

import (
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/manage"
)

// layout is what stands around every page.
type layout struct {
	Title       string
	Base        string // the address of the pages
	Jira        string // of Jira
	ScriptNonce string // of the Content-Security-Policy
	Me          *manage.Me
	Tabs        []tab
	Notice      string // what was done by the form that led here
	Problem     string // why what was asked was not done
}

// tab is an entry of the navigation.
type tab struct {
	Name, URL string
	Here      bool
	Count     int // shown beside it, unless 0
}

// layout returns the frame of a page for the caller. here is the path of the tab that
// it belongs to.
func (s *Site) layout(r *Request, title, here string) (*layout, error) {
	me, err := s.Manager.Me(r.HTTP.Context(), r.Caller)
	if err != nil {
		return nil, err
	}
	f := s.bareLayout(visible(title))
	f.Me = &me
	add := func(key, below string, count int) {
		f.Tabs = append(f.Tabs, tab{text(key), s.url(below), below == here, count})
	}
	add("tab.mine", "", 0)
	add("tab.explain", "explain", 0)
	if !me.Administrator {
		return f, nil
	}
	waiting, err := s.Manager.Count(r.HTTP.Context(), r.Caller, manage.Query{State: manage.StatePending})
	if err != nil {
		return nil, err
	}
	add("tab.tokens", "tokens", 0)
	add("tab.pending", "pending", waiting)
	add("tab.insights", "insights", 0)
	add("tab.audit", "audit", 0)
	add("tab.settings", "settings", 0)
	return f, nil
}

// bareLayout is the frame of a page for somebody who is not known.
func (s *Site) bareLayout(title string) *layout {
	return &layout{Title: title, Base: s.url(""), Jira: s.ContextPath + "/"}
}

// notice sets what was done, from the address that a form has led to: others say
// nothing.
func (s *Site) notice(f *layout, r *Request) {
	word, id := r.Query["done"], r.Query["token"]
	if !slices.Contains(notices, word) || !s.nonces.sealed(r.Query["proof"], r.Caller, word, id) {
		return
	}
	if !strings.Contains(texts["done."+word], "%s") {
		f.Notice = text("done." + word)
		return
	}
	name := id
	if found, err := s.Manager.Get(r.HTTP.Context(), r.Caller, id); err == nil { // or else it was pruned
		name = visible(found.Name)
	}
	f.Notice = text("done."+word, name)
}

// noticeParameters are those of an address that says what was done.
var noticeParameters = []string{"done", "token", "proof"}

// noticed returns the parameters that say what was done, to a token or without one,
// with the proof that it is true.
func (s *Site) noticed(r *Request, word, id string) []string {
	pairs := []string{"done", word, "proof", s.nonces.seal(r.Caller, word, id)}
	if id != "" {
		pairs = append(pairs, "token", id)
	}
	return pairs
}

// notices are the words for what was done.
var notices = func() []string {
	all := []string{"changed", "unchanged", "all"}
	for _, d := range actions {
		all = append(all, d.done)
	}
	return all
}()
