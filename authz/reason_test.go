package authz_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
)

// Dashboards, scripts and clients rely on words and statuses.
func TestReasonsAreStable(t *testing.T) {
	var got []string
	for _, r := range authz.Reasons() {
		got = append(got, fmt.Sprintf("%v %d %v %v", r, r.Status(), r.SecretVerified(), r.Outcomes()))
		general := r == authz.BadCheck || !slices.Contains(r.Outcomes(), authz.Denied)
		if (r.Text() == authz.Reason(0).Text()) != general {
			t.Errorf("%v says %q", r, r.Text())
		}
	}
	want := []string{
		"bad_check 503 false [denied]",
		"no_credential 503 false [pass_through]",
		"malformed_credential 401 false [denied]",
		"password_blocked 403 false [denied]",
		"password 503 false [pass_through]",
		"other_bearer 401 false [pass_through denied]",
		"malformed_token 401 false [denied]",
		"index_stale 503 false [denied]",
		"unknown_token 401 false [denied]",
		"wrong_secret 401 false [denied]",
		"wrong_user 401 true [denied]",
		"expired 401 true [denied]",
		"disabled 401 true [denied]",
		"pending 401 true [denied]",
		"no_client_address 503 true [denied]",
		"directory_stale 503 true [denied]",
		"owner_inactive 401 true [denied]",
		"owner_not_permitted 403 true [denied]",
		"no_upstream_credential 403 true [denied]",
		"upstream_credential_broken 503 true [denied]",
		"ambiguous_path 400 true [denied]",
		"network_denied 403 true [denied]",
		"network_not_allowed 403 true [denied]",
		"management_path 503 true [pass_through]",
		"wrong_token_type 403 true [denied]",
		"path_not_allowed 403 true [denied]",
		"session_kept 204 true [denied]",
		"endpoint_forbidden 403 true [denied]",
		"read_only 403 true [denied]",
		"rate_limited 429 true [denied]",
		"allowed 503 true [allowed]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	for _, r := range []authz.Reason{0, 255, authz.Reason(len(want) + 1)} {
		if got := fmt.Sprintf("%v %d %v %v", r, r.Status(), r.SecretVerified(), r.Outcomes()); got != "undecided 503 false [denied]" || r.Text() == "" {
			t.Errorf("reason %d is %s", uint8(r), got)
		}
	}
}

// Clients read the message from three different fields.
func TestDenialBody(t *testing.T) {
	for want, got := range map[string][]byte{
		`{"errorMessages":["a \"b\""],"errors":{},"message":"a \"b\""}`:                    authz.Denial(`a "b"`),
		`{"errorMessages":["too long"],"errors":{"name":"too long"},"message":"too long"}`: authz.FieldDenial("name", "too long"),
	} {
		if string(got) != want || !json.Valid(got) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A logged path contains neither the query nor secrets.
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
			t.Errorf("%s is not logged as %s", path, want)
		}
	}
}
