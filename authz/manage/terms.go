package manage

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

// terms are the limits that a token must keep; nil: none.
type terms = *policy.Terms

// ownerOf returns the owner of a token to be created, and the terms for it. It
// refuses what the caller may not do at all before it looks up the user, so that
// callers cannot find out which users exist.
func (op *operation) ownerOf(ctx context.Context, name string) (directory.User, terms, error) {
	access, me := op.settings.Access, op.caller.user
	self := op.caller.kind == kindUser && (name == "" || store.FoldOwner(name) == store.FoldOwner(me.Name))
	if self {
		op.subject.owner = me.Name
		if !access.MayUse(op.groups()) {
			return me, nil, op.orUnavailable(refused(Forbidden, "You are not permitted to use API tokens (access.use). Ask an administrator."))
		}
		ts, err := op.termsOf()
		return me, ts, err
	}
	if name == "" {
		return me, nil, invalid(FieldOwner, "Say which user the token acts as.")
	}
	if err := checkOwner(name); err != nil {
		return me, nil, err
	}
	op.subject.owner = name
	if !op.administrator && !access.CreatesForOthers(op.groups()) {
		return me, nil, op.orUnavailable(refused(Forbidden, "You may create API tokens for yourself only (access.createForOthers)."))
	}
	owner, err := op.manager.Directory.Lookup(ctx, name)
	switch {
	case errors.Is(err, directory.ErrUnavailable):
		return owner, nil, unavailable(err)
	case err != nil && ctx.Err() != nil:
		return owner, nil, err
	case err != nil:
		return owner, nil, invalid(FieldOwner, "%s", Sentence(err))
	}
	known := owner.Groups.Known
	if !known && !op.administrator {
		return owner, nil, unavailable(errGroups)
	}
	if known && !access.MayUse(groups(owner.Groups)) {
		return owner, nil, refused(Forbidden, "%s is not permitted to use API tokens (access.use).", owner.Name)
	}
	if op.administrator {
		return owner, nil, nil
	}
	if !access.MayCreateFor(op.groups(), groups(owner.Groups)) {
		return owner, nil, refused(Forbidden, "No policy lets you create API tokens for %s (access.createForOthers).", owner.Name)
	}
	ts, err := op.termsOf()
	if err != nil {
		return owner, nil, err
	}
	if theirs, ok := access.Terms(groups(owner.Groups)); ok {
		both := ts.Narrower(theirs)
		ts = &both
	}
	return owner, ts, nil
}

// termsOf returns the terms of tokens that the caller creates.
func (op *operation) termsOf() (terms, error) {
	if op.administrator {
		return nil, nil
	}
	ts, ok := op.settings.Access.Terms(op.groups())
	if !ok {
		return nil, op.orUnavailable(refused(Forbidden, "You are not permitted to create API tokens (access.create). Ask an administrator."))
	}
	return &ts, nil
}

// applyTerms applies terms to a draft. asked says whether the request has an expiry.
func (op *operation) applyTerms(t *store.Token, asked bool, ts terms) error {
	if ts == nil {
		if !asked {
			t.Expires = op.now.Add(DefaultLifetime)
		}
		return nil
	}
	if !asked && !ts.MaxLifetime.Unlimited {
		t.Expires = op.now.Add(ts.MaxLifetime.Duration)
	}
	if err := checkEnd(t.Expires, op.now, ts); err != nil {
		return err
	}
	t.ReadOnly = t.ReadOnly || ts.ReadOnly
	if t.Rate == (store.Rate{}) {
		t.Rate = storeRate(ts.Rate)
	}
	if ts.Approval {
		t.State = store.Pending
	}
	return checkBounds(*t, ts)
}

// checkEnd refuses a token that expires later than the terms allow, counted from the
// given time.
func checkEnd(end, from time.Time, ts terms) error {
	if ts.MaxLifetime.Unlimited {
		return nil
	}
	latest := from.Add(ts.MaxLifetime.Duration)
	if end.IsZero() || end.After(latest) {
		return invalid(FieldExpires, "Your tokens may be valid for at most %s, here until %s (%s.maxLifetime).", ts.MaxLifetime, timeText(latest.Truncate(time.Second)), ts.Key)
	}
	return nil
}

// checkBounds refuses a token that exceeds the terms, except in its expiry.
func checkBounds(t store.Token, ts terms) error {
	switch {
	case ts.ReadOnly && !t.ReadOnly:
		return invalid(FieldReadOnly, "Your tokens must be read-only (%s.readOnly).", ts.Key)
	case ts.NetworksRequired && len(t.Networks) == 0:
		return invalid(FieldNetworks, "Your tokens need the networks that they are used from, such as 10.1.2.0/24 (%s.networks).", ts.Key)
	case ts.NetworksRequired && areTooLarge(t.Networks):
		return invalid(FieldNetworks, "Your tokens need networks that are no larger than %s (%s.networks).", largestNetworks, ts.Key)
	case !configRate(t.Rate).Within(ts.Rate):
		return invalid(FieldRate, "Your tokens may make at most %s (%s.rate).", ts.Rate, ts.Key)
	}
	return nil
}

// widens reports whether a change extends a token in any way.
func widens(before, after store.Token) bool {
	return endsLater(before, after) || before.ReadOnly && !after.ReadOnly ||
		!netsWithin(after.Networks, before.Networks) || !configRate(after.Rate).Within(configRate(before.Rate))
}

func endsLater(before, after store.Token) bool {
	return !before.Expires.IsZero() && (after.Expires.IsZero() || after.Expires.After(before.Expires))
}

// netsWithin reports whether each network is in one of the others; no networks means
// any.
func netsWithin(networks, others []netip.Prefix) bool {
	if len(others) == 0 {
		return true
	}
	inside := func(n netip.Prefix) bool {
		return slices.ContainsFunc(others, func(o netip.Prefix) bool { return o.Bits() <= n.Bits() && o.Contains(n.Addr()) })
	}
	return len(networks) > 0 && !slices.ContainsFunc(networks, func(n netip.Prefix) bool { return !inside(n) })
}

// Larger networks restrict almost nothing.
const (
	minBits4        = 8
	minBits6        = 16
	largestNetworks = "a /8, or a /16 of IPv6, and together no larger than two of these"
)

// areTooLarge reports whether networks, one of them or all together, are too large
// to restrict anything. All private networks together are smaller.
func areTooLarge(networks []netip.Prefix) bool {
	var sum4, sum6 uint64 // in addresses, and in /64 networks
	for i, n := range networks {
		if n.Addr().Is4() && n.Bits() < minBits4 || n.Addr().Is6() && n.Bits() < minBits6 {
			return true
		}
		holds := func(o netip.Prefix) bool { return o.Bits() < n.Bits() && o.Contains(n.Addr()) }
		switch {
		case slices.ContainsFunc(networks, holds), slices.Contains(networks[:i], n):
		case n.Addr().Is4():
			sum4 += 1 << (32 - n.Bits())
		default:
			sum6 += 1 << max(64-n.Bits(), 0)
		}
	}
	return sum4 > 2<<(32-minBits4) || sum6 > 2<<(64-minBits6)
}

// storeRate and configRate convert rates between the store and the configuration.
func storeRate(r config.Rate) store.Rate {
	return store.Rate{Requests: uint32(r.Requests), Per: r.Per, Burst: uint32(r.Burst)}
}

func configRate(r store.Rate) config.Rate {
	return config.Rate{Requests: int(r.Requests), Per: r.Per, Burst: int(r.Burst)}
}

// unavailable refuses an operation that cannot be authorized now.
func unavailable(err error) error {
	return &Error{Code: Unavailable, Cause: err,
		Message: "The user directory gives no reliable answer, so it is unknown whether this is allowed. Nothing was done. Try again later, or tell an administrator."}
}
