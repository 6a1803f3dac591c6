//go:build !long

package envoy_test

import "github.com/tokengate/tokengate/authz/config"

// bypassRequests is how many generated requests each configuration gets after the corpus.
const bypassRequests = 300

var bypassConfigurations = []bypassConfiguration{
	{config.PasswordsAllow, "", ""},
	{config.PasswordsObserve, "access_token", "/jira"},
	{config.PasswordsBlock, "access_token", ""},
}
