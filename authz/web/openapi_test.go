package web

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
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

// resolve follows a reference, and merges the parts of an allOf.
func resolve(t *testing.T, doc, at object) object {
	t.Helper()
	if ref, ok := at["$ref"].(string); ok {
		var found any = doc
		for _, name := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
			found = found.(object)[name]
		}
		if found == nil {
			t.Fatalf("%s leads nowhere", ref)
		}
		return resolve(t, doc, found.(object))
	}
	parts, _ := at["allOf"].([]any)
	if parts == nil {
		return at
	}
	merged := object{"properties": object{}, "required": []any{}}
	for _, part := range parts {
		for name, value := range resolve(t, doc, part.(object)) {
			switch name {
			case "properties":
				value = union(merged[name].(object), value.(object))
			case "required":
				value = append(slices.Clone(merged[name].([]any)), value.([]any)...)
			}
			merged[name] = value
		}
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

// The description has exactly the API's endpoints, parameters, and fields of
// requests and answers.
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
				if p["in"] == "header" { // what any POST may have
					continue
				}
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
	all := api{Manager: &manage.Manager{}}.endpoints()
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
		if (body == nil) != (e.request == reflect.TypeFor[empty]()) {
			t.Errorf("%s: the request's body is %v", key, body)
		}
		if body != nil {
			compareFields(t, doc, key+" request", jsonSchema(body), e.request, false)
		}
		answer, _ := operation["responses"].(object)["200"].(object)
		switch none := e.response == reflect.TypeFor[empty](); {
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
		if values, ok := schema["additionalProperties"].(object); ok { // otherwise it names the keys
			compareFields(t, doc, at+"{}", values, typ.Elem(), answer)
		}
		return
	case reflect.Struct:
	default:
		return
	}
	switch typ {
	case reflect.TypeFor[RateChange]():
		typ = reflect.TypeFor[Rate]()
	}
	// Answers may get fields in a later version; a field that a request does not
	// have is refused.
	if closed := schema["additionalProperties"] == false; closed == answer && typ != reflect.TypeFor[Rate]() {
		t.Errorf("%s: additionalProperties is wrong", at)
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
			t.Errorf("%s.%s: required is wrong", at, name)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(maps.Keys(properties))); diff != "" {
		t.Errorf("%s (-code +description):\n%s", at, diff)
	}
}

// required reports whether a schema demands a field.
func required(schema object, name string) bool {
	list, _ := schema["required"].([]any)
	return slices.Contains(list, any(name))
}

// The headers of an explanation are those that the checks read.
func TestDescriptionHasHeaders(t *testing.T) {
	doc := openAPIDocument(t)
	headers := resolve(t, doc, object{"$ref": "#/components/schemas/ExplainHeaders"})["properties"].(object)
	want := slices.DeleteFunc(slices.Clone(authz.Headers), func(name string) bool { return name == "authorization" })
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(headers))); diff != "" {
		t.Errorf("headers (-code +description):\n%s", diff)
	}
}

// The description has nothing that common code generators ignore, refuse or treat
// differently.
func TestDescriptionForGenerators(t *testing.T) {
	doc := openAPIDocument(t)
	if v := doc["openapi"]; v != "3.0.3" {
		t.Errorf("OpenAPI is %v, which not all of them know", v)
	}
	for _, fault := range unfitForGenerators("", doc) {
		t.Error(fault)
	}
	names := map[string]bool{}
	for path, item := range doc["paths"].(object) {
		for method, operation := range item.(object) {
			if method == "parameters" {
				continue
			}
			// The name becomes a function's, and the tag a class's.
			name, _ := operation.(object)["operationId"].(string)
			if !regexp.MustCompile(`^[a-z]+[A-Z][A-Za-z]+$`).MatchString(name) || names[name] {
				t.Errorf("%s %s: the name %q is no verb with an object, or is there twice", method, path, name)
			}
			names[name] = true
			if tags, _ := operation.(object)["tags"].([]any); len(tags) != 1 {
				t.Errorf("%s: the tags are %v, not one", name, tags)
			}
		}
	}
}

// The check finds each of the faults.
func TestUnfitForGenerators(t *testing.T) {
	for _, c := range []string{
		`{"type":["string","null"]}`, `{"type":"string","const":"x"}`, `{"oneOf":[]}`, `{"anyOf":[]}`, `{"$ref":"#/x","description":"x"}`,
		`{"type":"integer"}`, `{"enum":["x"]}`, `{"type":"array"}`, `{"in":"query","name":"x","schema":{}}`, `{"type":"string","default":"x"}`,
		`{"unevaluatedProperties":false}`, `{"type":"string","examples":["x"]}`, `{"type":"string","pattern":"(?=x)"}`,
		`{"content":{"application/json":{},"text/csv":{}}}`, `{"x":[{"enum":["x"]}]}`,
	} {
		var part object
		if err := json.Unmarshal([]byte(c), &part); err != nil {
			t.Fatal(err)
		}
		if unfitForGenerators("", part) == nil {
			t.Errorf("%s is not found", c)
		}
	}
}

// unfitForGenerators lists what is unfit in a part of the description.
func unfitForGenerators(at string, v any) (faults []string) {
	switch v := v.(type) {
	case []any:
		for _, inner := range v {
			faults = append(faults, unfitForGenerators(at+"[]", inner)...)
		}
	case object:
		fault := func(wrong bool, text string) {
			if wrong {
				faults = append(faults, at+": "+text)
			}
		}
		kind, isText := v["type"].(string)
		if strings.HasSuffix(at, "/properties") {
			isText, kind = true, "" // a field may be called type
		} else {
			for _, word := range []string{"const", "oneOf", "anyOf", "unevaluatedProperties", "examples", "prefixItems", "patternProperties", "if"} {
				fault(v[word] != nil, word+" is read by few")
			}
			// Some send what is the default in each request.
			fault(v["default"] != nil && v["operationId"] == nil && v["200"] == nil && v["204"] == nil, "there is a default")
			_, refers := v["$ref"].(string)
			fault(refers && len(v) > 1, "generators ignore the fields beside $ref; use allOf")
			fault(v["enum"] != nil && kind != "string", "an enum without a type")
			fault(v["type"] != nil && !isText, "more than one type")
			fault(v["in"] != nil && v["description"] == nil, "a parameter without a description")
			pattern, _ := v["pattern"].(string)
			_, err := regexp.Compile(pattern)
			content, _ := v["content"].(object)
			fault(len(content) > 1, "more than one media type")
			fault(err != nil, "a pattern that not every language reads")
		}
		fault(kind == "integer" && v["format"] != "int32" && v["format"] != "int64", "an integer of no size becomes one of 32 bits")
		fault(kind == "array" && v["items"] == nil, "an array of nothing")
		for name, inner := range v {
			faults = append(faults, unfitForGenerators(at+"/"+name, inner)...)
		}
	}
	return faults
}
