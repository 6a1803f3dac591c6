package doctor

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The page has a section for each check, in their order, with its title and what to do.
func TestPage(t *testing.T) {
	text, err := os.ReadFile("../../../" + Page)
	if err != nil {
		t.Fatal(err)
	}
	_, sections, _ := strings.Cut(string(text), "\n## Checks\n")
	var got, want []string
	section := regexp.MustCompile(`(?m)^### (\S+)\n\n\*\*(.+)\.\*\* (.+)\n\n(.+)\n`)
	for _, m := range section.FindAllStringSubmatch(sections, -1) {
		got = append(got, m[1]+": "+m[2]+": "+m[4])
	}
	seen := make(map[string]bool)
	for _, c := range Checks {
		want = append(want, c.ID+": "+strings.ToUpper(c.Title[:1])+c.Title[1:]+": "+c.Do)
		if seen[c.ID] {
			t.Errorf("two checks are %s", c.ID)
		}
		seen[c.ID] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-code +page):\n%s", Page, diff)
	}
	if n := strings.Count(sections, "\n### "); n != len(Checks) {
		t.Errorf("%d sections for %d checks", n, len(Checks))
	}
}
