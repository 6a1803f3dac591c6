package page

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func TestWhen(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "just now"}, {-59 * time.Second, "just now"}, {time.Second, "in less than a minute"}, {-time.Minute, "1 minute ago"},
		{59 * time.Minute, "in 59 minutes"}, {-time.Hour, "60 minutes ago"}, {35 * time.Hour, "in 35 hours"}, {47 * time.Hour, "in 2 days"}, {2 * day, "in 2 days"},
		{90*day - time.Second, "in 90 days"}, {-179 * day, "179 days ago"}, {365 * day, "in 12 months"}, {730 * day, "in 2 years"}, {-10000 * day, "27 years ago"},
	} {
		if got := when(noon.Add(c.d), noon).Text; got != c.want {
			t.Errorf("%v: %q, want %q", c.d, got, c.want)
		}
	}
	m := when(noon.In(time.FixedZone("x", 3600)), noon)
	if m.Full != "2026-03-01 12:00 UTC" || m.Machine != "2026-03-01T12:00:00Z" {
		t.Errorf("%+v", m)
	}
}

func TestLifetimes(t *testing.T) {
	for _, c := range []struct {
		most   string
		keep   bool
		want   string
		chosen string
	}{
		{"unlimited", false, "1d 7d 30d 90d 180d 365d unlimited date", "90d"},
		{"365d", false, "1d 7d 30d 90d 180d 365d date", "90d"},
		{"45d", false, "1d 7d 30d latest date", "30d"},
		{"12h", false, "latest date", "latest"},
		{"30d", true, "keep 1d 7d 30d date", "keep"},
		{"400d", false, "1d 7d 30d 90d 180d 365d latest date", "90d"},
	} {
		most, err := config.ParseLifetime(c.most)
		if err != nil {
			t.Fatal(err)
		}
		choices, chosen := lifetimesUntil(latest(most, noon), noon, c.keep)
		var got []string
		for _, l := range choices {
			got = append(got, l.Value)
		}
		if s := strings.Join(got, " "); s != c.want || chosen != c.chosen {
			t.Errorf("%s, keep %v: %s (%s), want %s (%s)", c.most, c.keep, s, chosen, c.want, c.chosen)
		}
	}
	var got []string
	for _, o := range overlaps(36 * time.Hour) {
		got = append(got, o.Value)
	}
	if s := strings.Join(got, " "); s != " 10m 1h 1d 1d12h" {
		t.Errorf("overlaps: %q", s)
	}
	for most, want := range map[time.Duration]string{0: "", time.Hour: "1h", 36 * time.Hour: "1d", 7 * day: "1d"} {
		if got := usualOverlap(overlaps(most)); got != want {
			t.Errorf("of overlaps up to %v %q is usual, want %q", most, got, want)
		}
	}
	if n := len(overlaps(0)); n != 1 {
		t.Errorf("%d overlaps where none may be", n)
	}
}

// A nonce that is forgotten is not good again, nor is one that is older.
func TestNoncesAreForgotten(t *testing.T) {
	now := noon
	n := newNonces(func() time.Time { return now })
	c := manage.Person(directory.User{Name: "fred", Active: true}, "192.0.2.7")
	old := n.make(c, "new")
	now = now.Add(time.Second)
	used := n.make(c, "new")
	if o, _ := n.use(used, c, "new"); o != fresh {
		t.Fatalf("a good one is %v", o)
	}
	n.record(used, "abc")
	if o, token := n.use(used, c, "new"); o != replayed || token != "abc" {
		t.Fatalf("a used one is %v of %q", o, token)
	}
	for range maxNonces {
		now = now.Add(time.Millisecond)
		if o, _ := n.use(n.make(c, "new"), c, "new"); o != fresh {
			t.Fatalf("a good one is %v", o)
		}
	}
	if len(n.used) > maxNonces {
		t.Errorf("%d are remembered", len(n.used))
	}
	for name, nonce := range map[string]string{"one that was used": used, "one that is older": old} {
		if o, _ := n.use(nonce, c, "new"); o != invalid {
			t.Errorf("%s is %v once it is forgotten", name, o)
		}
	}
	n.record("no such", "x") // and nothing happens
	written := n.make(c, "new")
	for _, other := range []string{written + "\n", written[:3] + "\r\n" + written[3:], written + "="} {
		n.use(written, c, "new")
		if o, _ := n.use(other, c, "new"); o == fresh {
			t.Errorf("%q is good again", other)
		}
	}
	if proof := n.seal(c, "a", "b"); !n.sealed(proof, c, "a", "b") || n.sealed(proof, c, "a", "c") || n.sealed(proof, c, "ab") || n.sealed(proof, c, "a", "b", "") || n.sealed("", c) {
		t.Error("a proof is good for something else")
	}
	ahead := n.make(c, "new")
	now = now.Add(-time.Minute)
	if o, _ := n.use(ahead, c, "new"); o != invalid {
		t.Errorf("one from the future is %v", o)
	}
}

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
			t.Errorf("%+v does not stand on what is below it, at %d", r, top)
		}
		top = r.Y
	}
	if top != 0 || len(c.Refused.Rects) != 5 {
		t.Errorf("the highest bar ends at %d, of %d parts", top, len(c.Refused.Rects))
	}
	if !newChart(nil, today).Nothing {
		t.Error("nothing is something")
	}
}

// What a switch to block would hit is said without those who are exempt.
func TestPasswordsStatement(t *testing.T) {
	s := &Site{Options: Options{Now: func() time.Time { return noon }}}
	use := func(user, address string, passed, blocked uint64) manage.PasswordUser {
		return manage.PasswordUser{User: user, Uses: []store.PasswordUse{{User: user, Client: "curl", Address: netip.MustParseAddr(address), Last: noon, Passed: passed, Blocked: blocked}}}
	}
	users := []manage.PasswordUser{use("fred", "10.1.2.3", 5, 0), use("robot", "10.1.2.3", 1000, 0), use("wilma", "192.0.2.1", 300, 2), use("barney", "10.9.9.9", 1, 0)}
	days := []store.DayTotals{{Counts: map[string]uint64{manage.UnknownPasswords: 12}}}
	for _, c := range []struct{ yaml, want string }{
		{"passwords: {mode: allow}", "would hit 4 users, who made 1,306 requests"},
		{"passwords: {mode: observe, allowedUsers: [Robot], allowedNetworks: [192.0.2.0/24]}", "would hit 2 users, who made 6 requests"},
		{"passwords: {mode: allow, allowedNetworks: [0.0.0.0/0]}", "would hit nobody"},
		{"passwords: {mode: block}", "2 requests of known users were refused"},
	} {
		settings, err := config.Parse("test.yaml", []byte("publicURL: https://jira.example.com\n"+c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		p := s.passwords(users, policy.New(settings).Passwords, days)
		if !strings.Contains(p.Statement, c.want) || !strings.Contains(p.Note, "12 requests") || len(p.Users) != 4 {
			t.Errorf("%s: %q %q", c.yaml, p.Statement, p.Note)
		}
	}
	for i := range 100 {
		users = append(users, use(fmt.Sprint("user", i), "10.0.0.1", 1, 0))
	}
	if p := s.passwords(users, policy.Passwords{}, nil); len(p.Users) != maxPasswordRows || p.More != 104-maxPasswordRows {
		t.Errorf("%d rows, and %d more", len(p.Users), p.More)
	}
}

// The programs on the page hold whatever name an owner has as a text.
func TestExamples(t *testing.T) {
	for _, e := range examples("https://jira.example.com/jira", `o'neil "x" \`) {
		if strings.Contains(e.Code, "OWNER") || strings.Contains(e.Code, "JIRA/") || !strings.Contains(e.Code, "https://jira.example.com/jira/rest/api/2/myself") {
			t.Errorf("%s: %s", e.Title, e.Code)
		}
	}
	all := examples("https://x", `o'neil "x" \`)
	if want := `curl -u 'o'\''neil "x" \':"$TOKEN" https://x/rest/api/2/myself`; all[0].Code != want {
		t.Errorf("%s, want %s", all[0].Code, want)
	}
	if want := `jira.auth = ("o'neil \"x\" \\", os.environ["TOKEN"])`; !strings.Contains(all[2].Code, want) {
		t.Errorf("%s, want %s", all[2].Code, want)
	}
}

func TestNetworksOfForms(t *testing.T) {
	f := &form{Values: url.Values{"networks": {" 10.0.0.0/8,\n192.0.2.7;2001:db8::/32\t"}, "here": {"true"}}}
	if got := fmt.Sprint(f.networks("198.51.100.1")); got != "[10.0.0.0/8 192.0.2.7 2001:db8::/32 198.51.100.1]" {
		t.Errorf("%s", got)
	}
	if got := (&form{Values: url.Values{"here": {"true"}}}).networks(""); len(got) != 0 {
		t.Errorf("an address that is not known is %v", got)
	}
}
