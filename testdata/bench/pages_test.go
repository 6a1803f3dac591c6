package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/manage/web"
)

func TestPages(t *testing.T) {
	t.Chdir(t.TempDir())
	r := &report{}
	if err := measurePages(t.Context(), scale{tokens: 3000, rounds: 1}, r); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, line := range r.sections[0].lines {
		found[line[0]] = line[2]
	}
	for query, want := range map[string]string{"none": "3,000", "user=user00042": "1", "name=Report": "3,000", "name=2424": "1", "state=active": "2,991"} {
		if found[query] != want {
			t.Errorf("%s finds %q tokens, want %s", query, found[query], want)
		}
	}
	if n := len(r.sections[1].lines); n != len(ownerPages)+len(adminPages) {
		t.Errorf("%d pages were measured", n)
	}
	if len(r.targets) != 5 {
		t.Errorf("targets %v", r.targets)
	}
}

func TestPagesThatFail(t *testing.T) {
	t.Chdir(t.TempDir())
	s, err := newSite(t.Context(), 300)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, _, err := s.visit(ownerCookie, "/tokens"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("an owner opens the list of all tokens: %v", err)
	}
	var page web.TokenPage
	answer, took := s.query("state=nonsense")
	if err := readPage("", answer, &page); err == nil || took > time.Minute {
		t.Error("an invalid query has an answer")
	}
	s.admin = t.Context()
	if answer, _ = s.query(""); readPage("", answer, &page) == nil {
		t.Error("a client that is not identified gets a page")
	}
}
