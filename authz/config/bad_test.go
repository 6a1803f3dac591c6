package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
)

var update = flag.Bool("update", false, "update the expected errors in testdata/config/bad")

const testdata = "../../testdata/config"

// problemLine is the form of every line of an error.
var problemLine = regexp.MustCompile(`^[a-z-]+\.yaml:[1-9][0-9]*:[1-9][0-9]*: (\S.*: )?\S.*[^.]$`)

// The error of every file in testdata/config/bad is in the text file next to it.
func TestBad(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testdata, "bad", "*.yaml"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d bad files, error %v; want at least 30", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := config.Parse(name, data)
			if err == nil {
				t.Fatal("Parse accepted the file")
			}
			if diff := cmp.Diff(config.Config{}, c, comparePrefixes); diff != "" {
				t.Errorf("Config beside the error (-zero +got):\n%s", diff)
			}
			if !errors.Is(err, config.ErrInvalid) {
				t.Error("the error does not match ErrInvalid")
			}
			got := err.Error() + "\n"
			for line := range strings.Lines(got) {
				if !problemLine.MatchString(strings.TrimSuffix(line, "\n")) {
					t.Errorf("no line of the form FILE:LINE:COLUMN: KEY: MESSAGE: %q", line)
				}
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}
