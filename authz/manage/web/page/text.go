package page

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tokengate/tokengate/authz/token"
)

// text returns one of the texts, with what belongs into it. A key that is not there
// is a mistake of the program: it is shown as it is, and no test lets it pass.
func text(key string, args ...any) string {
	found, ok := texts[key]
	if !ok {
		return "[" + key + "]"
	}
	if len(args) == 0 {
		return found
	}
	return fmt.Sprintf(found, args...)
}

// count returns a text for a number of things: that of the key with .one behind it
// for one of them.
func count[N int | uint64](key string, n N) string {
	if n == 1 {
		return text(key + ".one")
	}
	return text(key, number(n))
}

// visible returns a text whose characters are all to be seen: those that show as
// nothing, or turn around what stands beside them, are replaced. Lines stay lines.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) || r == '\n' {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// maxBrief is how much of a text a listing shows, in characters.
const maxBrief = 120

// brief returns the beginning of a text, visible and without a token's secret.
func brief(text string) string {
	text = visible(token.Redact(text))
	if utf8.RuneCountInString(text) <= maxBrief {
		return text
	}
	return string([]rune(text)[:maxBrief]) + "…"
}

// number writes a number with its thousands apart.
func number[N int | uint64](n N) string {
	digits := strconv.FormatUint(uint64(max(n, 0)), 10)
	var out []byte
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out = append(out, ',')
		}
		out = append(out, digits[i])
	}
	return string(out)
}
