package web

import (
	"fmt"
	"net/http"

	"github.com/tokengate/tokengate/authz/directory"
)

// OpenAPI returns the description of the API, as it is served.
func OpenAPI() []byte {
	body, err := openAPIJSON()
	if err != nil {
		panic(err)
	}
	return body
}

// Remembered returns of how many callers an API remembers the requests.
func Remembered(h http.Handler) int { return len(h.(*front).api.limits.known) }

// Remember makes requests of many callers.
func Remember(h http.Handler, callers int) {
	for n := range callers {
		h.(*front).api.limits.take(fmt.Sprint("caller ", n, " of ", callers), requests)
	}
}

// RememberedCredentials returns of how many credentials an API remembers that they
// were good.
func RememberedCredentials(h http.Handler) int { return len(h.(*front).api.strangers.good.until) }

// RememberCredentials makes many users be identified.
func RememberCredentials(h http.Handler, users int) {
	good := h.(*front).api.strangers.good
	for n := range users {
		name := fmt.Sprint("user ", n, " of ", users)
		good.put(name, good.hash(directory.Credential{Cookie: name}), h.(*front).api.limits.now())
	}
}
