package web

import (
	"fmt"
	"net/http"
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
func Remembered(h http.Handler) int { return h.(*mux).api.limits.budgets[requests].Len() }

// Remember makes requests of many callers.
func Remember(h http.Handler, callers int) {
	for n := range callers {
		h.(*mux).api.limits.take(fmt.Sprint("caller ", n, " of ", callers), requests)
	}
}
