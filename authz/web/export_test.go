package web

import (
	"fmt"
	"net/http"
	"reflect"
)

// OpenAPI returns the served description of the API.
func OpenAPI() []byte {
	body, err := openAPIJSON()
	if err != nil {
		panic(err)
	}
	return body
}

// Remembered returns how many callers have a budget for requests.
func Remembered(h http.Handler) int {
	return reflect.ValueOf(&h.(*mux).api.limits.budgets[requests]).Elem().FieldByName("buckets").Len()
}

// Remember makes requests of many callers.
func Remember(h http.Handler, callers int) {
	for n := range callers {
		h.(*mux).api.limits.take(fmt.Sprint("caller ", n, " of ", callers), requests)
	}
}
