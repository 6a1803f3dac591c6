package web_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage/web"
)

// However many strangers come from an address, others from there are identified,
// and who identifies them is told the address.
func TestStrangersOfAnAddress(t *testing.T) {
	for _, c := range []struct{ header, told string }{
		{"192.0.2.7", "192.0.2.7"}, {"::ffff:192.0.2.7", "192.0.2.7"}, {"2001:db8:0:1::1", "2001:db8:0:1::1"}, {"nonsense", ""},
	} {
		f := newFixture(t)
		var told netip.Addr
		f.options.Identify = func(_ context.Context, c directory.Credential) (directory.User, error) {
			told = c.Client
			name, good := strings.CutPrefix(c.Cookie, "good=")
			if !good {
				return directory.User{}, directory.ErrNotLoggedIn
			}
			return directory.User{Name: name, Active: true, Groups: directory.Groups{Known: true}}, nil
		}
		f.http = serve(t, web.New(f.options), nil)
		status := func(cookie string) int {
			return f.from(c.header, "").with("Cookie", cookie).send(t, "GET", base+"/me", nil).status
		}
		for n := range 50 {
			if got := status(fmt.Sprint("x=", n)); got != 401 {
				t.Fatalf("stranger %d at %q: %d", n, c.header, got)
			}
		}
		if got := status("good=wilma"); got != 200 {
			t.Errorf("somebody else at %q: %d", c.header, got)
		}
		if want, _ := netip.ParseAddr(c.told); told != want {
			t.Errorf("at %q the address is told as %v", c.header, told)
		}
	}
}
