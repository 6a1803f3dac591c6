package policy

import (
	"strings"

	"github.com/tokengate/tokengate/authz/config"
)

// IsManagement reports whether a decoded path without its context path is
// served by tokengate: see config.ManagementPaths.
func IsManagement(path string) bool {
	for _, m := range config.ManagementPaths {
		if rest, ok := strings.CutPrefix(path, m); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
