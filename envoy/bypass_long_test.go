//go:build long

package envoy_test

import "github.com/tokengate/tokengate/authz/config"

// bypassRequests is how many generated requests each configuration gets after the corpus: 100,800
// together.
const bypassRequests = 8_400

var bypassConfigurations = func() (all []bypassConfiguration) {
	for _, mode := range []config.PasswordMode{config.PasswordsAllow, config.PasswordsObserve, config.PasswordsBlock} {
		for _, parameter := range []string{"", "access_token"} {
			for _, contextPath := range []string{"", "/jira"} {
				all = append(all, bypassConfiguration{mode, parameter, contextPath})
			}
		}
	}
	return all
}()
