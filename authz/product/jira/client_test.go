package jira_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/store"
)

func TestConnect(t *testing.T) {
	for base, good := range map[string]bool{
		"http://127.0.0.1:8080":         true,
		"https://jira.example.com/jira": true,
		"http://127.0.0.1:8080/":        true,
		"":                              false,
		"127.0.0.1:8080":                false,
		"ftp://jira":                    false,
		"http:///jira":                  false,
		"http://user:s3cret@jira":       false,
		"http://s3cret jira":            false,
		"http://jira?a=s3cret":          false,
		"http://jira#s3cret":            false,
	} {
		_, err := jira.Product.Connect(base, nil)
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v, want valid: %v", base, err, good)
		}
	}
}

// Redirects, cookies and failing connections need a real network.
func TestOverTheNetwork(t *testing.T) {
	var elsewhere, cookies int
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/jira/rest/api/2/myself", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "a=1" && r.Header.Get("Cookie") != "a=2" {
			cookies++
		}
		http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: "x"})
		if r.Header.Get("Cookie") == "a=1" {
			http.Redirect(w, r, other.URL, http.StatusFound)
			return
		}
		send(w, 200, account{"K1", "fred", true}.bean())
	})
	upstream := httptest.NewServer(jiratest.Watch(mux, nil))
	c, err := jira.Product.Connect(upstream.URL+"/jira/", nil)
	if err != nil {
		t.Fatal(err)
	}
	callers := identify.NewCallers(&jira.Product, c, &store.MemoryRecords{}, time.Now)
	ask := func(cookie string) error {
		_, _, err := callers.Identify(t.Context(), identify.Credential{Cookie: cookie})
		return err
	}
	if err := ask("a=1"); !errors.Is(err, directory.ErrUnavailable) || elsewhere != 0 {
		t.Errorf("redirect: %v, followed %d times", err, elsewhere)
	}
	if err := ask("a=2"); err != nil || cookies != 0 {
		t.Errorf("%v, %d requests with cookies from another response", err, cookies)
	}
	upstream.Close()
	// A request that was never sent is no failed login.
	for range 5 {
		_, _, err := callers.Identify(t.Context(), identify.Credential{Authorization: "Basic " + base64.StdEncoding.EncodeToString(fmt.Append(nil, "fred:", callers.Stats().Asked))})
		if !errors.Is(err, directory.ErrUnavailable) {
			t.Errorf("no listener: %v, want ErrUnavailable", err)
		}
	}
}

func TestUnusableAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer object
		header string
		want   error
	}{
		"inactive":      {object{"name": "fred", "key": "K1", "active": false}, "", directory.ErrInactive},
		"deleted":       {object{"name": "fred", "key": "K1", "active": true, "deleted": true}, "", directory.ErrInactive},
		"no name":       {object{"key": "K1", "active": true}, "", directory.ErrUnavailable},
		"bad name":      {object{"name": "a,b", "active": true}, "", directory.ErrUnusableName},
		"bad key":       {object{"name": "fred", "key": "a\nb", "active": true}, "", directory.ErrUnavailable},
		"anonymous":     {object{}, "anonymous", directory.ErrNotLoggedIn},
		"old Jira":      {object{"name": "fred", "key": "fred"}, "", nil},
		"no items":      {object{"name": "fred", "groups": object{"size": 0}}, "", nil},
		"other version": {object{"name": "fred", "groups": object{"size": 3, "items": []string{}}}, "", nil},
	} {
		in(t, func(t *testing.T) {
			client := connect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-AUSERNAME", tt.header)
				send(w, 200, tt.answer)
			}))
			u, _, err := client.Myself(t.Context(), http.Header{"Cookie": {"a=b"}}, time.Second, time.Now())
			if !errors.Is(err, tt.want) || u.Groups.Known {
				t.Errorf("%s: %+v, %v; want %v and no groups known", name, u, err, tt.want)
			}
			if (err == nil) != u.Active {
				t.Errorf("%s: active %v with %v", name, u.Active, err)
			}
		})
	}
}
