package authz_test

import (
	"testing"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
)

// A context path with a character that no client need escape is one that its
// escape could hide: there the escape is ambiguous, and nowhere else.
func TestEscapesOfTheContextPath(t *testing.T) {
	w := newWorld(t)
	escapes := map[string][]string{"-": {"%2d", "%2D"}, "_": {"%5f", "%5F"}, "~": {"%7e", "%7E"}}
	for c, own := range escapes {
		in := func(contextPath, path string) authz.Reason {
			return ruling{authorization: "Bearer {fred}", path: path, config: func(s *config.Config) { s.Upstream.ContextPath = contextPath }}.run(t, w).Reason
		}
		root := "/ji" + c + "ra"
		if got := in(root, root+"/rest/api/2/a"+c+"b"); got != authz.Allowed {
			t.Errorf("%s itself: %v", root, got)
		}
		for other, texts := range escapes {
			for _, escape := range texts {
				want := authz.Allowed
				if other == c {
					want = authz.AmbiguousPath
				}
				if got := in(root, root+"/rest/api/2/a"+escape); got != want {
					t.Errorf("%s below %s: %v", escape, root, got)
				}
				if got := in("/jira", "/jira/rest/api/2/a"+escape); got != authz.Allowed {
					t.Errorf("%s below /jira: %v", escape, got)
				}
				if got := in("", "/rest/api/2/a"+escape); got != authz.Allowed {
					t.Errorf("%s at the root: %v", escape, got)
				}
			}
		}
		for _, escape := range own {
			if got := in(root, "/ji"+escape+"ra/rest/api/2/myself"); got != authz.AmbiguousPath {
				t.Errorf("%s in %s: %v", escape, root, got)
			}
		}
	}
}
