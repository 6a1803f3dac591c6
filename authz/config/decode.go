package config

import (
	"encoding"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/tokengate/tokengate/store/open"
)

// worded is a mapping whose zero value is written as one word in the file.
type worded interface{ zeroWord() string }

// completer is a mapping with defaults of its own, such as an entry of a list.
// given reports whether the file has a key.
type completer interface {
	complete(given func(key string) bool)
}

// decodeFile decodes the file into c, which contains the defaults.
//
// The YAML library's decoder is not used: it stops at the first problem, converts
// numbers to text and null to zero, and does not return the positions of values.
func (r *reader) decodeFile(root ast.Node, c *Config) {
	if _, ok := root.(*ast.MappingNode); !ok {
		r.report(nodePlace(root), "", "the file is %s; it must be a mapping, such as publicURL: https://jira.example.com", kind(root))
		r.failed = append(r.failed, "")
		return
	}
	r.decode(root, reflect.ValueOf(c).Elem(), "")
	r.at[""] = start // missing keys are reported at the beginning
}

// decode decodes a node into v, or reports a problem and leaves v unchanged.
func (r *reader) decode(n ast.Node, v reflect.Value, key string) {
	r.at[key] = nodePlace(n)
	if n == nil || n.Type() == ast.NullType {
		r.fail(key, "has no value (null); give one, or leave the key out for its default")
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		r.decodeText(n, u, key)
		return
	}
	if d, ok := v.Addr().Interface().(*time.Duration); ok {
		r.decodeText(n, (*duration)(d), key)
		return
	}
	if c, ok := v.Addr().Interface().(*open.Config); ok {
		r.decodeStore(n, c, key)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if m, ok := n.(*ast.MappingNode); ok {
			r.decodeMapping(m, v, key)
			return
		}
		if l, ok := v.Addr().Interface().(*Listener); ok {
			r.decode(n, reflect.ValueOf(&l.Address).Elem(), key)
			return
		}
		keys := strings.Join(keysOf(v.Type()), ", ")
		if w, ok := v.Interface().(worded); !ok {
			r.fail(key, "is %s; it must be a mapping of the keys %s", kind(n), keys)
		} else if text, _ := textOf(n); text == w.zeroWord() {
			v.SetZero()
		} else {
			r.fail(key, "is %s; it must be %s, or a mapping of the keys %s", kindOrText(n), w.zeroWord(), keys)
		}
	case reflect.Slice:
		if s, ok := n.(*ast.SequenceNode); ok {
			r.decodeList(s, v, key)
			return
		}
		r.fail(key, "is %s; it must be a list, such as [] or [one, two]", kind(n))
	case reflect.String:
		if text, ok := textOf(n); ok {
			v.SetString(text)
			return
		}
		r.fail(key, "is %s; it must be text, so put it in quotes", kind(n))
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
			return
		}
		r.fail(key, "is %s; it must be true or false", kind(n))
	case reflect.Int:
		if i, ok := integerOf(n); ok {
			v.SetInt(i)
			return
		}
		r.fail(key, "is %s; it must be a whole number without quotes", kind(n))
	default:
		r.fail(key, "cannot be read by this version")
	}
}

// decodeText decodes a value that is written as text. It accepts numbers, so that
// the error for 365 says that it needs a unit.
func (r *reader) decodeText(n ast.Node, u encoding.TextUnmarshaler, key string) {
	text, ok := textOf(n)
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		text, ok = n.GetToken().Value, true
	}
	if !ok {
		r.fail(key, "is %s; it must be text", kind(n))
	} else if err := u.UnmarshalText([]byte(text)); err != nil {
		r.fail(key, "%s", err)
	}
}

func (r *reader) decodeMapping(m *ast.MappingNode, v reflect.Value, key string) {
	if t := v.Type(); t == reflect.TypeFor[ClientAddress]() || t == reflect.TypeFor[Identity]() {
		v.SetZero() // the file replaces the default source
	}
	known, problems := keysOf(v.Type()), len(r.problems)
	seen := map[string]int{} // line of each key
	for _, pair := range m.Values {
		name, at := nameOf(pair.Key), place(pair.Key.GetToken())
		full := joinKey(key, name)
		if line, twice := seen[name]; twice {
			r.report(at, full, "is given twice; the first is on line %d", line)
			continue
		}
		seen[name] = at.line
		field := fieldOf(v, name)
		if !field.IsValid() {
			r.report(at, full, "unknown key; the keys here are %s", strings.Join(known, ", "))
			continue
		}
		r.decode(pair.Value, field, full)
	}
	if c, ok := v.Addr().Interface().(completer); ok {
		c.complete(func(key string) bool { return seen[key] > 0 })
	}
	if w, ok := v.Interface().(worded); ok && v.IsZero() {
		r.failed = append(r.failed, key)
		if len(r.problems) == problems {
			r.report(r.at[key], key, "is empty; write %s, or set some of the keys %s", w.zeroWord(), strings.Join(known, ", "))
		}
	}
}

// decodeStore decodes a mapping whose only key is the kind of store. An empty mapping keeps the
// default.
func (r *reader) decodeStore(n ast.Node, c *open.Config, key string) {
	kinds := strings.Join(open.Names(), ", ")
	m, ok := n.(*ast.MappingNode)
	if !ok {
		r.fail(key, "is %s; it must be a mapping with one of the keys %s", kind(n), kinds)
		return
	}
	for i, pair := range m.Values {
		name, at := nameOf(pair.Key), place(pair.Key.GetToken())
		full := joinKey(key, name)
		switch defaults := open.Kinds[name]; {
		case defaults == nil:
			r.report(at, full, "unknown key; the keys here are %s", kinds)
		case i > 0:
			r.report(at, full, "is a second store; name only one")
		default:
			c.Kind, c.Settings = name, defaults()
			r.decode(pair.Value, reflect.ValueOf(c.Settings).Elem(), full)
		}
	}
}

func (r *reader) decodeList(s *ast.SequenceNode, v reflect.Value, key string) {
	list := reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values))
	for i, n := range s.Values {
		r.decode(n, list.Index(i), IndexKey(key, i))
	}
	v.Set(list)
}

// fail reports that the value of a key cannot be decoded.
func (r *reader) fail(key, format string, args ...any) {
	r.failed = append(r.failed, key)
	r.report(r.at[key], key, format, args...)
}

// nodePlace returns the position of a value. A block mapping begins at its first
// key; the library reports its first colon.
func nodePlace(n ast.Node) position {
	if n == nil {
		return start
	}
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return place(m.Values[0].Key.GetToken())
	}
	return place(n.GetToken())
}

// kind returns the kind of a node for messages.
func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	}
	return "something else"
}

// kindOrText returns the quoted text or the kind of a node.
func kindOrText(n ast.Node) string {
	if text, ok := textOf(n); ok {
		return quote(text)
	}
	return kind(n)
}

func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		if n.Value != nil {
			return n.Value.Value, true
		}
	}
	return "", false
}

func integerOf(n ast.Node) (int64, bool) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	switch value := i.Value.(type) {
	case int64:
		return value, true
	case uint64:
		return int64(value), value <= 1<<63-1
	}
	return 0, false
}

// nameOf returns the text of a mapping's key.
func nameOf(n ast.MapKeyNode) string {
	if text, ok := textOf(n); ok {
		return text
	}
	return n.GetToken().Value
}

// keysOf returns the keys of a struct, in order.
func keysOf(t reflect.Type) []string {
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = t.Field(i).Tag.Get("yaml")
	}
	return keys
}

// fieldOf returns the field of a struct with this key, or the zero Value.
func fieldOf(v reflect.Value, key string) reflect.Value {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == key {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// plainKey matches keys that need no quotes in messages.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// joinKey returns the path of a key below another.
func joinKey(outer, name string) string {
	if !plainKey.MatchString(name) {
		name = quote(name)
	}
	if outer == "" {
		return name
	}
	return outer + "." + name
}
