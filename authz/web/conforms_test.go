package web_test

import (
	"encoding/csv"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tokengate/tokengate/authz/web"
)

// description is the description of the API.
type description struct {
	paths    map[string]any
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema // by JSON pointer
}

var described = sync.OnceValues(func() (*description, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(web.OpenAPI())))
	if err != nil {
		return nil, err
	}
	asSchema(doc, false)
	setting := doc.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)["Setting"].(map[string]any)
	// Generators know no such union, so the description says it in words.
	setting["properties"].(map[string]any)["value"] = map[string]any{
		"type": []any{"string", "integer", "boolean", "array"}, "items": map[string]any{"type": "string"}}
	d := &description{compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource("openapi.json", doc); err != nil {
		return nil, err
	}
	d.paths = doc.(map[string]any)["paths"].(map[string]any)
	return d, nil
})

// asSchema makes JSON Schema of the schemas of OpenAPI 3.0 in a part of the
// description: what is nullable may be null. It closes every object where it is
// used: clients must bear fields that they do not know, but today there are none.
// part says that the schema is a part of an allOf or of the definitions, where the
// fields of the other parts would look unknown.
func asSchema(v any, part bool) {
	switch v := v.(type) {
	case []any:
		for _, inner := range v {
			asSchema(inner, false)
		}
	case map[string]any:
		for name, inner := range v {
			list, _ := inner.([]any)
			definitions, _ := inner.(map[string]any)
			switch {
			case name == "allOf" && list != nil:
				for _, inner := range list {
					asSchema(inner, true)
				}
			case name == "schemas": // which are closed where they are referred to
				for _, inner := range definitions {
					asSchema(inner, true)
				}
			default:
				asSchema(inner, false)
			}
		}
		_, object := v["properties"].(map[string]any)
		_, whole := v["allOf"].([]any)
		_, refers := v["$ref"].(string)
		if _, said := v["additionalProperties"]; !part && !said && (object || whole || refers) {
			v["unevaluatedProperties"] = false
		}
		if v["nullable"] == true {
			delete(v, "nullable")
			inner := maps.Clone(v)
			clear(v)
			v["anyOf"] = []any{inner, map[string]any{"type": "null"}}
		}
	}
}

// conforms returns how an answer differs from the description.
func conforms(method, path string, got answer) error {
	d, err := described()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	head := method == http.MethodHead
	if head {
		method = http.MethodGet
	}
	at := "/components/responses/Error"
	pattern, operation := d.operation(method, path)
	if operation != nil {
		status := strconv.Itoa(got.status)
		responses := operation["responses"].(map[string]any)
		if _, known := responses[status]; known {
			at = pointer("/paths", pattern, strings.ToLower(method), "responses", status)
		} else if got.status < http.StatusBadRequest {
			return fmt.Errorf("the description does not know the status")
		}
	} else if got.status < http.StatusBadRequest {
		return fmt.Errorf("the description does not know the operation")
	}
	if got.status == http.StatusNoContent || head {
		if got.body != "" {
			return fmt.Errorf("there is a body")
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(got.header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("the Content-Type: %w", err)
	}
	if media == "text/csv" && got.status == http.StatusOK && takesFormat(operation) {
		// Generators make a union of two media types, or take any, so the
		// description has this one in words.
		_, err := csv.NewReader(strings.NewReader(got.body)).ReadAll() // which wants rows of one length
		return err
	}
	schema, err := d.schema(pointer(at, "content", media, "schema"))
	if err != nil {
		return fmt.Errorf("the description does not know the type %s: %w", media, err)
	}
	content, err := jsonschema.UnmarshalJSON(strings.NewReader(got.body))
	if err != nil {
		return err
	}
	return schema.Validate(content)
}

// takesFormat reports whether an operation has the parameter that asks for CSV.
func takesFormat(operation map[string]any) bool {
	parameters, _ := operation["parameters"].([]any)
	return slices.ContainsFunc(parameters, func(p any) bool {
		ref, _ := p.(map[string]any)["$ref"].(string)
		return ref == "#/components/parameters/format"
	})
}

// operation finds what is said of a method on a path; nil: nothing. HEAD has no
// body to look at.
func (d *description) operation(method, path string) (pattern string, operation map[string]any) {
	for _, base := range web.Bases {
		below, ok := strings.CutPrefix(path, base)
		if !ok {
			continue
		}
		if below == "" {
			below = "/"
		}
		for pattern, item := range d.paths {
			operation, known := item.(map[string]any)[strings.ToLower(method)].(map[string]any)
			segments, found := strings.Split(pattern, "/"), strings.Split(below, "/")
			fits := known && len(segments) == len(found)
			for i := 0; fits && i < len(segments); i++ {
				fits = segments[i] == found[i] || segments[i] == "{id}" && d.paths["/"+found[i]] == nil && d.paths[below] == nil
			}
			if fits {
				return pattern, operation
			}
		}
	}
	return "", nil
}

func (d *description) schema(at string) (*jsonschema.Schema, error) {
	if s := d.schemas[at]; s != nil {
		return s, nil
	}
	s, err := d.compiler.Compile("openapi.json#" + at)
	d.schemas[at] = s
	return s, err
}

// pointer adds names to a JSON pointer (RFC 6901).
func pointer(at string, names ...string) string {
	for _, name := range names {
		name = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
		at += "/" + name
	}
	return at
}

// The check of answers finds differences.
func TestConforms(t *testing.T) {
	kind := http.Header{"Content-Type": {"application/json;charset=UTF-8"}}
	for _, c := range []struct {
		what         string
		method, path string
		got          answer
	}{
		{"a field too many", "GET", "/totals", answer{200, kind, `{"days":[],"salt":"x"}`}},
		{"a field too few", "GET", "/totals", answer{200, kind, `{}`}},
		{"a wrong type", "GET", "/totals", answer{200, kind, `{"days":{}}`}},
		{"a status", "GET", "/totals", answer{201, kind, `{"days":[]}`}},
		{"a path", "GET", "/sums", answer{200, kind, `{"days":[]}`}},
		{"a method", "POST", "/totals", answer{200, kind, `{"days":[]}`}},
		{"a kind", "GET", "/totals", answer{200, http.Header{"Content-Type": {"text/csv"}}, "days\n"}},
		{"an error", "GET", "/totals", answer{404, kind, `{"message":"x"}`}},
		{"an error at no path", "GET", "/a/b/c", answer{404, kind, `{"message":"x"}`}},
		{"a null", "GET", "/tokens", answer{200, kind, `{"values":[],"total":null,"next":null}`}},
		{"a field too many in what a field refers to", "POST", "/explain", answer{200, kind, `{"outcome":"allowed","reason":"x","checks":[{"check":"x","result":"decides","salt":"x"}]}`}},
		{"a value in a listing", "GET", "/tokens", answer{200, kind, `{"values":[{"passwordValue":"x"}],"total":1,"next":null}`}},
	} {
		if conforms(c.method, base+c.path, c.got) == nil {
			t.Errorf("%s is not seen", c.what)
		}
	}
	for path, body := range map[string]string{
		"/totals": `{"days":[]}`, "/tokens": `{"values":[],"total":0,"next":null}`,
		"/settings": `{"settings":[{"key":"a","value":["x"]},{"key":"b","value":true}]}`,
	} {
		if err := conforms("GET", base+path, answer{200, kind, body}); err != nil {
			t.Error(err)
		}
	}
}
