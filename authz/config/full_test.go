package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
)

// documented is one key of full.yaml.
type documented struct {
	comment string // the comment lines right above it, and those of the keys around it
	own     string // the comment lines right above it
	example string // what follows "Example: "
}

var keyLine = regexp.MustCompile(`^( *(?:- )?)([A-Za-z]+):`)

// readFull returns the keys of full.yaml by their path; keys in lists stand
// below the list.
func readFull(t *testing.T) map[string]documented {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testdata, "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	type outer struct {
		indent  int
		path    string
		comment string
	}
	var around []outer
	var doc documented
	keys := map[string]documented{}
	for line := range strings.Lines(string(data)) {
		trimmed := strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(trimmed, "#"); ok {
			doc.own += strings.TrimSpace(text) + "\n"
			if example, ok := strings.CutPrefix(strings.TrimSpace(text), "Example: "); ok {
				doc.example = example
			}
			continue
		}
		if m := keyLine.FindStringSubmatch(line); m != nil {
			indent := len(m[1])
			for len(around) > 0 && around[len(around)-1].indent >= indent {
				around = around[:len(around)-1]
			}
			path, comment := m[2], doc.own
			if len(around) > 0 {
				o := around[len(around)-1]
				path, comment = o.path+"."+path, o.comment+comment
			}
			doc.comment = comment
			keys[path] = doc
			around = append(around, outer{indent, path, comment})
		}
		doc = documented{}
	}
	return keys
}

// TestFullHasEveryKey walks Config and finds each key in full.yaml, with its
// default and an example that Parse takes.
func TestFullHasEveryKey(t *testing.T) {
	keys := readFull(t)
	c := config.Default()
	var known []string
	leaves(reflect.ValueOf(&c).Elem(), "", func(key string, _ reflect.Value) {
		known = append(known, key)
		doc, ok := keys[key]
		if outer, name := key[:max(0, strings.LastIndex(key, "."))], key[strings.LastIndex(key, ".")+1:]; slices.Contains(known, outer) {
			// A key of a rule in a list: its list's example shows it.
			if !strings.Contains(keys[outer].example, name+": ") {
				t.Errorf("%s: the example of %s does not show it", key, outer)
			}
			return
		}
		if !ok {
			t.Errorf("%s is not in full.yaml", key)
			return
		}
		if !strings.Contains(doc.own, "\nDefault: ") && !strings.Contains(doc.own, "\nRequired: ") {
			t.Errorf("%s: its comment has no line that begins with Default: or Required:", key)
		}
		text := doc.example
		if text == "" {
			t.Errorf("%s: its comment has no line that begins with Example:", key)
			return
		}
		parts := strings.Split(key, ".")
		if !strings.HasPrefix(text, parts[len(parts)-1]+": ") {
			t.Errorf("%s: its example is one of another key: %s", key, text)
		}
		for _, outer := range slices.Backward(parts[:len(parts)-1]) {
			text = outer + ": {" + text + "}"
		}
		if key != "publicURL" {
			text = publicURL + text
		}
		if _, err := config.Parse("example.yaml", []byte(text)); err != nil {
			t.Errorf("%s: its example does not parse: %v", key, err)
		}
	})
	if len(known) < 30 {
		t.Errorf("the walk found %d keys only", len(known))
	}
}

// TestFixedKeys changes each key alone, and holds what FixedKeysChanged says
// against what full.yaml tells operators.
func TestFixedKeys(t *testing.T) {
	keys := readFull(t)
	same := config.Default()
	if changed := config.FixedKeysChanged(same, config.Default()); changed != nil {
		t.Errorf("nothing changed, and FixedKeysChanged returns %q", changed)
	}
	var fixed []string
	leaves(reflect.ValueOf(&same).Elem(), "", func(key string, _ reflect.Value) {
		changed := config.Default()
		leaves(reflect.ValueOf(&changed).Elem(), "", func(other string, v reflect.Value) {
			if other == key {
				change(t, v)
			}
		})
		got := config.FixedKeysChanged(config.Default(), changed)
		var want []string
		if strings.Contains(keys[key].comment, "Restart.") {
			want = []string{key}
			if strings.HasPrefix(key, "clientAddress.") {
				want = []string{"clientAddress"}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("a change of %s, by full.yaml (-) and FixedKeysChanged (+):\n%s", key, diff)
		}
		fixed = append(fixed, got...)
	})
	slices.Sort(fixed)
	want := []string{
		"clientAddress", "listen.admin", "listen.grpc", "listen.http", "listen.metrics", "store.badger.dir",
		"tokens.queryParameter", "upstream.contextPath", "upstream.identity.header", "upstream.product", "upstream.url",
	}
	if diff := cmp.Diff(want, slices.Compact(fixed)); diff != "" {
		t.Errorf("fixed keys (-want +got):\n%s", diff)
	}
	all := withURL()
	all.Store.Badger.Dir, all.Listen.GRPC.Address, all.Log.Level = "/b", "/a", "debug"
	if diff := cmp.Diff([]string{"listen.grpc", "store.badger.dir"}, config.FixedKeysChanged(config.Default(), all)); diff != "" {
		t.Errorf("two changes (-want +got):\n%s", diff)
	}
}

// change sets a value that it has not.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int:
		v.SetInt(v.Int() + 1)
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
	case reflect.Struct:
		if a, ok := v.Addr().Interface().(*config.Address); ok {
			a.Address += "x"
		} // the others stand in lists only, and are changed with them
	default:
		t.Errorf("no change known for %s", v.Type())
	}
}
