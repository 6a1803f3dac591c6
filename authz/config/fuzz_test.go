package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
)

// Parse never panics, its errors name a position in the text, and a configuration
// that is written and parsed again stays the same.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"*.yaml", "bad/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(testdata, pattern))
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds in %s: %v", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	f.Add(publicURL + `directory: {upstream: {credential: /c}}
access:
  use: [jira-users, "Größe: #1", '- "a"', "true", "~", "5"]
  create: [{groups: [a b], maxLifetime: 1d, networks: required, rate: {requests: 6, per: 1m}}]
  admin: ["*x"]
`)
	f.Add(publicURL + "directory: {file: /u}\ntokens: {maxOverlap: 0s, retention: 1w1s}\n")
	f.Add(publicURL + "listen: {grpc: {address: 'tcp://10.0.0.1:1', tls: {certificate: /c, key: /k, clientCA: /a}}, metrics: {tls: none}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Parse("fuzz.yaml", []byte(text))
		if err != nil {
			checkProblems(t, text, err)
			return
		}
		written, err := yaml.Marshal(c)
		if err != nil {
			t.Fatalf("write %+v: %v", c, err)
		}
		again, err := config.Parse("again.yaml", written)
		if err != nil {
			t.Fatalf("Parse accepted\n%s\nbut not the result\n%s\n%v", text, written, err)
		}
		if diff := cmp.Diff(c, again, comparePrefixes); diff != "" {
			t.Fatalf("what Parse made of\n%s\nwritten and parsed again (-first +again):\n%s", text, diff)
		}
	})
}

// checkProblems checks that an error of Parse has the documented form.
func checkProblems(t *testing.T, text string, err error) {
	t.Helper()
	if !errors.Is(err, config.ErrInvalid) {
		t.Fatalf("the error does not match ErrInvalid: %v", err)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("the error is no joined one: %T", err)
	}
	lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 1
	for _, err := range joined.Unwrap() {
		var p *config.Problem
		if !errors.As(err, &p) {
			t.Fatalf("no Problem: %v", err)
		}
		if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" || strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
			t.Fatalf("a text of %d lines has the problem %q", lines, err)
		}
	}
}
