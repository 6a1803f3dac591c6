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
	"github.com/tokengate/tokengate/store/badger"
)

// documented is one key of full.yaml.
type documented struct {
	comment  string   // the comment lines right above it, and those of the keys around it
	own      string   // the comment lines right above it
	examples []string // what follows each "Example: "
}

var keyLine = regexp.MustCompile(`^( *(?:- )?)([A-Za-z]+):`)

// readFull returns the keys of full.yaml by their path; keys in lists are below
// the list.
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
				doc.examples = append(doc.examples, example)
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

// full.yaml documents every key of Config with its default and a valid example.
func TestFullHasEveryKey(t *testing.T) {
	keys := readFull(t)
	c := config.Default()
	var known []string
	leaves(reflect.ValueOf(&c).Elem(), "", func(key string, _ reflect.Value) {
		known = append(known, key)
		doc, ok := keys[key]
		for outer := parent(key); outer != ""; outer = parent(outer) {
			if !slices.Contains(known, outer) {
				continue
			}
			// A key in a list, or of a mapping that may be one word: see the
			// examples of the list or mapping.
			_, name, _ := strings.Cut(key[len(parent(key)):], ".")
			top := outer
			for slices.Contains(known, parent(top)) {
				top = parent(top)
			}
			if !strings.Contains(strings.Join(keys[top].examples, "\n"), name+": ") {
				t.Errorf("%s: the examples of %s do not show it", key, top)
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
		if len(doc.examples) == 0 {
			t.Errorf("%s: its comment has no line that begins with Example:", key)
		}
		parts := strings.Split(key, ".")
		for _, text := range doc.examples {
			if !strings.HasPrefix(text, parts[len(parts)-1]+": ") {
				t.Errorf("%s: its example is one of another key: %s", key, text)
			}
			for _, outer := range slices.Backward(parts[:len(parts)-1]) {
				text = outer + ": {" + text + "}"
			}
			if key != "publicURL" {
				text = publicURL + text
			}
			if key == "tokens.readOnlyPaths" {
				text = strings.Replace(text, "tokens: {", "tokens: {paths: [/rest/, /browse/], ", 1)
			}
			if parts[0] == "access" { // whose examples name groups
				text += "\ndirectory: {file: /etc/tokengate/users.yaml}"
				if key == "access.createForOthers" {
					text = strings.Replace(text, "access: {", "access: {admin: [jira-administrators], ", 1)
				}
			}
			if strings.Contains(text, "replicas: {") {
				text += "\nstore: {etcd: {endpoints: ['https://etcd:2379']}}"
			}
			if strings.Contains(text, "pat: {") {
				text += "\ndirectory: {upstream: {credential: /etc/tokengate/jira}}"
			}
			if _, err := config.Parse("example.yaml", []byte(text)); err != nil {
				t.Errorf("%s: its example does not parse: %v", key, err)
			}
		}
	})
	if len(known) < 30 {
		t.Errorf("the walk found %d keys only", len(known))
	}
}

// parent returns the key around a key, or "".
func parent(key string) string { return key[:max(0, strings.LastIndex(key, "."))] }

// FixedKeysChanged returns exactly the keys with "Restart" in full.yaml.
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
		doc := keys[key]
		for _, whole := range []string{"clientAddress", "directory", "store", "upstream.identity", "listen.grpc", "listen.http", "listen.metrics", "listen.replicas"} { // fixed as one
			if strings.HasPrefix(key+".", whole+".") {
				doc, want = keys[whole], []string{whole}
			}
		}
		if !strings.Contains(doc.comment, "Restart.") {
			want = nil
		} else if want == nil {
			want = []string{key}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("a change of %s, by full.yaml (-) and FixedKeysChanged (+):\n%s", key, diff)
		}
		fixed = append(fixed, got...)
	})
	slices.Sort(fixed)
	want := []string{
		"clientAddress", "directory", "envoy.bypass", "listen.admin", "listen.grpc", "listen.http", "listen.metrics", "listen.replicas", "publicURL", "store",
		"tokens.queryParameter", "upstream.contextPath", "upstream.identity", "upstream.product", "upstream.url",
	}
	if diff := cmp.Diff(want, slices.Compact(fixed)); diff != "" {
		t.Errorf("fixed keys (-want +got):\n%s", diff)
	}
	all := withURL()
	all.Store.Settings = &badger.Config{Dir: "/b"}
	all.Listen.GRPC.Address.Address, all.Log.Level = "/a", "debug"
	if diff := cmp.Diff([]string{"publicURL", "listen.grpc", "store"}, config.FixedKeysChanged(config.Default(), all)); diff != "" {
		t.Errorf("two changes (-want +got):\n%s", diff)
	}
}

// change sets another value.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
	case reflect.Struct:
		switch s := v.Addr().Interface().(type) {
		case *config.Address:
			s.Address += "x"
		case *config.Listener:
			s.TLS.Key += "x"
		case *config.Replicas:
			s.Host += "x"
		case *config.Directory:
			s.File += "x"
		case *config.PATIdentity:
			s.Administration = !s.Administration
		case *config.Lifetime:
			s.Duration++
		} // the others are in lists only, which change them
	default:
		t.Errorf("no change known for %s", v.Type())
	}
}
