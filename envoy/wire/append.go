package wire

import "google.golang.org/protobuf/encoding/protowire"

// The fields that are appended to encoded answers, by message. Their numbers
// are below 16, so that each of their tags is one byte.
const (
	responseOK       protowire.Number = 3 // CheckResponse.ok_response
	responseMetadata protowire.Number = 4 // CheckResponse.dynamic_metadata

	okHeaders    protowire.Number = 2 // OkHttpResponse.headers
	optionHeader protowire.Number = 1 // HeaderValueOption.header

	structFields protowire.Number = 1 // google.protobuf.Struct.fields, a map
	entryValue   protowire.Number = 2 // the value of a map's entry
	valueString  protowire.Number = 3 // google.protobuf.Value.string_value
)

// sizeField returns the size of a length-delimited field with n bytes in it.
func sizeField(n int) int { return 1 + protowire.SizeBytes(n) }

// appendField appends the tag and the length of a length-delimited field with n
// bytes in it.
func appendField(b []byte, number protowire.Number, n int) []byte {
	b = protowire.AppendTag(b, number, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(n))
}

// sizeHeader returns the size of what appendHeader appends.
func sizeHeader(key []byte, value string) int {
	return sizeField(sizeField(len(key) + sizeField(len(value))))
}

// appendHeader appends OkHttpResponse.headers: a header to set, whose encoded
// key is given.
func appendHeader(b, key []byte, value string) []byte {
	pair := len(key) + sizeField(len(value))
	b = appendField(b, okHeaders, sizeField(pair))
	b = appendField(b, optionHeader, pair)
	b = append(b, key...)
	b = appendField(b, headerValue, len(value))
	return append(b, value...)
}

// The encoded keys of metadata that differs from call to call.
var (
	userKey    = keyField("user")
	tokenIDKey = keyField("token_id")
)

// appendMetadata appends CheckResponse.dynamic_metadata: the encoded fields
// given, and those of user and tokenID that are not empty.
func appendMetadata(b, fields []byte, user, tokenID string) []byte {
	size := len(fields) + sizeEntry(userKey, user) + sizeEntry(tokenIDKey, tokenID)
	if size == 0 {
		return b
	}
	b = appendField(b, responseMetadata, size)
	b = append(b, fields...)
	b = appendEntry(b, userKey, user)
	return appendEntry(b, tokenIDKey, tokenID)
}

// sizeEntry returns the size of what appendEntry appends.
func sizeEntry(key []byte, text string) int {
	if text == "" {
		return 0
	}
	return sizeField(len(key) + sizeField(sizeField(len(text))))
}

// appendEntry appends Struct.fields: one text, unless it is empty, under the
// encoded key.
func appendEntry(b, key []byte, text string) []byte {
	if text == "" {
		return b
	}
	value := sizeField(len(text))
	b = appendField(b, structFields, len(key)+sizeField(value))
	b = append(b, key...)
	b = appendField(b, entryValue, value)
	b = appendField(b, valueString, len(text))
	return append(b, text...)
}
