package images_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/tokengate/tokengate/testdata/cluster/images"
)

var created = time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)

// buildTokengate builds the program as the image contains it.
func buildTokengate(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tokengate")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=1.2.3", "-o", program, "./cmd/tokengate")
	build.Dir = "../../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build tokengate: %v\n%s", err, out)
	}
	return program
}

func TestTokengate(t *testing.T) {
	program := buildTokengate(t)
	spec, err := images.Tokengate(program, runtime.GOARCH, "1.2.3", "0123abc", created)
	if err != nil {
		t.Fatal(err)
	}
	image, err := images.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	size, err := images.CompressedSize(image)
	if err != nil || size > 17e6 {
		t.Errorf("the image has %d bytes, want at most 17 MB; error %v", size, err)
	}
	again, err := images.Build(spec)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := digest(t, image), digest(t, again); a != b {
		t.Errorf("the same files give the images %s and %s", a, b)
	}

	files := filesOf(t, image)
	if body, err := os.ReadFile(program); err != nil || !bytes.Equal(files["usr/local/bin/tokengate"], body) {
		t.Errorf("the image does not contain the program; error %v", err)
	}
	if n := bytes.Count(files["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERTIFICATE")); n < 50 {
		t.Errorf("the image has %d certificate authorities", n)
	}
	if _, found := files["tmp"]; !found {
		t.Error("the image has no /tmp")
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{"version": "1.2.3", "revision": "0123abc"} {
		if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("the label %s is %q, want %q", label, got, want)
		}
	}
	sameAsDockerfile(t, config.Config)

	if _, err := images.Tokengate(program, "s390x", "", "", created); err == nil {
		t.Error("a program for another architecture is accepted")
	}
}

// sameAsDockerfile compares the image with the last stage of k8s/Dockerfile.
func sameAsDockerfile(t *testing.T, config v1.Config) {
	t.Helper()
	body, err := os.ReadFile("../../../k8s/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, _ := strings.Cut(string(body), "\nFROM gcr.io/distroless/static-debian12:nonroot\n")
	last = strings.ReplaceAll(last, "\\\n", " ")
	instruction := func(name string) string {
		return regexp.MustCompile(`(?m)^` + name + ` +(.*)$`).FindStringSubmatch(last)[1]
	}
	var entrypoint []string
	if err := json.Unmarshal([]byte(instruction("ENTRYPOINT")), &entrypoint); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(entrypoint, config.Entrypoint); diff != "" {
		t.Errorf("entrypoint (-Dockerfile +image):\n%s", diff)
	}
	if diff := cmp.Diff(strings.Fields(instruction("ENV")), config.Env); diff != "" {
		t.Errorf("environment (-Dockerfile +image):\n%s", diff)
	}
	if got := instruction("USER"); got != config.User {
		t.Errorf("the user is %s in the Dockerfile, %s in the image", got, config.User)
	}
	for _, label := range strings.Fields(instruction("LABEL")) {
		if key, value, _ := strings.Cut(label, "="); config.Labels[key] != value {
			t.Errorf("the label %s is %q in the Dockerfile, %q in the image", key, value, config.Labels[key])
		}
	}
}

func TestArchive(t *testing.T) {
	var all []v1.Image
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := images.Build(images.Spec{Arch: arch, Files: []images.File{{Path: "/a/b", Content: []byte(arch), Mode: 0o644}}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, image)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := images.WriteArchive(file, "example.com/a:1", all...); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xf", file, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("the archive has the index %+v, error %v", manifest, err)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = index.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	var archs []string
	for _, m := range manifest.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		archs = append(archs, m.Platform.Architecture)
		if got := string(filesOf(t, image)["a/b"]); got != m.Platform.Architecture {
			t.Errorf("the image for %s contains %q", m.Platform.Architecture, got)
		}
	}
	if want := []string{"amd64", "arm64"}; !slices.Equal(archs, want) {
		t.Errorf("the archive has images for %v, want %v", archs, want)
	}
}

func TestSBOM(t *testing.T) {
	program := buildTokengate(t)
	var list bytes.Buffer
	if err := images.WriteSBOM(&list, program, "1.2.3", created); err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BOMFormat, SpecVersion string
		Metadata               struct{ Component struct{ Purl string } }
		Components             []struct{ Name, Version, Purl string }
	}
	if err := json.Unmarshal(list.Bytes(), &bom); err != nil || bom.BOMFormat != "CycloneDX" || bom.SpecVersion == "" {
		t.Fatalf("format %q %q, error %v", bom.BOMFormat, bom.SpecVersion, err)
	}
	if want := "pkg:golang/github.com/tokengate/tokengate@1.2.3"; bom.Metadata.Component.Purl != want {
		t.Errorf("the program is %s, want %s", bom.Metadata.Component.Purl, want)
	}
	got := make(map[string]string)
	for _, c := range bom.Components {
		got[c.Name] = c.Version
		if c.Purl != "pkg:golang/"+c.Name+"@"+c.Version {
			t.Errorf("%s has the address %s", c.Name, c.Purl)
		}
	}
	out, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"std": runtime.Version()}
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(string(out), -1) {
		want[m[1]] = m[2]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modules (-go version -m +list):\n%s", diff)
	}
}

func digest(t *testing.T, image v1.Image) string {
	t.Helper()
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func filesOf(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	all := mutate.Extract(image)
	defer all.Close()
	for r := tar.NewReader(all); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
