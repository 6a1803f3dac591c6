package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on the structure of a file, well above what a valid file needs. The time
// of the YAML parser grows with the square of the depth and of the keys.
const (
	maxDepth   = 16
	maxKeys    = 2000
	maxEntries = 20000
)

// start is the beginning of a file.
var start = position{1, 1}

// read returns the root of the file's document, or reports a problem and returns
// nil.
func (r *reader) read(data []byte) ast.Node {
	if len(data) > MaxSize {
		r.report(start, "", "the file is larger than 1 MiB; no configuration needs that")
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	// In YAML all line breaks are equal (YAML 1.2.2 section 5.4), but the library
	// counts CR LF after a comment as two lines.
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	if at, c, ok := firstUnreadable(data); ok {
		r.report(at, "", "the file is not plain UTF-8 text: it contains %s here", c)
		return nil
	}
	file, at, err := r.parse(string(data))
	switch {
	case err != nil:
		r.report(at, "", "%s", oneLine(err.Error()))
		return nil
	case len(file.Docs) == 0 || file.Docs[0].Body == nil:
		r.report(start, "", "the file is empty; it must give at least publicURL")
		return nil
	}
	return file.Docs[0].Body
}

// firstUnreadable finds the first invalid UTF-8 or control character (YAML 1.2.2
// section 5.1).
func firstUnreadable(data []byte) (at position, what string, found bool) {
	at = start
	for len(data) > 0 {
		c, size := utf8.DecodeRune(data)
		switch {
		case c == utf8.RuneError && size == 1:
			return at, fmt.Sprintf("the byte %#02x", data[0]), true
		case c < ' ' && c != '\t' && c != '\n' || c == 0x7f:
			return at, fmt.Sprintf("the control character %U", c), true
		}
		at.column++
		if c == '\n' {
			at = position{at.line + 1, 1}
		}
		data = data[size:]
	}
	return at, "", false
}

// parse returns the syntax tree of the text, or an error and its position. A panic
// of the YAML library becomes an error, because a reload runs in the server.
func (r *reader) parse(text string) (file *ast.File, at position, err error) {
	at = start
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("the YAML parser failed on this file: %v", p)
		}
	}()
	tokens := lexer.Tokenize(text)
	if t := tokens.InvalidToken(); t != nil {
		return nil, place(t), errors.New(t.Error)
	}
	if at, err := checkSyntax(tokens); err != nil {
		return nil, at, err
	}
	// decode reports duplicate keys, with their path.
	file, err = parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if fault, ok := errors.AsType[yaml.Error](err); ok {
		if t := fault.GetToken(); t != nil {
			at = place(t)
		}
		err = errors.New(fault.GetMessage())
	}
	return file, at, err
}

// checkSyntax rejects YAML features that this file format excludes, and files whose
// structure is slow to parse.
func checkSyntax(tokens token.Tokens) (position, error) {
	var depth, keys, entries, line, onLine int
	content := false // a token other than a comment came before
	for _, t := range tokens {
		var fault string
		switch t.Type {
		case token.DocumentHeaderType:
			if content {
				fault = "a second document begins here; the file must hold one"
			}
		case token.DocumentEndType:
			fault = "the end of a document (...) is not supported; leave it out"
		case token.DirectiveType:
			fault = "YAML directives (%) are not supported; leave it out, or put the text in quotes"
		case token.AnchorType:
			fault = "YAML anchors (&) are not supported; write the value out, or put the text in quotes"
		case token.AliasType:
			fault = `YAML aliases (*) are not supported; write "*" with quotes if it stands for everyone`
		case token.MergeKeyType:
			fault = "YAML merge keys (<<) are not supported; write the keys out"
		case token.TagType:
			fault = "YAML tags (!) are not supported; leave it out, or put the text in quotes"
		case token.MappingKeyType:
			fault = "YAML complex keys (?) are not supported; write key: value"
		case token.MappingValueType:
			if keys++; keys > maxKeys {
				fault = fmt.Sprintf("the file has more than %d keys", maxKeys)
			}
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth = max(0, depth-1) // there may be too many ends
		case token.SequenceEntryType:
			if t.Position.Line != line {
				line, onLine = t.Position.Line, 0
			}
			onLine++ // each after the first begins a list in a list
			entries++
		case token.CollectEntryType:
			entries++
		}
		content = content || t.Type != token.CommentType
		switch {
		case depth > maxDepth || onLine > maxDepth:
			fault = fmt.Sprintf("lists and mappings are nested deeper than %d levels", maxDepth)
		case entries > maxEntries:
			fault = fmt.Sprintf("the lists hold more than %d entries", maxEntries)
		}
		if fault != "" {
			return place(t), errors.New(fault)
		}
	}
	return position{}, nil
}

// place returns the position of a token.
func place(t *token.Token) position {
	if t == nil || t.Position == nil {
		return start
	}
	return position{t.Position.Line, t.Position.Column}
}

// oneLine joins the lines of an error of the YAML library, which may quote the
// file.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\t", `\t`)), " ")
}
