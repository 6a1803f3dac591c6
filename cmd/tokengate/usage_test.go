package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web"
)

// show returns the answer of token show.
func (r *rig) show(v token.Value) web.Token {
	r.t.Helper()
	out, _ := r.run("token", "show", v.ID().String(), "--output", "json")
	var shown web.Token
	if err := json.Unmarshal([]byte(out), &shown); err != nil {
		r.t.Fatal(err)
	}
	return shown
}

// token show reports the use of a token by real requests. A shutdown loses none of it.
func TestUseIsCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	value := r.mint("counted")
	began := time.Now().Truncate(time.Second)
	r.send(request{auth: bearer(value)})
	r.send(request{auth: bearer(value), method: "PUT", path: "/rest/api/2/issue/DEMO-1", body: strings.NewReader(`{"fields":{}}`), from: "10.9.9.9"})
	r.send(request{auth: bearer(value), path: "/secure/x"})
	got := r.show(value)
	if got.UsageCount != 2 || got.WriteCount != 1 || got.LastAddress == nil || *got.LastAddress != "10.9.9.9" {
		t.Errorf("token show: %+v", got)
	}
	if got.LastAccessed == nil || *got.LastAccessed < began.UnixMilli() || *got.LastAccessed > time.Now().UnixMilli() {
		t.Errorf("token show: last accessed %v", got.LastAccessed)
	}
	if err := r.gate.stop(); err != nil {
		t.Error(err)
	}
	r.startGate()
	if diff := cmp.Diff(got, r.show(value)); diff != "" {
		t.Errorf("token show after a restart (-before +after):\n%s", diff)
	}
}

// A crash loses only the uses since the last flush.
func TestUseSurvivesACrash(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	value := r.mint("crash")
	const flushEvery, flushOver = 2500 * time.Millisecond, 2 * time.Second // as the documentation promises
	const flush = time.Second                                              // what a flush may take on a busy machine
	var uses []time.Time
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for len(uses) == 0 || time.Since(uses[0]) < flushEvery+flushOver+2*flush {
		<-every.C
		if got := r.send(request{auth: bearer(value)}); got.status != 200 {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
		uses = append(uses, time.Now())
	}
	killed := time.Now()
	r.gate.signal(os.Kill)
	<-r.gate.done
	r.startGate()
	least := 0
	for _, at := range uses {
		if killed.Sub(at) > flushEvery+flushOver+flush {
			least++
		}
	}
	got := int(r.show(value).UsageCount)
	t.Logf("%d uses, %d of them older than a flush; %d kept", len(uses), least, got)
	if got < least || got > len(uses) || least == 0 {
		t.Errorf("%d uses kept, want %d to %d", got, least, len(uses))
	}
}
