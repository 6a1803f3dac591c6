package main

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
)

// documents are the READMEs, in the order in which their commands run. Paths are
// from the repository's top.
var documents = []string{"README.md", "authz/web/README.md", "cmd/tokengate/README.md", "authz/README.md", "authz/upstream/README.md", "envoy/README.md", "store/README.md", "k8s/README.md", "k8s/doctor.md", "testdata/bench/README.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md", ".github/CHANGELOG.md"}

// The front page is short.
func TestReadmeLength(t *testing.T) {
	if n := len(strings.Fields(read(t, "../../README.md"))); n > 1300 {
		t.Errorf("README.md has %d words", n)
	}
}

// The table of decisions in authz/README.md lists the reasons of the code in its order.
func TestReadmeDecisionTable(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| .* \\| (.*) \\| `(\\w+)` \\|$")
	var got, want []string
	for _, m := range row.FindAllStringSubmatch(read(t, "../../authz/README.md"), -1) {
		got = append(got, m[2]+": "+m[1])
	}
	for _, reason := range authz.Reasons() {
		var answers []string
		for _, outcome := range reason.Outcomes() {
			switch outcome {
			case authz.PassThrough:
				answers = append(answers, "pass")
			case authz.Allowed:
				answers = append(answers, "allow")
			default:
				answers = append(answers, strconv.Itoa(reason.Status()))
			}
		}
		want = append(want, reason.String()+": "+strings.Join(answers, " or "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decisions (-code +README):\n%s", diff)
	}
}

// The README lists exactly the direct dependencies, each with its reason.
func TestReadmeDependencies(t *testing.T) {
	var direct []string
	for line := range strings.Lines(read(t, "../../go.mod")) {
		if fields := strings.Fields(line); len(fields) == 2 && strings.Contains(fields[0], ".") && fields[0] != "module" && fields[0] != "go" {
			direct = append(direct, fields[0])
		}
	}
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^\| \x60?([a-z0-9.]+\.[a-z]+/[^\s\x60]+)\x60? \| .{10,} \|$`).FindAllStringSubmatch(read(t, "../../README.md"), -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(direct)
	slices.Sort(listed)
	if diff := cmp.Diff(direct, listed); diff != "" {
		t.Errorf("dependencies (-go.mod +README):\n%s", diff)
	}
}

// Every link leads to a file or a heading, and every make command is a target.
func TestReadmeLinks(t *testing.T) {
	makefile := read(t, "../../Makefile")
	for _, document := range append(slices.Clip(documents), "store/from-one-to-many.md", "k8s/monitoring/README.md", "k8s/atlassian/README.md") {
		text := read(t, "../../"+document)
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			linked := filepath.Join("../..", document)
			if file != "" {
				linked = filepath.Join("../..", filepath.Dir(document), file)
			}
			if _, err := os.Stat(linked); err != nil {
				t.Errorf("%s links to %s: %v", document, m[1], err)
				continue
			}
			heading := "(?im)^#+ " + strings.ReplaceAll(regexp.QuoteMeta(anchor), "-", " ") + "$"
			if anchor != "" && !regexp.MustCompile(heading).MatchString(read(t, linked)) {
				t.Errorf("%s links to %s, which is not a heading", document, m[1])
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+": ") {
				t.Errorf("%s says make %s, which is not a target", document, m[1])
			}
		}
	}
}

// testdata/bench/README.md contains the head and the targets of the last published bench
// run. -update writes them.
func TestReadmeSpeed(t *testing.T) {
	whole := read(t, "../../testdata/bench/bench.md")
	head, _, _ := strings.Cut(whole, "\n\n")
	_, targets, _ := strings.Cut(whole, "**Targets**\n")
	want := "\n" + head + "\n" + targets
	const speedDocument = "../../testdata/bench/README.md"
	const begin, end = "<!-- bench -->\n", "<!-- /bench -->\n"
	before, rest, _ := strings.Cut(read(t, speedDocument), begin)
	got, after, _ := strings.Cut(rest, end)
	if *updateReadme {
		if err := os.WriteFile(speedDocument, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if targets == "" {
		t.Error("the published run has no targets")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("figures (-testdata/bench +README; -update rewrites them):\n%s", diff)
	}
}

var updateReadme = flag.Bool("update", false, "rewrite what READMEs and tests take from a running program")

// fences returns a README's code blocks whose info string begins with kind.
func fences(text, kind string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+kind+"[^\n]*\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// The commands in the READMEs' console blocks, run in order against the whole product,
// print the output shown. `…` matches anything.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{settings: func(yaml string) string { return yaml }})
	var readme string
	for _, document := range documents {
		readme += read(t, "../../"+document)
	}
	dir := t.TempDir()
	for _, file := range []string{"tokengate.yaml", "people.yaml", "pat.yaml"} {
		blocks := fences(readme, "yaml file="+file)
		if len(blocks) != 1 {
			t.Fatalf("%d blocks of %s", len(blocks), file)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(blocks[0]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if ran := r.runBlocks(fences(readme, "console$"), dir); ran < 10 {
		t.Errorf("only %d commands ran", ran)
	}
}

// runBlocks runs the commands of console blocks in a directory, and compares what they print with what the
// blocks show. It returns their number. The file token holds the value of the last token.
func (r *rig) runBlocks(blocks []string, dir string) (ran int) {
	r.t.Helper()
	t := r.t
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(dir, "tokengate")); err != nil {
		t.Fatal(err)
	}
	token := func() string {
		file, _ := os.ReadFile(filepath.Join(dir, "token"))
		return string(file)
	}
	shell := func(line string) string {
		id := ""
		if value := token(); len(value) > 18 {
			id = value[6:18]
		}
		cmd := exec.CommandContext(context.Background(), "sh", "-c", line)
		cmd.Dir = dir
		cmd.Env = programEnv("PATH="+dir+":"+os.Getenv("PATH"), socketVariable+"="+r.dir+"/a", "ID="+id, "CONFIG="+r.config)
		out, _ := cmd.CombinedOutput() // explain fails where the request would be refused
		return string(out)
	}
	for _, block := range blocks {
		for _, step := range strings.Split("\n"+block, "\n$ ")[1:] {
			line, want, _ := strings.Cut(step, "\n")
			if strings.HasSuffix(line, " &") {
				continue // the server and Envoy: the rig runs both
			}
			var got string
			if strings.HasPrefix(line, "curl ") {
				got = r.curl(line, dir)
				// A creation shows the value, and nothing else does.
				creation := regexp.MustCompile(`^(\{"passwordValue":")(tgate_)(\w{61})`)
				if m := creation.FindStringSubmatch(got); m != nil {
					if err := os.WriteFile(filepath.Join(dir, "token"), []byte(m[2]+m[3]), 0o600); err != nil {
						t.Fatal(err)
					}
					remember(t, token())
				}
				got = creation.ReplaceAllString(got, "$1$2")
			} else {
				got = shell(line)
				remember(t, token())
			}
			ran++
			if found := findSecret(t, got); found != "" {
				t.Errorf("%s\nprinted %s", line, found)
			}
			if !matches(want, got) {
				t.Errorf("%s\nprinted\n%s\nthe README says\n%s", line, got, want)
			}
		}
	}
	return ran
}

// matches reports whether got is want, where `…` matches anything. It ignores case,
// because the tests' Jira spells fred with a capital.
func matches(want, got string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(want)), "…", "(?s:.*)")
	return regexp.MustCompile(`(?i)^\s*` + pattern + `\s*$`).MatchString(strings.ReplaceAll(got, "\r", ""))
}

// curl sends the request of a curl line in a README. It does not need curl.
func (r *rig) curl(line, dir string) string {
	r.t.Helper()
	value, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	line = strings.NewReplacer("$TOKEN", strings.TrimSpace(string(value)), "$PASSWORD", "yabba").Replace(line)
	m := regexp.MustCompile(`^curl -s(?: -u "([^:]+):([^"]+)")?(?: -H "([^:]+): ([^"]+)")?(?: -d '([^']+)')? (?:"\$JIRA([^"]+)"|\$JIRA([^\s"&?]+))$`).FindStringSubmatch(line)
	if m == nil {
		r.t.Fatalf("a curl line of another form")
	}
	q := request{path: m[6] + m[7], header: http.Header{}}
	if m[1] != "" {
		q.auth = basic(m[1], m[2])
	}
	if m[3] != "" {
		q.header.Set(m[3], m[4])
	}
	if m[5] != "" {
		q.method, q.body = http.MethodPost, strings.NewReader(m[5])
	}
	return r.send(q).body
}
