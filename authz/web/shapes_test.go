package web

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/manage"
)

// Only the answers to a creation and a rotation have a field for a value, and no
// answer has one for a salt or a hash.
func TestAnswersHaveNoPlaceForSecrets(t *testing.T) {
	all := api{Manager: &manage.Manager{}}.endpoints()
	if len(all) < 19 {
		t.Fatalf("only %d endpoints were found", len(all))
	}
	for _, e := range all {
		issues := e.response == reflect.TypeFor[IssuedToken]()
		if issues && !(e.method == "POST" && (e.path == "" || e.path == "{id}/rotate")) {
			t.Errorf("%s %q answers with a value", e.method, e.path)
		}
		for _, place := range secretFields(e.response, "") {
			// A setting is any of the types that the description lists.
			if place == ".PasswordValue" && issues || place == ".Settings[].Value" {
				continue
			}
			t.Errorf("%s %q: the answer has a place for a secret, %s", e.method, e.path, place)
		}
	}
}

// The search finds secrets.
func TestSecretFields(t *testing.T) {
	for _, secret := range []reflect.Type{
		reflect.TypeFor[IssuedToken](),
		reflect.TypeFor[[]IssuedToken](),
		reflect.TypeFor[struct{ Salt string }](),
		reflect.TypeFor[struct{ X map[string][16]byte }](),
		reflect.TypeFor[struct{ X []byte }](),
		reflect.TypeFor[struct{ X any }](),
	} {
		if len(secretFields(secret, "")) == 0 {
			t.Errorf("nothing was found in %v", secret)
		}
	}
}

// secretFields returns the fields of type t that could hold a secret: by their name, or
// bytes, or any value.
func secretFields(t reflect.Type, at string) (found []string) {
	switch t.Kind() {
	case reflect.Interface:
		return []string{at}
	case reflect.Pointer:
		return secretFields(t.Elem(), at)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return []string{at}
		}
		return secretFields(t.Elem(), at+"[]")
	case reflect.Map:
		return append(secretFields(t.Key(), at+"[key]"), secretFields(t.Elem(), at+"[]")...)
	case reflect.Struct:
		for i := range t.NumField() {
			field := t.Field(i)
			name := strings.ToLower(field.Name)
			for _, word := range []string{"password", "value", "secret", "salt", "hash"} {
				if strings.Contains(name, word) && field.Type.Kind() == reflect.String {
					found = append(found, at+"."+field.Name)
				}
			}
			found = append(found, secretFields(field.Type, at+"."+field.Name)...)
		}
	}
	return found
}

// Every code of the manager has a status.
func TestEveryCodeHasAStatus(t *testing.T) {
	for _, e := range []*manage.Error{
		manage.ErrInvalid, manage.ErrForbidden, manage.ErrNotFound, manage.ErrRevoked, manage.ErrConflict, manage.ErrLimit,
		manage.ErrState, manage.ErrUnavailable, manage.ErrTooMany,
	} {
		if _, known := statuses[e.Code]; !known {
			t.Errorf("%s has no status", e.Code)
		}
	}
	if got := denial(&manage.Error{Code: "new"}); got.status != 503 {
		t.Errorf("a code without a status is answered with %d", got.status)
	}
}
