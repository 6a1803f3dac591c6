package main

import (
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/web"
)

func TestPages(t *testing.T) {
	t.Chdir(t.TempDir())
	r := &report{}
	if err := attempt(func() { measurePages(t.Context(), scale{tokens: 3000, rounds: 1}, r) }); err != nil {
		t.Fatal(err)
	}
	for i, group := range pageGroups {
		if n := len(r.sections[i].lines); n != len(group.paths) {
			t.Errorf("%s: %d requests were measured", group.name, n)
		}
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
	for path, status := range map[string]string{config.PagePath + "/tokens": "403", web.Bases[0] + "/tokens?user=" + ownerOf(0): "403", config.PagePath + "/unknown": "404"} {
		if _, _, err := s.get(ownerCookie, path); err == nil || !strings.Contains(err.Error(), status) {
			t.Errorf("an owner's GET %s: %v, want %s", path, err, status)
		}
	}
}
