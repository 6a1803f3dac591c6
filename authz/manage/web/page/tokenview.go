package page

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
)

// soon is how long before its end a token is marked.
const soon = 14 * 24 * time.Hour

// tokenView is a token as pages show it.
type tokenView struct {
	manage.Token
	URL      string // of its page
	OwnerURL string // of the owner's tokens
	Word     string // the state
	Why      string // what the state means
	Created  timestamp
	Expires  *timestamp // nil: never
	Soon     bool       // it ends within soon
	Used     *timestamp // nil: never
	Revoked  *timestamp
	Previous *timestamp // until when the old secret is good; nil: it is not
	Address  string     // of the last use
	Networks []string
	More     int // networks beyond those
	Kind     string
	InForce  bool
}

// shownNetworks is how many networks a listing shows of a token.
const shownNetworks = 2

// tokenView returns a token with at most so many networks.
func (s *Site) tokenView(t manage.Token, networks int) tokenView {
	now := s.Now().UTC()
	r := tokenView{
		Token: t, URL: s.url("token/" + t.ID), OwnerURL: s.url("tokens?" + encode("user", t.Owner)),
		Word: text("state." + string(t.State)), Why: text("state." + string(t.State) + ".why"),
		Created: when(t.Created, now), Kind: text("kind.ordinary"),
		InForce: t.State != manage.StateRevoked && t.State != manage.StateExpired,
	}
	r.Name, r.Owner, r.Purpose, r.CreatedBy = visible(t.Name), visible(t.Owner), visible(t.Purpose), visible(t.CreatedBy)
	optional := func(at time.Time) *timestamp {
		if at.IsZero() {
			return nil
		}
		m := when(at, now)
		return &m
	}
	r.Expires, r.Used, r.Revoked, r.Previous = optional(t.Expires), optional(t.Usage.LastUsed), optional(t.Revoked), optional(t.PreviousUntil)
	r.Soon = r.InForce && r.Expires != nil && t.Expires.Sub(now) <= soon
	if t.Kind == store.Management {
		r.Kind = text("kind.management")
	}
	if a := t.Usage.LastAddress; a.IsValid() {
		r.Address = a.String()
	}
	for i, n := range t.Networks {
		if i == networks {
			r.More = len(t.Networks) - i
			break
		}
		r.Networks = append(r.Networks, networkText(n))
	}
	return r
}

// networkText writes a network, of a single address only that.
func networkText(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}

// seen is what somebody has seen of a token who does something to it: all but what
// changes by itself.
func seen(t manage.Token) []string {
	name, purpose := t.Name, t.Purpose
	t.Name, t.Purpose, t.Usage, t.PreviousUntil = "", "", store.Usage{}, time.Time{}
	if t.State == manage.StateSuspended {
		t.State = manage.StateActive // as long as its owner is not
	}
	return []string{name, purpose, fmt.Sprintf("%+v", t)}
}

func (s *Site) tokenViews(tokens []manage.Token) []tokenView {
	rows := make([]tokenView, len(tokens))
	for i, t := range tokens {
		rows[i] = s.tokenView(t, shownNetworks)
	}
	return rows
}
