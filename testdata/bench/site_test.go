package main

import (
	"strings"
	"testing"
)

func TestSite(t *testing.T) {
	l := testLister(t)
	r := report{}
	if err := l.measureSite(t.Context(), 1, l.id, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Sections) != 1 || len(r.Sections[0].Lines) != 16 || len(r.Marks) != 3 {
		t.Errorf("%+v", r)
	}
	v := newVisitor(l)
	if _, _, err := v.visit(ownerCookie, "/tokens"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("an owner opens the list of all tokens: %v", err)
	}
}
