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
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz/token"
)

// maxBody bounds a request's body, in bytes: about ten times what the largest
// request needs.
const maxBody = 64 << 10

// decode reads a JSON body strictly: one object, of known fields only. An empty
// body stands for an empty object.
func decode(r *http.Request, into any) error {
	if !isJSON(r) {
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
	// The decoder would put U+FFFD in their place, and so make another name.
	if !utf8.Valid(data) {
		return badField("", "The body is not UTF-8.")
	}
	if loneSurrogate(data) {
		return badField("", "The body has an escape such as \\ud800 that is half of a character. Send both halves, or neither.")
	}
	// Nulls are looked for first: the decoder takes them for nothing.
	if err := checkKeys(data, into); err != nil {
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

// loneSurrogate reports whether JSON has an escape of a surrogate without its other
// half (RFC 8259, 8.2).
func loneSurrogate(data []byte) bool {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		unit, ok := escapedUnit(data[i:])
		switch {
		case !ok:
			i++ // what is escaped, as another backslash
		case unit >= 0xdc00 && unit < 0xe000:
			return true
		case unit >= 0xd800 && unit < 0xdc00:
			low, ok := escapedUnit(data[i+escapeLength:])
			if !ok || low < 0xdc00 || low >= 0xe000 {
				return true
			}
			i += 2*escapeLength - 1
		default:
			i += escapeLength - 1
		}
	}
	return false
}

const escapeLength = len(`\ud800`)

// escapedUnit returns the UTF-16 code unit that an escape at the beginning stands
// for, if there is one.
func escapedUnit(data []byte) (unit uint64, ok bool) {
	if len(data) < escapeLength || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(data[2:escapeLength]), 16, 16)
	return unit, err == nil
}

// nullable is a request of which fields may be null.
type nullable interface{ nullable() []string }

// checkKeys refuses an object that has a key twice: of two values that a client
// sends, others might have looked at the one that is not taken. The decoder takes
// keys without case, so they are compared in that way. It refuses null, too, in a
// nullable request where it says nothing. What is no JSON is left to the decoder.
func checkKeys(data []byte, into any) error {
	may, strict := into.(nullable)
	decoder := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		keys  map[string]bool // of an object; nil: of an array
		value bool            // a key has come, its value is next
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
		case t == nil && strict && len(levels) == 1 && !slices.Contains(may.nullable(), top.key):
			return badField(token.Excerpt(top.key), "The field %q cannot be null. Leave it out to keep it as it is.", token.Excerpt(top.key))
		case t == json.Delim('{'):
			levels = append(levels, level{keys: map[string]bool{}})
		case t == json.Delim('['):
			levels = append(levels, level{})
		}
	}
}

// decodeError says what is wrong with a body without repeating its values: one of
// them may be a token's.
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
		field := token.Excerpt(strings.TrimPrefix(wrong.Field, "Expiry.")) // embedded, without a name in JSON
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
