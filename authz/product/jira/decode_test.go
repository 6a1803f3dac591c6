package jira

import (
	"net/http"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/store"
)

// FuzzAnswers decodes arbitrary data as each of Jira's responses: nothing
// panics, and no user with an unusable name comes out.
func FuzzAnswers(f *testing.F) {
	user := `{"key":"K1","name":"fred","displayName":"F","active":true,"deleted":false,"groups":{"size":1,"items":[{"name":"g"}]}}`
	for _, body := range []string{
		"", "null", "{}", "[]", `""`, user, "[" + user + "]", "[null]", `{"name":null}`, `{"active":true}`, `[{"active":true}]`,
		`{"isLast":true,"total":1,"values":[` + user + `]}`, `{"values":[{"key":"K1","active":true}]}`,
		`{"isLast":false,"nextCursor":"1","values":[` + user + `]}`, `{"nextCursor":12,"values":[]}`, `{"nextCursor":{},"values":[null]}`,
		`{"errorMessages":["no"]}`, `{"message":"Basic Authentication has been disabled on this instance."}`, `{"groups":{"size":-1}}`,
	} {
		f.Add(200, "application/json", "OK", []byte(body))
		f.Add(404, "application/json;charset=UTF-8", "", []byte(body))
	}
	f.Add(403, "text/html", "AUTHENTICATION_DENIED", []byte("<html>"))
	asked := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, kind, reason string, body []byte) {
		r := response{status: status, header: http.Header{"Content-Type": {kind}, "X-Seraph-Loginreason": {reason}}, body: body}
		check := func(u directory.User) {
			if err := store.ValidOwnerName(u.Name); err != nil {
				t.Errorf("user %+v: %v", u, err)
			}
		}
		a := &snapshotBuilder{builtAt: asked, users: map[string]directory.User{}, byName: map[string]directory.User{}, memberOf: map[string][]string{}, removed: map[string]time.Time{}}
		if members, err := decode(r, func(p memberPage) bool { return p.Values != nil }); err == nil {
			members.isLast(len(members.Values))
			a.addPage(members.Values)
		}
		if list, err := decode(r, func(p listPage) bool { return p.Values != nil }); err == nil {
			list.cursor()
			a.addPage(list.Values)
		}
		if found, err := decode(r, func([]apiUser) bool { return true }); err == nil {
			a.addPage(found)
		}
		if b, err := decode(r, isUser); err == nil {
			if u, ok := b.toUser(asked); ok {
				check(u)
			}
		}
		for _, u := range a.snapshot(directory.RefreshRequest{StaleAfter: time.Hour}).Contents().Users {
			check(u)
		}
		isNotFound(r)
		errorMessage(r)
		switch u, v, err := readCaller(r, asked); {
		case err == nil:
			check(u)
			if v != product.VerdictAccepted || !u.Active {
				t.Errorf("caller %+v, verdict %d", u, v)
			}
		case v == product.VerdictAccepted && status != http.StatusOK:
			t.Errorf("a password was accepted with status %d", status)
		}
	})
}

// TestActive checks which users of a response count as active: only those that
// Jira calls active and has not deleted. A caller without the field has logged in.
func TestActive(t *testing.T) {
	for fields, want := range map[string]struct{ inPage, user, caller bool }{
		`"active":true`:                    {true, true, true},
		`"active":true,"deleted":false`:    {true, true, true},
		`"active":false`:                   {true, false, false},
		`"active":true,"deleted":true`:     {true, false, false},
		`"active":false,"deleted":true`:    {true, false, false},
		`"displayName":"F"`:                {false, false, true},
		`"displayName":"F","deleted":true`: {false, false, false},
	} {
		r := response{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(`{"key":"K1","name":"fred",` + fields + `}`)}
		b, err := decode(r, isUser)
		if err != nil {
			t.Fatal(err)
		}
		user, ok := b.toUser(time.Time{})
		if caller := b.loggedInUser(time.Time{}); ok != want.inPage || user.Active != want.user || caller.Active != want.caller {
			t.Errorf("%s: in a page %v, active %v, as the caller %v; want %+v", fields, ok, user.Active, caller.Active, want)
		}
	}
}
