package page

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

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
			t.Errorf("the usual overlap up to %v is %q, want %q", most, got, want)
		}
	}
	if n := len(overlaps(0)); n != 1 {
		t.Errorf("%d overlaps where none is allowed", n)
	}
}

// The examples quote any name of an owner.
func TestExamples(t *testing.T) {
	for _, e := range examples("https://jira.example.com/jira/rest/api/2/myself", `o'neil "x" \`) {
		if !strings.Contains(e.Code, "https://jira.example.com/jira/rest/api/2/myself") {
			t.Errorf("%s: %s", e.Title, e.Code)
		}
	}
	all := examples("https://x/rest/api/2/myself", `o'neil "x" \`)
	if want := `curl -u 'o'\''neil "x" \':"$TOKEN" https://x/rest/api/2/myself`; all[0].Code != want {
		t.Errorf("%s, want %s", all[0].Code, want)
	}
	if want := `session.auth = ("o'neil \"x\" \\", os.environ["TOKEN"])`; !strings.Contains(all[2].Code, want) {
		t.Errorf("%s, want %s", all[2].Code, want)
	}
}

func TestNetworksOfForms(t *testing.T) {
	f := &form{Values: url.Values{"networks": {" 10.0.0.0/8,\n192.0.2.7;2001:db8::/32\t"}, "here": {"true"}}}
	if got := fmt.Sprint(f.networks("198.51.100.1")); got != "[10.0.0.0/8 192.0.2.7 2001:db8::/32 198.51.100.1]" {
		t.Errorf("%s", got)
	}
	if got := (&form{Values: url.Values{"here": {"true"}}}).networks(""); len(got) != 0 {
		t.Errorf("an unknown address gives %v", got)
	}
}
