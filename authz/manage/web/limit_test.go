package web_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage/web"
)

// Each caller may make so many requests, whoever else makes how many.
func TestRequestsOfACaller(t *testing.T) {
	f := newFixture(t)
	fred, wilma := f.person("fred"), f.person("wilma")
	count := func(s sender, method, path string, body any) (answered int, last answer) {
		for {
			if last = s.send(t, method, path, body); last.status == 429 || answered > 200 {
				return answered, last
			}
			answered++
		}
	}
	n, last := count(fred, "GET", base+"/me", nil)
	if denied(t, last, 429, ""); n != 50 || last.header.Get("Retry-After") != "1" {
		t.Errorf("%d at once, then wait %s", n, last.header.Get("Retry-After"))
	}
	if got := wilma.send(t, "GET", base+"/me", nil); got.status != 200 {
		t.Errorf("somebody else: %d", got.status)
	}
	// By another credential, and under another spelling, it is the same caller.
	if got := f.session(t, "fred").send(t, "GET", base+"/me", nil); got.status != 429 {
		t.Errorf("by the session: %d", got.status)
	}
	f.pass(time.Second)
	if n, _ := count(fred, "GET", base+"/me", nil); n != 10 {
		t.Errorf("%d in a second", n)
	}

	// What costs more is bounded more.
	f.pass(time.Minute)
	n, last = count(wilma, "POST", base+"/", `{}`) // refused, after it was counted
	if denied(t, last, 429, ""); n != 20 {
		t.Errorf("%d creations at once", n)
	}
	f.pass(2 * time.Second)
	if n, _ := count(wilma, "POST", base+"/000000000000/rotate", `{}`); n != 2 {
		t.Errorf("%d rotations in two seconds", n)
	}
	if got := wilma.send(t, "GET", base+"/me", nil); got.status != 200 {
		t.Errorf("something else: %d", got.status)
	}
	f.pass(time.Minute)
	for _, path := range []string{"/all", "/tokens?format=csv", "/audit?format=csv", "/passwords"} {
		f.pass(time.Minute)
		if n, _ := count(f.person("barney"), "GET", base+path, nil); n != 20 {
			t.Errorf("%d of %s at once", n, path)
		}
	}

	// Whoever may open the admin socket may ask as often as they like.
	for range 100 {
		if got := f.send(t, "GET", base+"/me", nil); got.status != 200 {
			t.Fatalf("%d on the admin socket", got.status)
		}
	}
}

// Of those who have no name yet the log shows some.
func TestLogOfStrangers(t *testing.T) {
	f := newFixture(t)
	for range 300 {
		f.as("Bearer tgadm_"+strings.Repeat("0", 61)).send(t, "GET", base+"/me", nil)
	}
	shown := 0
	for _, line := range f.logs.FilterMessage("management request refused").All() {
		if line.Level >= 0 {
			shown++
		}
	}
	if shown != 50 {
		t.Errorf("%d lines are shown", shown)
	}
}

// However many callers there are, no more than so many are remembered.
func TestManyCallers(t *testing.T) {
	f := newFixture(t)
	o := f.options
	var next atomic.Int64
	o.Identify = func(context.Context, directory.Credential) (directory.User, error) {
		name := fmt.Sprintf("user%d", next.Add(1))
		return directory.User{Name: name, Active: true, Groups: directory.Groups{Known: true}}, nil
	}
	api := web.New(o)
	f.http = serve(t, api, nil)
	for range 1000 {
		f.person("x").send(t, "GET", base+"/", nil)
	}
	if n := web.Remembered(api); n != 1000 {
		t.Errorf("%d callers are remembered", n)
	}
	web.Remember(api, 20_000)
	if n := web.Remembered(api); n != 10_000 {
		t.Errorf("of very many %d callers are remembered", n)
	}
	f.pass(time.Minute)
	web.Remember(api, 1)
	if n := web.Remembered(api); n != 1 {
		t.Errorf("%d callers are remembered who have asked for nothing in a minute", n)
	}
}
