package policy

import (
	"strings"

	"github.com/tokengate/tokengate/authz/config"
)

// IsManagement reports whether a path without its context path and its query is
// one of config.ManagementPaths or below one. It compares bytes as Envoy's
// RouteMatch.path_separated_prefix does, so that for a raw path it says where
// Envoy routes it.
func IsManagement(path string) bool {
	for _, m := range config.ManagementPaths {
		if rest, ok := strings.CutPrefix(path, m); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
