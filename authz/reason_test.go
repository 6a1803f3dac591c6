package authz_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
)

// Words and statuses are what dashboards, scripts and clients rely on.
func TestReasonsAreStable(t *testing.T) {
	var got []string
	for _, r := range authz.Reasons() {
		got = append(got, fmt.Sprintf("%v %d %v %v", r, r.Status(), r.Proved(), r.Outcomes()))
		general := r == authz.BadCheck || !slices.Contains(r.Outcomes(), authz.Refused)
		if (r.Text() == authz.Reason(0).Text()) != general {
			t.Errorf("%v says %q", r, r.Text())
		}
	}
	want := []string{
		"bad_check 503 false [refused]",
		"no_credential 503 false [passed]",
		"malformed_credential 401 false [refused]",
		"password_blocked 403 false [refused]",
		"password 503 false [passed]",
		"foreign_bearer 401 false [passed refused]",
		"malformed_token 401 false [refused]",
		"unknown_token 401 false [refused]",
		"wrong_secret 401 false [refused]",
		"wrong_user 401 true [refused]",
		"expired 401 true [refused]",
		"disabled 401 true [refused]",
		"pending 401 true [refused]",
		"no_client_address 503 true [refused]",
		"directory_stale 503 true [refused]",
		"owner_inactive 401 true [refused]",
		"owner_not_permitted 403 true [refused]",
		"ambiguous_path 400 true [refused]",
		"network_denied 403 true [refused]",
		"network_not_allowed 403 true [refused]",
		"management 503 true [passed]",
		"wrong_token_type 403 true [refused]",
		"path_not_allowed 403 true [refused]",
		"session_kept 204 true [refused]",
		"endpoint_forbidden 403 true [refused]",
		"read_only 403 true [refused]",
		"rate_limited 429 true [refused]",
		"allowed 503 true [allowed]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	for _, r := range []authz.Reason{0, 255, authz.Reason(len(want) + 1)} {
		if got := fmt.Sprintf("%v %d %v %v", r, r.Status(), r.Proved(), r.Outcomes()); got != "undecided 503 false [refused]" || r.Text() == "" {
			t.Errorf("reason %d is %s", uint8(r), got)
		}
	}
}

// Clients look for their message in three places.
func TestDenialsAreInJirasShape(t *testing.T) {
	for want, got := range map[string][]byte{
		`{"errorMessages":["a \"b\""],"errors":{},"message":"a \"b\""}`:                    authz.Denial(`a "b"`),
		`{"errorMessages":["too long"],"errors":{"name":"too long"},"message":"too long"}`: authz.FieldDenial("name", "too long"),
	} {
		if string(got) != want || !json.Valid(got) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// What a log repeats of a path holds neither its query nor any secret.
func TestPathForLog(t *testing.T) {
	w := newWorld(t)
	id := w.values["fred"].ID().String()
	for path, want := range map[string]string{
		"":                           "",
		"/rest/x?os_password=a?b":    "/rest/x",
		"/rest/a%20b%2Fc;d":          "/rest/a%20b%2Fc;d",
		"/rest/{fred}/x?a":           "/rest/tgate_" + id + "…/x",
		"/a%20b/tgate%5f{fred tail}": "/a b/tgate_" + id + "…",
		"/rest/{management}":         "/rest/" + w.values["management"].String(),
	} {
		r := authz.Request{Path: w.fill(path)}
		if got := r.PathForLog(); got != want {
			t.Errorf("%s is logged otherwise than %s", path, want)
		}
	}
}
