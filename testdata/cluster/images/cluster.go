package images

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// created is the time of the cluster's images: any constant, so that the same files give the same image.
var created = time.Unix(0, 0)

// WriteCluster writes the images of the tests' cluster to a directory: tokengate, standin and etcd from the directory of
// programs, Envoy from its binary and this machine's C library. Names contain the tags that the manifests use.
func WriteCluster(dir, programs, envoy string) error {
	tokengate, err := Tokengate(filepath.Join(programs, "tokengate"), runtime.GOARCH, "0.1.0", "", created)
	if err != nil {
		return err
	}
	envoyFiles, err := withLibraries(File{Path: "/usr/local/bin/envoy", Source: envoy, Mode: 0o755})
	if err != nil {
		return err
	}
	shell, err := withLibraries(File{Path: "/bin/sh", Source: "/bin/dash", Mode: 0o755}, File{Path: "/bin/sleep", Source: "/bin/sleep", Mode: 0o755})
	if err != nil {
		return err
	}
	standin := File{Path: "/usr/local/bin/standin", Source: filepath.Join(programs, "standin"), Mode: 0o755}
	path := []string{"PATH=/usr/local/bin:/bin"}
	for name, spec := range map[string]Spec{
		"docker.io/library/tokengate:0.1.0": tokengate,
		"docker.io/library/pause:1":         {Entrypoint: []string{"/usr/local/bin/standin", "pause"}, Files: []File{standin}, User: "65535:65535"},
		"docker.io/library/standin:1":       {Entrypoint: []string{"/usr/local/bin/standin"}, Files: []File{standin}, Env: path, User: "65532:65532"},
		"docker.io/envoyproxy/envoy:distroless-v1.40.0": {
			Entrypoint: []string{"/usr/local/bin/envoy"}, Files: envoyFiles, Env: path, User: "101:101",
		},
		"docker.io/atlassian/jira-software:11.3.10": {
			Entrypoint: []string{"/usr/local/bin/standin", "jira"}, Env: path,
			Files: append(shell, standin, File{Path: "/shutdown-wait.sh", Content: []byte("#!/bin/sh\n"), Mode: 0o755}),
		},
		"registry.k8s.io/etcd:v3.7.3": {
			Entrypoint: []string{"/usr/local/bin/etcd"}, Env: path,
			Files: []File{
				{Path: "/usr/local/bin/etcd", Source: filepath.Join(programs, "etcd"), Mode: 0o755},
				{Path: "/usr/local/bin/etcdctl", Source: filepath.Join(programs, "etcdctl"), Mode: 0o755},
			},
		},
	} {
		spec.Arch, spec.Created, spec.Fast = runtime.GOARCH, created, true
		image, err := Build(spec)
		if err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		if err := WriteArchive(filepath.Join(dir, strings.NewReplacer("/", "_", ":", "_").Replace(name)+".tar"), name, image); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
	}
	return nil
}

var loaded = regexp.MustCompile(`(?m)(/\S+) \(0x`)

// withLibraries returns programs and the shared libraries that they load on this machine, which ldd prints.
func withLibraries(programs ...File) ([]File, error) {
	all := programs
	have := make(map[string]bool)
	for _, p := range programs {
		out, err := exec.Command("ldd", p.Source).Output()
		if err != nil {
			return nil, fmt.Errorf("ldd %s: %w", p.Source, err)
		}
		for _, m := range loaded.FindAllStringSubmatch(string(out), -1) {
			if lib := m[1]; !have[lib] {
				have[lib] = true
				all = append(all, File{Path: lib, Source: lib, Mode: 0o755})
			}
		}
	}
	return all, nil
}
