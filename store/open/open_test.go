package open_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/store/etcd"
	"github.com/tokengate/tokengate/store/open"
)

func TestNames(t *testing.T) {
	if diff := cmp.Diff([]string{"badger", "etcd"}, open.Names()); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

// TestFullHasEtcd checks that full.yaml, where the keys of etcd are comments, documents every key with its default
// and a valid value.
func TestFullHasEtcd(t *testing.T) {
	data, err := os.ReadFile("../../testdata/config/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(data), "\n  # etcd:\n")
	block, _, _ = strings.Cut(block, "\n\n")
	block = regexp.MustCompile(`(?m)^  #(   )?`).ReplaceAllString(block, "")
	var config etcd.Config
	if err := yaml.UnmarshalWithOptions([]byte(block), &config, yaml.Strict()); err != nil {
		t.Fatalf("%v\n%s", err, block)
	}
	config.Check(func(key, format string, args ...any) { t.Errorf("%s: "+format, append([]any{key}, args...)...) })
	for _, v := range []reflect.Value{reflect.ValueOf(config), reflect.ValueOf(config.TLS)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s is missing", v.Type().Field(i).Name)
			}
		}
	}
	want := etcd.DefaultConfig()
	if config.Prefix != want.Prefix || config.Timeout != want.Timeout {
		t.Errorf("the defaults are %s and %v, want %s and %v", config.Prefix, config.Timeout, want.Prefix, want.Timeout)
	}
	if n := strings.Count(block, "# Default: "); n != 7 {
		t.Errorf("%d comments say what the default is", n)
	}
}
