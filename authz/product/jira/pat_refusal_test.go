package jira_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// Jira's maximum is found in a refusal in any language.
func TestMaximumInRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"The maximum is 30 days.":          "100 30",
		"Höchstens 30 Tage":                "100 30",
		"30":                               "100 30",
		"Maximum: 1,000 days":              "100 1", // 100 are fewer
		"Maximum: 1.000 Tage":              "100 1",
		"no number":                        "100 1",
		"100 days":                         "100 1",
		"0 days":                           "100 1",
		"99999999999999999999999999999999": "100 1",
	} {
		var asked []string
		c := connect(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			var days int
			body := make([]byte, 1000)
			n, _ := req.Body.Read(body)
			if _, err := fmt.Sscanf(string(body[:n]), `{"expirationDuration":%d`, &days); err != nil {
				t.Error(err)
			}
			asked = append(asked, fmt.Sprint(days))
			send(w, 400, object{"exception": "java.lang.IllegalArgumentException", "error": text})
		}))
		_, err := jira.Product.Credentials(c).Mint(t.Context(), http.Header{}, "a", 100*day)
		if got := strings.Join(asked[:2], " "); got != want || err == nil {
			t.Errorf("%s: asked for %s, want %s", text, got, want)
		}
	}
}

// Each refusal of Jira has its error, which says what to do and nothing secret.
func TestRefusals(t *testing.T) {
	off := func(r *patRig) { r.SetPATs(jiratest.PATSettings{Off: true}) }
	mint := func(ctx context.Context, r *patRig) error {
		_, err := r.client.Mint(ctx, r.fred, "a", 90*day)
		return err
	}
	mintAs := func(h http.Header) func(context.Context, *patRig) error {
		return func(ctx context.Context, r *patRig) error {
			_, err := r.client.Mint(ctx, h, "a", 90*day)
			return err
		}
	}
	list := func(ctx context.Context, r *patRig) error {
		_, err := r.client.List(ctx, r.fred)
		return err
	}
	remove := func(ctx context.Context, r *patRig) error { return r.client.Delete(ctx, r.fred, "1") }
	fault := func(f jiratest.Fault) func(*patRig) { return func(r *patRig) { r.Fail("/rest/pat/", f) } }
	version := func(v string) func(*jiratest.Options) {
		return func(o *jiratest.Options) { o.Version = v }
	}
	none := func(*patRig) {}
	for name, tt := range map[string]struct {
		options func(*jiratest.Options)
		before  func(*patRig)
		call    func(context.Context, *patRig) error
		want    error
		says    string
	}{
		"PATs off":         {nil, off, mint, product.ErrCredentialsOff, "ask an administrator"},
		"PATs off, listed": {nil, off, list, nil, ""}, // Jira does not check it
		"PATs off, asked for too long": {nil, func(r *patRig) { r.SetPATs(jiratest.PATSettings{Off: true, MaxDays: 30}) }, mint,
			product.ErrCredentialsOff, "ask an administrator"},
		"no PATs yet":        {version("8.13"), none, mint, product.ErrCredentialsOff, "8.14"},
		"no PATs yet, list":  {version("8.13"), none, list, product.ErrCredentialsOff, "8.14"},
		"the limit":          {nil, func(r *patRig) { r.SetPATs(jiratest.PATSettings{MaxPerUser: -1}) }, mint, product.ErrCredentialLimit, "delete one in your profile"},
		"a long name":        {nil, func(r *patRig) { r.SetPATs(jiratest.PATSettings{MaxName: -1}) }, mint, product.ErrCredentialRefused, "atlassian.pats.token.name.length"},
		"no lifetime fits":   {nil, func(r *patRig) { r.SetPATs(jiratest.PATSettings{MaxDays: -1}) }, mint, product.ErrCredentialRefused, "atlassian.pats.max.tokens.expiry.days"},
		"license":            {nil, func(r *patRig) { r.SetPATs(jiratest.PATSettings{NoLicense: true}) }, mint, product.ErrLicense, "license of Jira"},
		"logged out":         {nil, func(r *patRig) { r.fred = http.Header{"Cookie": {"JSESSIONID=x"}} }, mint, directory.ErrNotLoggedIn, "log in"},
		"logged out, list":   {nil, func(r *patRig) { r.fred = http.Header{} }, list, directory.ErrNotLoggedIn, "log in"},
		"logged out, delete": {nil, func(r *patRig) { r.fred = http.Header{} }, remove, directory.ErrNotLoggedIn, "log in"},
		"deactivated": {nil, func(r *patRig) {
			if err := r.Deactivate("fred"); err != nil {
				panic(err)
			}
		}, mint, directory.ErrNotLoggedIn, "log in"},
		"wrong password": {nil, none, mintAs(password("fred", "x")), directory.ErrNotLoggedIn, "log in"},
		"Jira 11":        {version("11.3.12"), none, mintAs(password("fred", "yabba")), directory.ErrBasicRefused, "browser"},
		"a PAT that may not": {nil, func(r *patRig) {
			made, err := r.client.Mint(context.Background(), r.fred, "a", day)
			if err != nil {
				panic(err)
			}
			r.fred = made.Value.Bearer()
			r.SetPATs(jiratest.PATSettings{NoRenewal: true})
		}, mint, product.ErrNotAllowed, "of an administrator"},
		"another's": {nil, func(r *patRig) {
			r.Put(jiratest.User{Name: "admin", Active: true, PATs: []string{"x"}})
		}, remove, product.ErrNotAllowed, "of an administrator"},
		"status 502":    {nil, fault(jiratest.Status(502)), mint, directory.ErrUnavailable, "POST /rest/pat/latest/tokens: status 502"},
		"status 403":    {nil, fault(jiratest.Status(403)), mint, directory.ErrUnavailable, "status 403"},
		"status 404":    {nil, fault(jiratest.Status(404)), list, directory.ErrUnavailable, "GET /rest/pat/latest/tokens: status 404"},
		"status 400":    {nil, fault(jiratest.Status(400)), mint, directory.ErrUnavailable, "status 400"},
		"a login page":  {nil, fault(jiratest.LoginPage()), mint, directory.ErrUnavailable, "not JSON"},
		"login, delete": {nil, fault(jiratest.LoginPage()), remove, directory.ErrUnavailable, "DELETE /rest/pat/latest/tokens/1"},
		"nonsense":      {nil, fault(jiratest.Nonsense()), list, directory.ErrUnavailable, "unexpected"},
		"truncated":     {nil, fault(jiratest.Truncated()), list, directory.ErrUnavailable, "EOF"},
		"endless":       {nil, fault(jiratest.Endless()), list, directory.ErrUnavailable, "longer than 262144 bytes"},
		"lost":          {nil, fault(jiratest.LoseAnswer()), mint, directory.ErrUnavailable, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newPATRig(t, tt.options)
			tt.before(r)
			err := tt.call(t.Context(), r)
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v; want %v with %q", err, tt.want, tt.says)
			}
			for _, values := range r.fred {
				if err != nil && strings.Contains(err.Error(), values[0]) {
					t.Error("the error contains the credential")
				}
			}
		})
	}
}

// Answers that the fake Jira does not give.
func TestStrangeAnswers(t *testing.T) {
	const value = "NDI0MjQyNDI0MjQyOlwaLGtqY3ZwZnV1cHZ3b3Z4eA=="
	ends := "2027-02-26T10:11:12.345+00:00"
	good := object{"id": 8, "name": "a", "createdAt": "2026-11-28T10:11:12.345+00:00", "expiringAt": ends, "rawToken": value}
	with := func(name string, v any) object {
		o := maps.Clone(good)
		o[name] = v
		return o
	}
	for name, tt := range map[string]struct {
		status int
		body   any
		header string // X-AUSERNAME
		want   error
		id     string
	}{
		"good":              {201, good, "fred", nil, "8"},
		"another status":    {200, good, "fred", directory.ErrUnavailable, ""},
		"no id":             {201, with("id", nil), "fred", directory.ErrUnavailable, ""},
		"a bad id":          {201, with("id", -1), "fred", directory.ErrUnavailable, ""},
		"no end":            {201, with("expiringAt", nil), "fred", directory.ErrUnavailable, ""},
		"no value":          {201, with("rawToken", nil), "fred", directory.ErrUnavailable, "8"},
		"a value of two":    {201, with("rawToken", value+" "+value), "fred", directory.ErrUnavailable, "8"},
		"a value in lines":  {201, with("rawToken", value+"\r\nX: y"), "fred", directory.ErrUnavailable, "8"},
		"a huge value":      {201, with("rawToken", strings.Repeat(value, 100)), "fred", directory.ErrUnavailable, "8"},
		"a list":            {201, []object{good}, "fred", directory.ErrUnavailable, ""},
		"XSRF":              {403, "XSRF check failed", "fred", product.ErrCrossSite, ""},
		"another limit":     {403, object{"exception": "com.atlassian.other.UserTokenLimitExceededException", "error": "x"}, "fred", product.ErrCredentialLimit, ""},
		"another refusal":   {403, object{"exception": "x.Y", "error": value}, "fred", product.ErrNotAllowed, ""},
		"of nobody":         {403, object{"exception": "x.Y", "error": value}, "anonymous", directory.ErrUnavailable, ""},
		"401 as anonymous":  {401, object{}, "anonymous", directory.ErrNotLoggedIn, ""},
		"401 without user":  {401, object{}, "", directory.ErrNotLoggedIn, ""},
		"401 as a user":     {401, object{}, "fred", product.ErrNotAllowed, ""},
		"an internal error": {500, object{"error": value}, "fred", directory.ErrUnavailable, ""},
	} {
		c := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-AUSERNAME", tt.header)
			send(w, tt.status, tt.body)
		}))
		made, err := jira.Product.Credentials(c).Mint(t.Context(), http.Header{}, "a", day)
		if !errors.Is(err, tt.want) || made.ID != tt.id || (made.Value.Reveal() == value) != (err == nil) {
			t.Errorf("%s: %v, %v; want %v and id %q", name, made, err, tt.want, tt.id)
		}
		if err != nil && strings.Contains(err.Error(), value) {
			t.Errorf("%s: the error contains the value", name)
		}
	}
}
