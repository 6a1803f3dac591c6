package authz

import (
	"encoding/json"
	"fmt"
)

// DenialType is the content type of a denial: some clients read the body only
// where it is exactly this.
const DenialType = "application/json;charset=UTF-8"

// Denial returns the body of a refusal: the shape in which Jira reports
// errors, so that Jira's clients show the text. errors is an object of strings.
func Denial(text string) []byte { return denial(text, map[string]string{}) }

// FieldDenial returns a Denial that also names the field of the request that
// it is about, as Jira does for forms.
func FieldDenial(field, text string) []byte {
	return denial(text, map[string]string{field: text})
}

func denial(text string, fields map[string]string) []byte {
	body, err := json.Marshal(struct {
		ErrorMessages []string          `json:"errorMessages"`
		Errors        map[string]string `json:"errors"`
		Message       string            `json:"message"`
	}{[]string{text}, fields, text})
	if err != nil {
		panic(fmt.Sprintf("encode a denial: %v", err)) // strings always encode
	}
	return body
}
