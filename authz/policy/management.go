package policy

import "strings"

// ManagementPaths are the paths, below the context path, that tokengate serves
// itself: each of them, and all below it. Envoy's routes and the decision are
// made from this one list.
var ManagementPaths = []string{"/rest/api-tokens", "/plugins/servlet/api-tokens"}

// IsManagement reports whether a decoded path without its context path is
// served by tokengate.
func IsManagement(path string) bool {
	for _, m := range ManagementPaths {
		if rest, ok := strings.CutPrefix(path, m); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
