package policy

import (
	"cmp"

	"github.com/tokengate/tokengate/authz/config"
)

// Terms are what the tokens that somebody creates must keep to. A token may
// always be narrower. The zero Terms give a token no time to live.
type Terms struct {
	Key              string          // of the rule in the configuration, such as access.create[1]
	MaxLifetime      config.Lifetime // and the lifetime of a token whose creator asks for none
	ReadOnly         bool            // the token must be
	Approval         bool            // an administrator must approve the token before it works
	NetworksRequired bool            // the token must name networks
	Rate             config.Rate     // the most that the token may have
}

func newTerms(key string, rule config.CreationPolicy) Terms {
	return Terms{
		Key:              key,
		MaxLifetime:      rule.MaxLifetime,
		ReadOnly:         rule.ReadOnly,
		Approval:         rule.Approval,
		NetworksRequired: rule.Networks != config.NetworksOptional,
		Rate:             rule.Rate,
	}
}

// compare returns -1 if t is less permissive than o, 1 if it is more so, and 0
// if but for the key both are the same. What comes first here counts first.
func (t Terms) compare(o Terms) int {
	return cmp.Or(
		compareFree(t.Approval, o.Approval),
		compareFree(t.ReadOnly, o.ReadOnly),
		compareFree(t.NetworksRequired, o.NetworksRequired),
		t.MaxLifetime.Compare(o.MaxLifetime),
		t.Rate.Compare(o.Rate),
	)
}

// compareFree compares two bonds: who is free of one has more.
func compareFree(bound, other bool) int {
	switch {
	case bound == other:
		return 0
	case bound:
		return -1
	}
	return 1
}

// Narrower returns the terms of a token that both bind: of each the narrower.
// The key is t's.
func (t Terms) Narrower(o Terms) Terms {
	if o.MaxLifetime.Compare(t.MaxLifetime) < 0 {
		t.MaxLifetime = o.MaxLifetime
	}
	t.ReadOnly = t.ReadOnly || o.ReadOnly
	t.Approval = t.Approval || o.Approval
	t.NetworksRequired = t.NetworksRequired || o.NetworksRequired
	t.Rate = t.Rate.Narrower(o.Rate)
	return t
}
