package web

import (
	_ "embed"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/goccy/go-yaml"
)

// The description of the API, which is written by hand. Tests hold it against the
// endpoints, their types, and every answer that they get.
//
//go:embed openapi.yaml
var openAPIPaths []byte

//go:embed openapi-components.yaml
var openAPIComponents []byte

// openAPIJSON is the description as it is served.
var openAPIJSON = sync.OnceValues(func() ([]byte, error) {
	body, err := yaml.YAMLToJSON(slices.Concat(openAPIPaths, openAPIComponents))
	if err != nil {
		return nil, fmt.Errorf("read the description of the API: %w", err)
	}
	return body, nil
})

// describeAPI answers with the description.
func describeAPI() endpoint {
	return newReplyEndpoint[empty, empty](http.MethodGet, "openapi.json", func(call[empty]) (reply, error) {
		body, err := openAPIJSON()
		return reply{status: http.StatusOK, body: body}, err
	})
}
