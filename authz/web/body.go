package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz/token"
)

// maxBody is the maximum length of a body, in bytes, about ten times what the
// largest request needs.
const maxBody = 64 << 10

// decode reads a JSON body strictly: one object with known fields only. An empty
// body is an empty object.
func decode(r *http.Request, into any) error {
	if !isJSON(r) {
		return &httpError{status: http.StatusUnsupportedMediaType, text: "Send JSON, with the header Content-Type: application/json."}
	}
	data, err := io.ReadAll(r.Body)
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &httpError{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf(
			"The request is longer than %d KiB. A token has at most 64 networks, a name of 100 characters and a purpose of 1000.", tooLong.Limit>>10)}
	}
	if err != nil {
		return &httpError{status: http.StatusBadRequest, text: "The request ended before its body did."}
	}
	if len(data) == 0 {
		return nil
	}
	// The decoder would replace invalid bytes by U+FFFD, and so change a name.
	if !utf8.Valid(data) {
		return badField("", "The body is not UTF-8.")
	}
	// Before decoding, because the decoder ignores nulls.
	if err := checkTokens(data, into); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return decodeError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return &httpError{status: http.StatusBadRequest, text: "The body holds more than one JSON value. Send one object."}
	}
	return nil
}

// nullable is a request in which only the returned fields may be null.
type nullable interface{ nullable() []string }

// checkTokens refuses an object with a duplicate key, since different decoders take
// different values. It ignores case, like the decoder. It refuses U+FFFD, which the
// decoder makes of an escaped surrogate without its other half (RFC 8259, 8.2). In a
// nullable request it also refuses null in other fields. It leaves invalid JSON to the
// decoder.
func checkTokens(data []byte, into any) error {
	request, strict := into.(nullable)
	decoder := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		keys  map[string]bool // of an object; nil in an array
		value bool            // the next token is the value of key
		key   string
	}
	var levels []level
	for {
		t, err := decoder.Token()
		if err != nil {
			return nil
		}
		top := &level{}
		if len(levels) > 0 {
			top = &levels[len(levels)-1]
		}
		switch key, isText := t.(string); {
		case strings.ContainsRune(key, utf8.RuneError):
			return badField("", "The body has the character U+FFFD, or an escape such as \\ud800 that is half of a character.")
		case t == json.Delim('}'), t == json.Delim(']'):
			levels = levels[:len(levels)-1]
			continue
		case top.keys != nil && !top.value && isText:
			folded := strings.ToLower(strings.ToUpper(key))
			if top.keys[folded] {
				return badField(token.Excerpt(key), "The field %q is given more than once.", token.Excerpt(key))
			}
			top.keys[folded], top.value, top.key = true, true, key
			continue
		}
		top.value = false
		switch {
		case t == nil && strict && len(levels) == 1 && !slices.Contains(request.nullable(), top.key):
			return badField(token.Excerpt(top.key), "The field %q cannot be null. Leave it out to keep it as it is.", token.Excerpt(top.key))
		case t == json.Delim('{'):
			levels = append(levels, level{keys: map[string]bool{}})
		case t == json.Delim('['):
			levels = append(levels, level{})
		}
	}
}

// decodeError says what is wrong with a body. It does not repeat values, which may
// be a token's.
func decodeError(err error) error {
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field = token.Excerpt(strings.Trim(field, `"`))
		return badField(field, "There is no field %q here.", field)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(wrong.Value, " ") // "number 1.5"
		if wrong.Field == "" {
			return badField("", "The body is a JSON %s. Send an object.", kind)
		}
		field := token.Excerpt(strings.TrimPrefix(wrong.Field, "Expiry.")) // embedded, so not a name in JSON
		return badField(field, "The field %q holds a JSON %s; it must be %s.", field, kind, jsonKind(wrong.Type))
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return badField("", "The body is not JSON: there is an error at byte %d.", syntax.Offset)
	}
	return badField("", "The body is incomplete JSON.")
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
