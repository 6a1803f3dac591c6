package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
)

// maxBody bounds a request's body, in bytes: about ten times what the largest
// request needs.
const maxBody = 64 << 10

// decode reads a JSON body strictly: one object, of known fields only. An empty
// body stands for an empty object.
func decode(r *http.Request, into any) error {
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := parameters["charset"]; err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &httpError{status: http.StatusUnsupportedMediaType, text: "Send JSON, with the header Content-Type: application/json."}
	}
	data, err := io.ReadAll(r.Body)
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &httpError{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf(
			"The request is longer than %d KiB. That is more than it can need: a token has at most 64 networks, 100 characters in its name and 1000 in its purpose.", tooLong.Limit>>10)}
	}
	if err != nil {
		return &httpError{status: http.StatusBadRequest, text: "The request ended before its body did."}
	}
	if len(data) == 0 {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return unreadable(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return &httpError{status: http.StatusBadRequest, text: "The body holds more than one JSON value. Send one object."}
	}
	return nil
}

// unreadable says what is wrong with a body without repeating its values: one of
// them may be a token's.
func unreadable(err error) error {
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field = short(strings.Trim(field, `"`))
		return badField(field, "There is no field %q here.", field)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(wrong.Value, " ") // "number 1.5"
		if wrong.Field == "" {
			return badField("", "The body is a JSON %s. Send an object.", kind)
		}
		field := short(strings.TrimPrefix(wrong.Field, "Expiry.")) // embedded, without a name in JSON
		return badField(field, "The field %q holds a JSON %s where %s belongs.", field, kind, jsonKind(wrong.Type))
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return badField("", "The body is not JSON: it goes wrong at byte %d.", syntax.Offset)
	}
	return badField("", "The body is not whole JSON.")
}

func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a whole number"
}
