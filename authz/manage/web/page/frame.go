package page

import (
	"slices"
	"strings"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
)

// frame is what stands around every page.
type frame struct {
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

// frame returns the frame of a page for the caller. here is the path of the tab that
// it belongs to.
func (s *Site) frame(r *Request, title, here string) (*frame, error) {
	me, err := s.Manager.Me(r.HTTP.Context(), r.Caller)
	if err != nil {
		return nil, err
	}
	f := s.bareFrame(title)
	f.Me = &me
	add := func(key, below string, count int) {
		f.Tabs = append(f.Tabs, tab{text(key), s.url(below), below == here, count})
	}
	add("tab.own", "", 0)
	add("tab.test", "test", 0)
	if !me.Administrator {
		return f, nil
	}
	waiting, err := s.Manager.Count(r.HTTP.Context(), r.Caller, manage.Query{State: manage.StatePending})
	if err != nil {
		return nil, err
	}
	add("tab.tokens", "tokens", 0)
	add("tab.waiting", "waiting", waiting)
	add("tab.insights", "insights", 0)
	add("tab.audit", "audit", 0)
	add("tab.rules", "rules", 0)
	return f, nil
}

// bareFrame is the frame of a page for somebody who is not known.
func (s *Site) bareFrame(title string) *frame {
	return &frame{Title: title, Base: s.url(""), Jira: s.ContextPath + "/"}
}

// notice sets what was done, from a word and a token's id in the address: words that
// nobody knows say nothing.
func (f *frame) notice(r *Request) {
	word, id := r.Query["done"], r.Query["token"]
	if !token.ValidID(id) {
		id = "" // an address must not put words of its own here
	}
	if slices.Contains(notices, word) {
		f.Notice = strings.ReplaceAll(text("done."+word, id), "  ", " ")
	}
}

// notices are the words for what was done.
var notices = []string{"changed", "revoked", "approved", "refused", "disabled", "enabled", "all"}
