package page

import (
	"fmt"
	"strings"
	"unicode"
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
func count[N int](key string, n N) string {
	if n == 1 {
		return text(key + ".one")
	}
	return text(key, number(int(n)))
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
