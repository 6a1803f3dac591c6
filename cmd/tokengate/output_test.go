package main

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/web"
)

// A listing asks for no more than its limit, and stops there.
func TestListLimit(t *testing.T) {
	for _, c := range []struct {
		flags  []string
		limits []string // that are asked for
		ids    []string
	}{
		{nil, []string{"1000", "1000"}, []string{"a", "b", "c", "d"}},
		{[]string{"--limit", "1500"}, []string{"1000", "1000"}, []string{"a", "b", "c", "d"}},
		{[]string{"--limit", "3"}, []string{"3", "1"}, []string{"a", "b", "c"}},
		{[]string{"--limit", "2"}, []string{"2"}, []string{"a", "b"}},
	} {
		var limits []string
		socket := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
			limit := r.URL.Query().Get("limit")
			limits = append(limits, limit)
			answer := `{"values":[{"id":"a"},{"id":"b"}],"next":"n"}`
			if r.URL.Query().Get("after") == "n" {
				answer = `{"values":[{"id":"c"},{"id":"d"}],"next":null}`
				if limit == "1" {
					answer = `{"values":[{"id":"c"}],"next":"m"}`
				}
			}
			io.WriteString(w, answer)
		})
		out, errs, code := command(t, socket, "", append([]string{"token", "list", "--output", "json"}, c.flags...)...)
		if code != 0 {
			t.Fatalf("exit %d: %s", code, errs)
		}
		var tokens []web.Token
		if err := json.Unmarshal([]byte(out), &tokens); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		var ids []string
		for _, token := range tokens {
			ids = append(ids, token.ID)
		}
		if diff := cmp.Diff(c.ids, ids); diff != "" {
			t.Errorf("%v: ids (-want +got):\n%s", c.flags, diff)
		}
		if diff := cmp.Diff(c.limits, limits); diff != "" {
			t.Errorf("%v: limits (-want +got):\n%s", c.flags, diff)
		}
	}
}

// CSV that is cut off on its way is a failure, however much of it came.
func TestCSVIsCut(t *testing.T) {
	socket := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("format") != "csv" || q.Has("limit") {
			t.Errorf("asked for %s", r.URL)
		}
		io.WriteString(w, "id,label\na,one\n")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	out, errs, code := command(t, socket, "", "token", "list", "--output", "csv")
	if code != 1 || out != "id,label\na,one\n" || !strings.Contains(errs, "read the server's answer") {
		t.Errorf("exit %d, output %q, error %q", code, out, errs)
	}
}

// Who uses passwords, and what was refused, shows as a table and as CSV, whose
// cells no spreadsheet runs.
func TestReports(t *testing.T) {
	address := "192.0.2.7"
	passwords := web.PasswordUsers{Users: []web.PasswordUser{{User: "fred", Requests: 6, Uses: []web.PasswordUse{
		{Client: "=cmd|'/c x'", Address: &address, FirstSeen: 0, LastSeen: 1000, Passed: 3, WouldBlock: 2, Blocked: 1},
		{Client: "a;=cmd()", FirstSeen: 0, LastSeen: 0, Blocked: 2},
	}}}}
	totals := web.Totals{Days: []web.DayTotals{{
		Date: "2030-01-31", Allowed: 10, Passwords: 2, Unknown: 1, Refused: map[string]uint64{"wrong_secret": 3, "expired": 4},
	}}}
	for _, c := range []struct {
		name   string
		answer any
		table  []string // of its last rows, the fields
		csv    [][]string
	}{
		{"passwords", passwords,
			[]string{"fred 192.0.2.7 1970-01-01T00:00:00Z 1970-01-01T00:00:01Z 3 2 1 =cmd|'/c x'", "fred - 1970-01-01T00:00:00Z 1970-01-01T00:00:00Z 0 0 2 a;=cmd()"},
			[][]string{
				{"user", "address", "firstSeen", "lastSeen", "passed", "wouldBlock", "blocked", "client"},
				{"fred", "192.0.2.7", "1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z", "3", "2", "1", "'=cmd|'/c x'"},
				{"fred", "", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "0", "0", "2", "a;'=cmd()"},
			}},
		{"totals", totals,
			[]string{"2030-01-31 10 2 1 7 expired 4, wrong_secret 3"},
			[][]string{
				{"date", "allowed", "passwords", "unknownPasswords", "refused", "reasons"},
				{"2030-01-31", "10", "2", "1", "7", "expired 4, wrong_secret 3"},
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			socket := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != web.Bases[0]+"/"+c.name {
					t.Errorf("asked for %s", r.URL)
				}
				json.NewEncoder(w).Encode(c.answer)
			})
			out, errs, code := command(t, socket, "", c.name)
			if code != 0 {
				t.Fatalf("exit %d: %s", code, errs)
			}
			var rows []string
			for line := range strings.Lines(out) {
				rows = append(rows, strings.Join(strings.Fields(line), " "))
			}
			if diff := cmp.Diff(c.table, rows[1:]); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
			out, _, _ = command(t, socket, "", c.name, "--output", "csv")
			records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
			if diff := cmp.Diff(c.csv, records); diff != "" || err != nil {
				t.Errorf("%v; CSV (-want +got):\n%s", err, diff)
			}
			out, _, _ = command(t, socket, "", c.name, "--output", "json")
			want, _ := json.MarshalIndent(c.answer, "", "  ")
			if diff := cmp.Diff(string(want)+"\n", out); diff != "" {
				t.Errorf("JSON (-want +got):\n%s", diff)
			}
		})
	}
}

// A setting is printed as the server sends it.
func TestRules(t *testing.T) {
	socket := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"settings":[{"key":"a","value":"365d"},{"key":"b","value":1000000},{"key":"c","value":false},{"key":"d","value":["x","y"]},{"key":"e","value":[]}]}`)
	})
	out, errs, code := command(t, socket, "", "settings")
	want := "KEY  VALUE\na    365d\nb    1000000\nc    false\nd    [\"x\",\"y\"]\ne    []\n"
	if code != 0 || out != want {
		t.Errorf("exit %d: %s; printed\n%s\nwant\n%s", code, errs, out, want)
	}
}

// Each of several tokens is asked for at its own path.
func TestEachToken(t *testing.T) {
	for name, want := range map[string]string{
		"approve": "POST /7/approve", "disable": "POST /7/disable", "enable": "POST /7/enable", "revoke": "DELETE /7",
	} {
		var asked []string
		socket := fakeServer(t, func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.Method+" "+strings.TrimPrefix(r.URL.Path, web.Bases[0]))
			w.WriteHeader(http.StatusNoContent)
		})
		out, errs, code := command(t, socket, "", "token", name, "7", "0123456789AB")
		if code != 0 || out != "" || !strings.HasSuffix(errs, " token 7.\n"+strings.Fields(errs)[0]+" token 0123456789AB.\n") {
			t.Errorf("%s: exit %d, output %q, error %q", name, code, out, errs)
		}
		if other := strings.Replace(want, "/7", "/0123456789AB", 1); !slices.Equal(asked, []string{want, other}) {
			t.Errorf("%s asked for %q, want %q", name, asked, []string{want, other})
		}
	}
}

// A server that is gone is not asked for the other tokens.
func TestEachTokenServerGone(t *testing.T) {
	var asked atomic.Int32
	socket := fakeServer(t, func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	})
	_, errs, code := command(t, socket, "", "token", "disable", "7", "8", "9")
	if code != 1 || asked.Load() != 1 || !strings.Contains(errs, "token 7 and those after it: ") {
		t.Errorf("exit %d after %d requests: %s", code, asked.Load(), errs)
	}
}
