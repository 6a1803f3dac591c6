package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/manage/web"
)

// testLister returns an administrator of a small store.
func testLister(t *testing.T) *lister {
	t.Helper()
	t.Chdir(t.TempDir()) // where the store is made
	l, err := newLister(t.Context(), 3000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestListings(t *testing.T) {
	l := testLister(t)
	s := section{}
	slowest, err := l.measure(t.Context(), 1, &s)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for i, line := range s.Lines {
		found[line[0]] = line[2]
		if took := s.Figures[i].Median; took <= 0 || took > slowest.Median {
			t.Errorf("%s took %v ms, the slowest %v", line[0], took, slowest.Median)
		}
	}
	// A filter that selects nothing costs nothing.
	for name, want := range map[string]string{
		"none": "3,000", "user=user00042": "1", "name=Report": "3,000", "name=2424": "1", "scope=read": "150",
		"neverExpires=true": "300", "neverUsed=true": "2,000", "state=pending": "3", "state=expired": "3", "state=active": "2,991",
		"state=suspended": "0", "state=revoked": "0", "type=management": "0",
	} {
		if found[name] != want {
			t.Errorf("%s finds %q tokens, want %s", name, found[name], want)
		}
	}
	for name, n := range found {
		nobody := []string{"state=suspended", "state=revoked", "type=management"}
		if n == "0" && !slices.Contains(nobody, name) {
			t.Errorf("%s finds nothing", name)
		}
	}

	l.queries = append(l.queries, "state=nonsense")
	if _, err := l.measure(t.Context(), 1, &s); err == nil {
		t.Error("a listing that was refused was measured")
	}
}

// Every filter and every order that the API describes is among the listings.
func TestListingsAreComplete(t *testing.T) {
	l := testLister(t)
	asked := map[string][]string{}
	for _, q := range l.queries {
		values, err := url.ParseQuery(string(q))
		if err != nil {
			t.Fatal(err)
		}
		for name := range values {
			asked[name] = append(asked[name], values.Get(name))
		}
	}
	l.queries = nil
	description := l.get("/openapi.json")
	if description.Code != http.StatusOK {
		t.Fatal(description.Code)
	}
	var api struct {
		Paths map[string]struct {
			Get struct {
				Parameters []struct {
					Name   string
					Ref    string `json:"$ref"`
					Schema struct{ Enum []string }
				}
			}
		}
	}
	if err := json.Unmarshal(description.Body.Bytes(), &api); err != nil {
		t.Fatal(err)
	}
	parameters := api.Paths["/tokens"].Get.Parameters
	if len(parameters) < 20 {
		t.Fatalf("the API describes %d parameters", len(parameters))
	}
	for _, p := range parameters {
		if p.Name == "after" || p.Ref != "" { // a later page; or format: no page at all
			continue
		}
		if asked[p.Name] == nil {
			t.Errorf("no listing asks for %s", p.Name)
		}
		for _, value := range p.Schema.Enum {
			if !slices.Contains(asked[p.Name], value) {
				t.Errorf("no listing asks for %s=%s", p.Name, value)
			}
		}
	}
}

func TestDecideBesideLists(t *testing.T) {
	l := testLister(t)
	slice, err := l.decideBesideLists(t.Context(), 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if slice.p50 <= 0 || slice.others <= 0 {
		t.Errorf("%+v", slice)
	}
	l.queries = []listing{"state=nonsense"}
	if _, err := l.decideBesideLists(t.Context(), time.Millisecond); err == nil {
		t.Error("decisions were measured beside listings that were refused")
	}
}

// Who is not known to be at the other end of the socket is no administrator.
func TestListerIsAsked(t *testing.T) {
	l := testLister(t)
	l.admin = t.Context()
	var page web.TokenPage
	if err := l.read("", l.ask(""), &page); err == nil {
		t.Error("somebody unknown got a page")
	}
}
