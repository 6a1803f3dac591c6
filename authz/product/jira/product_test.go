package jira_test

import (
	"testing"

	"github.com/tokengate/tokengate/authz/product/jira"
)

func TestCanonical(t *testing.T) {
	for path, want := range map[string]string{
		"/rest":                       "/rest",
		"/rest/":                      "/rest/",
		"/rest/api":                   "/rest/api",
		"/rest/api/latest":            "/rest/api/2",
		"/rest/api/latest/myself":     "/rest/api/2/myself",
		"/rest/api/2.0/myself.json":   "/rest/api/2/myself",
		"/rest/api/2/myself//":        "/rest/api/2/myself",
		"/rest/auth/latest/session":   "/rest/auth/latest/session",
		"/rest/auth/1.0/session.xml":  "/rest/auth/1/session",
		"/rest/x/1.0.json":            "/rest/x/1",
		"/rest/api/2/.json":           "/rest/api/2",
		"/rest/api/2/myself/.json":    "/rest/api/2/myself",
		"/rest/api/2/myself//.xml/":   "/rest/api/2/myself",
		"/rest/.json":                 "/rest/.json",
		"/rest/api/2.0.alpha1/myself": "/rest/api/2/myself",
		"/rest/api/x.alpha/y":         "/rest/api/x.alpha/y",
		"/rest/api/2/a.json/b":        "/rest/api/2/a.json/b",
		"/rest/api/2/issue/A-1.b.txt": "/rest/api/2/issue/A-1.b",
		"/secure/x.json/":             "/secure/x.json/",
		"":                            "",
	} {
		if got := jira.Product.CanonicalPath(new([]byte), path); got != want {
			t.Errorf("CanonicalPath(%s) = %s, want %s", path, got, want)
		}
	}
}
