package web_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage/web"
)

// doorkeeper stands for Jira: it says who has the cookie "good=<name>" or
// "good=<name>.<anything>".
type doorkeeper struct {
	asked atomic.Int32
	err   atomic.Pointer[error]               // what it says in place of ErrNotLoggedIn to everybody; nil: nothing
	wait  atomic.Pointer[func(cookie string)] // is called before each answer; nil: nothing is
}

func (d *doorkeeper) identify(_ context.Context, c directory.Credential) (directory.User, error) {
	d.asked.Add(1)
	if wait := d.wait.Load(); wait != nil {
		(*wait)(c.Cookie)
	}
	if err := d.err.Load(); err != nil {
		return directory.User{}, *err
	}
	name, good := strings.CutPrefix(c.Cookie, "good=")
	if !good {
		return directory.User{}, directory.ErrNotLoggedIn
	}
	name, _, _ = strings.Cut(name, ".")
	return directory.User{Name: name, Active: true, Groups: directory.Groups{Known: true, Names: []string{"jira-users"}}}, nil
}

func withDoorkeeper(t *testing.T) (*fixture, *doorkeeper) {
	t.Helper()
	f, d := newFixture(t), &doorkeeper{}
	f.options.Identify = d.identify
	f.http = serve(t, web.New(f.options), nil)
	return f, d
}

// at returns a sender at an address with a cookie; "" is none.
func (f *fixture) at(address, cookie string) sender {
	s := f.from(address, "")
	if cookie != "" {
		s = s.with("Cookie", cookie)
	}
	return s
}

// status is what a sender is answered.
func (s sender) status(t *testing.T) int {
	t.Helper()
	return s.send(t, "GET", base+"/me", nil).status
}

// Of one address so many come to Jira who are not logged in, and others come
// anyway.
func TestStrangersOfAnAddress(t *testing.T) {
	for _, c := range []struct{ address, same, other string }{
		{"192.0.2.7", "192.0.2.7", "192.0.2.8"},
		{"192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7"},
		{"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"},
		{"", "nonsense", "192.0.2.7"},
	} {
		f, jira := withDoorkeeper(t)
		for n := range 20 {
			denied(t, f.at(c.address, fmt.Sprint("x=", n)).send(t, "GET", base+"/me", nil), 401, "")
		}
		for _, cookie := range []string{"x=20", "x=0", "good=wilma"} {
			got := f.at(c.same, cookie).send(t, "GET", base+"/me", nil)
			if denied(t, got, 429, ""); got.header.Get("Retry-After") != "1" {
				t.Errorf("%q: Retry-After is %q", c.same, got.header.Get("Retry-After"))
			}
		}
		if n := jira.asked.Load(); n != 20 {
			t.Errorf("%q: %d questions", c.address, n)
		}
		if got := f.at(c.other, "good=wilma").status(t); got != 200 {
			t.Errorf("at %q: %d", c.other, got)
		}
		// Without a credential nothing is asked of Jira.
		if got := f.at(c.same, "").status(t); got != 401 {
			t.Errorf("%q, without a credential: %d", c.same, got)
		}
		f.pass(time.Second)
		for _, want := range []int{401, 429} {
			if got := f.at(c.same, "x=21").status(t); got != want {
				t.Errorf("%q, after a second: %d, want %d", c.same, got, want)
			}
		}
	}
}

// Many good users behind one address have nothing to do with each other, nor with
// the others there.
func TestGoodUsersOfAnAddress(t *testing.T) {
	f, jira := withDoorkeeper(t)
	const address = "192.0.2.7"
	for n := range 100 {
		if got := f.at(address, fmt.Sprintf("good=user%d", n)).status(t); got != 200 {
			t.Fatalf("user %d: %d", n, got)
		}
	}
	flood := func() {
		for n := range 30 {
			f.at(address, fmt.Sprint("x=", n)).status(t)
		}
		if got := f.at(address, "good=new").status(t); got != 429 {
			t.Fatalf("somebody new: %d", got)
		}
	}
	flood()
	for n := range 100 {
		if got := f.at(address, fmt.Sprintf("good=user%d", n)).status(t); got != 200 {
			t.Errorf("user %d, beside a flood: %d", n, got)
		}
	}

	// Trouble that is not the credential's own changes nothing of it.
	for i, err := range []error{directory.ErrUnavailable, directory.ErrTooManyFailures, directory.ErrCaptcha} {
		jira.err.Store(&err)
		for range 25 {
			f.at("192.0.2.9", "good=user1").status(t)
		}
		jira.err.Store(nil)
		if got := f.at("192.0.2.9", fmt.Sprintf("good=late%d", i)).status(t); got != 200 {
			t.Errorf("somebody new beside %v of others: %d", err, got)
		}
		if got := f.at(address, "good=user1").status(t); got != 200 {
			t.Errorf("after %v: %d", err, got)
		}
	}
	// Who has logged out is a stranger.
	ended := directory.ErrNotLoggedIn
	jira.err.Store(&ended)
	if got := f.at(address, "good=user2").status(t); got != 401 {
		t.Errorf("who has logged out: %d", got)
	}
	jira.err.Store(nil)
	if got := f.at(address, "good=user2").status(t); got != 429 {
		t.Errorf("who had logged out: %d", got)
	}

	// What was good a working day ago is not good lately.
	f.pass(8*time.Hour - time.Second)
	flood()
	if got := f.at(address, "good=user3").status(t); got != 200 {
		t.Errorf("within hours: %d", got)
	}
	f.pass(time.Second)
	flood()
	for user, want := range map[string]int{"user3": 200, "user4": 429} {
		if got := f.at(address, "good="+user).status(t); got != want {
			t.Errorf("%s after hours: %d, want %d", user, got, want)
		}
	}
}

// A cookie and a password that were good apart are another credential together.
func TestGoodCredentialsAreWhole(t *testing.T) {
	f, _ := withDoorkeeper(t)
	if got := f.at("192.0.2.7", "good=fred").status(t); got != 200 {
		t.Fatal(got)
	}
	for n := range 20 {
		f.at("192.0.2.7", fmt.Sprint("x=", n)).status(t)
	}
	for _, s := range []sender{
		f.at("192.0.2.7", "good=fred.2"), f.at("192.0.2.7", "good=fre"),
		f.at("192.0.2.7", "good=fred").with("Authorization", "Basic ZnJlZDp4"),
	} {
		if got := s.status(t); got != 429 {
			t.Errorf("%v: %d", s.header, got)
		}
	}
}

// Failures of any kind cost, but for Jira's silence, which is nobody's.
func TestFailuresCost(t *testing.T) {
	for _, failure := range []error{directory.ErrUnavailable, directory.ErrBusy, directory.ErrTooManyFailures, directory.ErrCaptcha, directory.ErrInactive, context.Canceled} {
		f, jira := withDoorkeeper(t)
		jira.err.Store(&failure)
		for n := range 25 {
			f.at("192.0.2.7", fmt.Sprint("x=", n)).status(t)
		}
		want := int64(20)
		if failure == directory.ErrUnavailable {
			want = 25
		}
		if n := int64(jira.asked.Load()); n != want {
			t.Errorf("%v: %d questions, want %d", failure, n, want)
		}
	}
}

// While Jira is slow, so many of one address wait for it.
func TestStrangersAtOnce(t *testing.T) {
	f, jira := withDoorkeeper(t)
	if got := f.at("192.0.2.7", "good=fred").status(t); got != 200 {
		t.Fatal(got)
	}
	arrived, answer := make(chan bool), make(chan bool)
	wait := func(cookie string) {
		if strings.HasPrefix(cookie, "slow=") {
			arrived <- true
			<-answer
		}
	}
	jira.wait.Store(&wait)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			if got := f.at("192.0.2.7", fmt.Sprint("slow=", n)).status(t); got != 401 {
				t.Errorf("one that waits: %d", got)
			}
		})
		<-arrived
	}
	for _, c := range []struct {
		address, cookie string
		want            int
	}{
		{"192.0.2.7", "x=8", 429},
		{"192.0.2.7", "good=wilma", 429},
		{"192.0.2.7", "good=fred", 200},
		{"192.0.2.8", "good=wilma", 200},
	} {
		if got := f.at(c.address, c.cookie).status(t); got != c.want {
			t.Errorf("at %s with %s: %d, want %d", c.address, c.cookie, got, c.want)
		}
	}
	close(answer)
	all.Wait()
	jira.wait.Store(nil)
	if got := f.at("192.0.2.7", "good=wilma").status(t); got != 200 {
		t.Errorf("when they are answered: %d", got)
	}
}

// Nobody's many credentials make the others be forgotten, and of very many users
// some are.
func TestManyCredentials(t *testing.T) {
	f, _ := withDoorkeeper(t)
	api := web.New(f.options)
	f.http = serve(t, api, nil)
	f.at("192.0.2.7", "good=wilma").status(t)
	for n := range 40 {
		f.at("192.0.2.7", fmt.Sprintf("good=fred.%d", n)).status(t)
	}
	if n := web.RememberedCredentials(api); n != 1+8 {
		t.Errorf("%d credentials are remembered", n)
	}
	for n := range 20 {
		f.at("192.0.2.7", fmt.Sprint("x=", n)).status(t)
	}
	f.pass(500 * time.Millisecond)
	for cookie, want := range map[string]int{"good=wilma": 200, "good=fred.39": 200, "good=fred.0": 429} {
		if got := f.at("192.0.2.7", cookie).status(t); got != want {
			t.Errorf("%s: %d, want %d", cookie, got, want)
		}
	}
	web.RememberCredentials(api, 20_000)
	if n := web.RememberedCredentials(api); n <= 9_000 || n > 10_000+8 {
		t.Errorf("of very many users %d credentials are remembered", n)
	}
	f.pass(8 * time.Hour)
	web.RememberCredentials(api, 2000) // more than there is room for without them
	if n := web.RememberedCredentials(api); n > 2000 {
		t.Errorf("%d credentials are remembered that nobody has used for hours", n)
	}
}
