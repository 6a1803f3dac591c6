package policy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
)

const day = 24 * time.Hour

func days(n int) config.Lifetime { return config.Lifetime{Duration: time.Duration(n) * day} }

func TestTerms(t *testing.T) {
	a := policy.NewAccess(parse(t, `
  create:
    - {groups: [contractors], maxLifetime: 30d, readOnly: true, approval: true, networks: required, rate: {requests: 600, per: 1m, burst: 100}}
    - {groups: ["*"], maxLifetime: 7d, readOnly: true}
    - {groups: [users, robots], maxLifetime: 90d}
    - {groups: [robots], maxLifetime: unlimited, networks: required}
`))
	contractors := policy.Terms{
		Key: "access.create[0]", MaxLifetime: days(30), ReadOnly: true, Approval: true, NetworksRequired: true,
		Rate: config.Rate{Requests: 600, Per: time.Minute, Burst: 100},
	}
	everyone := policy.Terms{Key: "access.create[1]", MaxLifetime: days(7), ReadOnly: true}
	users := policy.Terms{Key: "access.create[2]", MaxLifetime: days(90)}
	for _, test := range []struct {
		name   string
		member policy.Member
		want   policy.Terms
	}{
		{"in no group", in{}, everyone},
		{"of groups not known", in(nil), everyone},
		{"in the narrowest, and everyone", in{"contractors"}, everyone},
		{"in users", in{"users"}, users},
		{"in all", in{"contractors", "robots", "users"}, users},
		{"optional networks before a longer life", in{"robots"}, users},
	} {
		if got, ok := a.Terms(test.member); !ok || got != test.want {
			t.Errorf("user %s: %+v, %v; want %+v", test.name, got, ok, test.want)
		}
	}
	only := policy.NewAccess(parse(t, "  create: [{groups: [contractors], maxLifetime: 30d, readOnly: true, approval: true, networks: required, rate: {requests: 600, per: 1m, burst: 100}}]\n"))
	if got, ok := only.Terms(in{"contractors"}); !ok || got != contractors {
		t.Errorf("the only rule: %+v, %v; want %+v", got, ok, contractors)
	}
}

// Of each two policies the first is more permissive, in either order in the file.
func TestMostPermissive(t *testing.T) {
	tests := []struct{ name, more, less string }{
		{"approval before all else",
			"maxLifetime: 1s, readOnly: true, networks: required, rate: {requests: 1, per: 1d}",
			"maxLifetime: unlimited, approval: true"},
		{"then read-only",
			"maxLifetime: 1s, networks: required, rate: {requests: 1, per: 1d}",
			"maxLifetime: unlimited, readOnly: true"},
		{"then networks",
			"maxLifetime: 1s, rate: {requests: 1, per: 1d}",
			"maxLifetime: unlimited, networks: required"},
		{"then the lifetime", "maxLifetime: 2d, rate: {requests: 1, per: 1d}", "maxLifetime: 1d23h59m59s"},
		{"unlimited is the longest", "maxLifetime: unlimited, rate: {requests: 1, per: 1d}", "maxLifetime: 106751d"},
		{"then the rate", "maxLifetime: 1d, rate: {requests: 11, per: 1s, burst: 1}", "maxLifetime: 1d, rate: {requests: 600, per: 1m}"},
		{"unlimited is the highest", "maxLifetime: 1d", "maxLifetime: 1d, rate: {requests: 1000000, per: 1s}"},
		{"then the burst", "maxLifetime: 1d, rate: {requests: 10, per: 1s, burst: 2}", "maxLifetime: 1d, rate: {requests: 600, per: 1m, burst: 1}"},
		{"the same bonds count by the first that differs",
			"maxLifetime: 2d, approval: true, readOnly: true, networks: required",
			"maxLifetime: 1d, approval: true, readOnly: true, networks: required"},
	}
	key := func(rules ...string) string {
		text := "  create:\n"
		for _, r := range rules {
			text += "    - {groups: ['*'], " + r + "}\n"
		}
		terms, _ := policy.NewAccess(parse(t, text)).Terms(in{})
		return terms.Key
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := key(test.more, test.less); got != "access.create[0]" {
				t.Errorf("the more permissive first: %s applies", got)
			}
			if got := key(test.less, test.more); got != "access.create[1]" {
				t.Errorf("the more permissive last: %s applies", got)
			}
			if got := key(test.more, test.more); got != "access.create[0]" {
				t.Errorf("the same twice: %s applies", got)
			}
			many := slices.Repeat([]string{test.less, test.more}, 50)
			if got := key(many...); got != "access.create[1]" {
				t.Errorf("among as many as there may be: %s applies", got)
			}
		})
	}
}

func TestNarrower(t *testing.T) {
	rate := func(requests int, per time.Duration, burst int) config.Rate {
		return config.Rate{Requests: requests, Per: per, Burst: burst}
	}
	forever := config.Lifetime{Unlimited: true}
	tests := []struct {
		name string
		a, b policy.Terms
		want policy.Terms
	}{
		{name: "a shorter life", a: policy.Terms{MaxLifetime: days(90)}, b: policy.Terms{MaxLifetime: days(30)}, want: policy.Terms{MaxLifetime: days(30)}},
		{name: "a life with an end", a: policy.Terms{MaxLifetime: forever}, b: policy.Terms{MaxLifetime: days(30)}, want: policy.Terms{MaxLifetime: days(30)}},
		{name: "no life", a: policy.Terms{MaxLifetime: forever}, b: policy.Terms{}, want: policy.Terms{}},
		{name: "read-only", a: policy.Terms{ReadOnly: true}, b: policy.Terms{}, want: policy.Terms{ReadOnly: true}},
		{name: "approval", a: policy.Terms{Approval: true}, b: policy.Terms{}, want: policy.Terms{Approval: true}},
		{name: "networks", a: policy.Terms{NetworksRequired: true}, b: policy.Terms{}, want: policy.Terms{NetworksRequired: true}},
		{name: "a rate", a: policy.Terms{Rate: rate(600, time.Minute, 100)}, b: policy.Terms{}, want: policy.Terms{Rate: rate(600, time.Minute, 100)}},
		{name: "a lower rate and a smaller burst", a: policy.Terms{Rate: rate(600, time.Minute, 10)}, b: policy.Terms{Rate: rate(60, time.Minute, 60)}, want: policy.Terms{Rate: rate(60, time.Minute, 10)}},
		{
			name: "of each the narrower",
			a:    policy.Terms{MaxLifetime: forever, ReadOnly: true, Rate: rate(1, time.Second, 1)},
			b:    policy.Terms{MaxLifetime: days(1), Approval: true, NetworksRequired: true},
			want: policy.Terms{MaxLifetime: days(1), ReadOnly: true, Approval: true, NetworksRequired: true, Rate: rate(1, time.Second, 1)},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.a.Key, test.b.Key = "access.create[0]", "access.create[1]"
			for _, pair := range [][2]policy.Terms{{test.a, test.b}, {test.b, test.a}} {
				want := test.want
				want.Key = pair[0].Key
				if diff := cmp.Diff(want, pair[0].Narrower(pair[1])); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// The narrower terms are never wider than either, do not depend on the order except
// for the key, and equal both terms if these are equal.
func FuzzNarrower(f *testing.F) {
	f.Add(int64(3600), byte(0), uint32(600), uint32(60), uint32(100), int64(-1), byte(7), uint32(10), uint32(1), uint32(10))
	f.Add(int64(1), byte(1), uint32(10000), uint32(86400), uint32(5000), int64(2), byte(4), uint32(600), uint32(60), uint32(100))
	f.Add(int64(0), byte(2), uint32(0), uint32(0), uint32(0), int64(-1), byte(0), uint32(0), uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, life1 int64, bonds1 byte, requests1, per1, burst1 uint32, life2 int64, bonds2 byte, requests2, per2, burst2 uint32) {
		a := anyTerms("a", life1, bonds1, requests1, per1, burst1)
		b := anyTerms("b", life2, bonds2, requests2, per2, burst2)
		n := a.Narrower(b)
		for _, whole := range []policy.Terms{a, b} {
			if n.MaxLifetime.Compare(whole.MaxLifetime) > 0 || !n.Rate.Within(whole.Rate) ||
				whole.ReadOnly && !n.ReadOnly || whole.Approval && !n.Approval || whole.NetworksRequired && !n.NetworksRequired {
				t.Errorf("%+v\nis wider than\n%+v", n, whole)
			}
		}
		if r := n.Rate; r != (config.Rate{}) && (r.Requests < 1 || r.Per < time.Second || r.Burst < 1 || r.Burst > r.Requests) {
			t.Errorf("%+v and %+v make an invalid rate: %+v", a, b, r)
		}
		back := b.Narrower(a)
		if n.Key != "a" || back.Key != "b" {
			t.Errorf("the keys are %s and %s", n.Key, back.Key)
		}
		if back.Key = n.Key; n != back {
			t.Errorf("%+v and back %+v", n, back)
		}
		if a.Narrower(a) != a || n.Narrower(b) != n || n.Narrower(a) != n {
			t.Errorf("%+v and %+v: what both bind, bound again, is something else", a, b)
		}
	})
}

// anyTerms returns terms that a configuration may have.
func anyTerms(key string, life int64, bonds byte, requests, per, burst uint32) policy.Terms {
	terms := policy.Terms{Key: key, ReadOnly: bonds&1 > 0, Approval: bonds&2 > 0, NetworksRequired: bonds&4 > 0}
	if life < 0 {
		terms.MaxLifetime.Unlimited = true
	} else {
		terms.MaxLifetime.Duration = time.Duration(life%9_000_000_000) * time.Second
	}
	if requests > 0 {
		terms.Rate.Requests = int(requests-1)%1_000_000 + 1
		terms.Rate.Per = time.Duration(per%86400+1) * time.Second
		terms.Rate.Burst = int(burst)%terms.Rate.Requests + 1
	}
	return terms
}
