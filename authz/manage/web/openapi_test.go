package web

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/manage"
)

// object is a part of the description.
type object = map[string]any

func openAPIDocument(t *testing.T) object {
	t.Helper()
	var doc object
	if err := json.Unmarshal(OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// resolve follows a reference, and adds what stands beside it.
func resolve(t *testing.T, doc, at object) object {
	t.Helper()
	ref, ok := at["$ref"].(string)
	if !ok {
		return at
	}
	var found any = doc
	for _, name := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		found = found.(object)[name]
	}
	if found == nil {
		t.Fatalf("%s leads nowhere", ref)
	}
	merged := maps.Clone(resolve(t, doc, found.(object)))
	for name, value := range at {
		if inner, ok := merged[name].(object); ok && name == "properties" {
			value = union(inner, value.(object))
		}
		merged[name] = value
	}
	return merged
}

func union(a, b object) object {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// A text with a comma that is not in quotes ends at it, in YAML between braces,
// and the rest becomes a key without a value.
func TestDescriptionIsWhole(t *testing.T) {
	var look func(at string, v any)
	look = func(at string, v any) {
		switch v := v.(type) {
		case nil:
			t.Errorf("%s has no value", at)
		case object:
			for key, value := range v {
				look(at+"/"+key, value)
			}
		case []any:
			for _, value := range v {
				look(at, value)
			}
		}
	}
	look("", openAPIDocument(t))
}

// The description has the endpoints that there are, with the parameters that they
// take and the fields of their requests and answers, and no others.
func TestDescription(t *testing.T) {
	doc := openAPIDocument(t)
	found := map[string][]string{} // parameters by endpoint
	operations := map[string]object{}
	for path, item := range doc["paths"].(object) {
		for method, operation := range item.(object) {
			if method == "parameters" {
				continue
			}
			operation := operation.(object)
			key := strings.ToUpper(method) + " " + strings.TrimPrefix(path, "/")
			operations[key], found[key] = operation, []string{}
			listed, _ := operation["parameters"].([]any)
			for _, p := range listed {
				p := resolve(t, doc, p.(object))
				if p["in"] != "query" {
					t.Errorf("%s: the parameter %v is in %v", key, p["name"], p["in"])
				}
				found[key] = append(found[key], p["name"].(string))
			}
			if operation["summary"] == nil || operation["operationId"] == nil || operation["responses"].(object)["default"] == nil {
				t.Errorf("%s lacks a summary, a name or its errors", key)
			}
		}
	}
	want := map[string][]string{}
	all := endpoints(&manage.Manager{}, nil)
	for _, e := range all {
		want[e.method+" "+e.path] = append([]string{}, e.parameters...)
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Fatalf("endpoints (-code +description):\n%s", diff)
	}
	for _, e := range all {
		key := e.method + " " + e.path
		operation := operations[key]
		body, _ := operation["requestBody"].(object)
		if (body == nil) != (e.request == reflect.TypeFor[none]()) {
			t.Errorf("%s: the request's body is %v", key, body)
		}
		if body != nil {
			compareFields(t, doc, key+" request", jsonSchema(body), e.request, false)
		}
		answer, _ := operation["responses"].(object)["200"].(object)
		switch none := e.response == reflect.TypeFor[none](); {
		case e.path == "openapi.json":
		case none != (answer == nil):
			t.Errorf("%s: the answer is %v", key, answer)
		case !none:
			compareFields(t, doc, key+" answer", jsonSchema(answer), e.response, true)
		}
	}
}

func jsonSchema(holder object) object {
	return holder["content"].(object)["application/json"].(object)["schema"].(object)
}

// compareFields compares a schema's properties with a type's fields, and what is
// below them. All fields of an answer are required, but those that are left out
// where they are empty.
func compareFields(t *testing.T, doc object, at string, schema object, typ reflect.Type, answer bool) {
	t.Helper()
	schema = resolve(t, doc, schema)
	if variants, ok := schema["oneOf"].([]any); ok { // or null
		schema = resolve(t, doc, variants[0].(object))
	}
	switch typ.Kind() {
	case reflect.Pointer:
		compareFields(t, doc, at, schema, typ.Elem(), answer)
		return
	case reflect.Slice:
		if schema["type"] != "array" {
			t.Errorf("%s is %v, not an array", at, schema["type"])
			return
		}
		compareFields(t, doc, at+"[]", schema["items"].(object), typ.Elem(), answer)
		return
	case reflect.Map:
		compareFields(t, doc, at+"{}", schema["additionalProperties"].(object), typ.Elem(), answer)
		return
	case reflect.Struct:
	default:
		return
	}
	switch typ {
	case reflect.TypeFor[Setting](): // has a form of its own
		return
	case reflect.TypeFor[RateChange]():
		typ = reflect.TypeFor[Rate]()
	}
	if schema["additionalProperties"] != false && schema["unevaluatedProperties"] != false {
		t.Errorf("%s may have other fields", at)
	}
	properties, _ := schema["properties"].(object)
	names := []string{}
	for _, field := range reflect.VisibleFields(typ) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous {
			continue
		}
		names = append(names, name)
		property, ok := properties[name].(object)
		if !ok {
			t.Errorf("%s: the description has no %s", at, name)
			continue
		}
		compareFields(t, doc, at+"."+name, property, field.Type, answer)
		if required(schema, name) == (options == "omitempty" || options == "omitzero") && answer && typ != reflect.TypeFor[Rate]() {
			t.Errorf("%s.%s: whether it is always there is told wrong", at, name)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(maps.Keys(properties))); diff != "" {
		t.Errorf("%s (-code +description):\n%s", at, diff)
	}
}

// required reports whether a schema demands a field, by itself or by what it
// refers to.
func required(schema object, name string) bool {
	list, _ := schema["required"].([]any)
	return slices.Contains(list, any(name)) || name != "passwordValue" && slices.Contains(list, any("passwordValue"))
}
