package page

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

func TestChart(t *testing.T) {
	today := store.DayOf(noon)
	c := newChart([]store.DayTotals{
		{Day: today - 30, Counts: map[string]uint64{"allowed": 99}}, // too old
		{Day: today - 29, Counts: map[string]uint64{"allowed": 50, "password": 7}},
		{Day: today, Counts: map[string]uint64{"allowed": 100, "expired": 6, "disabled": 1, "wrong_secret": 3, "pending": 1, "read_only": 2, "password_unknown_user": 9}},
	}, today)
	if len(c.Days) != 30 || c.Nothing || c.Totals.Allowed != "150" || c.Totals.Refused != "13" || c.Allowed.Top != "100" {
		t.Errorf("%+v", c)
	}
	if got := c.Days[29]; got != (chartDay{"2026-03-01", "100", "13", "expired 6, wrong_secret 3, read_only 2, disabled 1, pending 1"}) {
		t.Errorf("today: %+v", got)
	}
	var names []string
	for _, s := range c.Series {
		names = append(names, s.Name+" "+s.Count)
	}
	if got := strings.Join(names, ", "); got != "expired 6, wrong_secret 3, read_only 2, disabled 1, all others 1" {
		t.Errorf("series: %s", got)
	}
	want := []rect{{0, 60, 18, 60, "allowed", "2026-01-31: 50"}, {29 * 24, 0, 18, 120, "allowed", "2026-03-01: 100"}}
	if diff := cmp.Diff(want, c.Allowed.Rects); diff != "" {
		t.Errorf("bars (-want +got):\n%s", diff)
	}
	top := barsHeight
	for _, r := range c.Refused.Rects {
		if r.Y+r.Height != top || r.X != 29*24 {
			t.Errorf("%+v does not begin at the top of the part below, %d", r, top)
		}
		top = r.Y
	}
	if top != 0 || len(c.Refused.Rects) != 5 {
		t.Errorf("the highest bar ends at %d and has %d parts", top, len(c.Refused.Rects))
	}
	if !newChart(nil, today).Nothing {
		t.Error("an empty chart is not reported as empty")
	}
}

// The effect of blocking passwords leaves out exempt users and networks.
func TestPasswords(t *testing.T) {
	s := &Site{Options: Options{Now: func() time.Time { return noon }}}
	use := func(user, address string, passed, blocked uint64) manage.PasswordUser {
		return manage.PasswordUser{User: user, Uses: []store.PasswordUse{{User: user, Client: "curl", Address: netip.MustParseAddr(address), Last: noon, Passed: passed, Blocked: blocked}}}
	}
	users := []manage.PasswordUser{use("fred", "10.1.2.3", 5, 0), use("robot", "10.1.2.3", 1000, 0), use("wilma", "192.0.2.1", 300, 2), use("barney", "10.9.9.9", 1, 0)}
	days := []store.DayTotals{{Counts: map[string]uint64{manage.UnknownPasswords: 12}}}
	for _, c := range []struct {
		yaml     string
		users    int
		requests uint64
	}{
		{"passwords: {mode: allow}", 4, 1306},
		{"passwords: {mode: observe, allowedUsers: [Robot], allowedNetworks: [192.0.2.0/24]}", 2, 6},
		{"passwords: {mode: allow, allowedNetworks: [0.0.0.0/0]}", 0, 0},
		{"passwords: {mode: block}", 4, 1306},
	} {
		settings, err := config.Parse("test.yaml", []byte("publicURL: https://jira.example.com\n"+c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		p := s.passwords(users, policy.New(settings).Passwords, days)
		if p.AffectedUsers != c.users || p.Affected != c.requests || p.Blocked != 2 || p.Unknown != 12 || len(p.Users) != 4 || p.Blocking != strings.Contains(c.yaml, "block") {
			t.Errorf("%s: %+v", c.yaml, p)
		}
	}
	for i := range 100 {
		users = append(users, use(fmt.Sprint("user", i), "10.0.0.1", 1, 0))
	}
	if p := s.passwords(users, policy.Passwords{}, nil); len(p.Users) != maxPasswordRows || p.More != 104-maxPasswordRows {
		t.Errorf("%d rows, and %d more", len(p.Users), p.More)
	}
}
