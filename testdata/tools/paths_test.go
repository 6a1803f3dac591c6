package tools_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

var filePath = regexp.MustCompile(`/(?:etc|run|var)/[^\s,"]+`)

// Every file that the commands and tokengate's configuration name is in a volume of the
// containers that use it.
func TestPaths(t *testing.T) {
	for where, o := range deployed(t) {
		for name, pod := range o.pods {
			uses := map[string][]string{}
			for container, c := range containers(pod) {
				for _, word := range slices.Concat(c.Command, c.Args, hook(c)) {
					for _, path := range filePath.FindAllString(word, -1) {
						by := container
						if container == "envoy-config" && (strings.HasPrefix(word, "--tls-") || strings.HasPrefix(word, "--envoy-admin=")) {
							by = "envoy" // for which it writes them down
						}
						uses[by] = append(uses[by], path)
					}
				}
			}
			if _, ok := containers(pod)["tokengate"]; ok {
				var config struct{ Listen, Store, Directory any }
				var shared struct {
					Listen struct {
						GRPC, HTTP string
						Replicas   any
					}
				}
				for _, m := range o.configMaps {
					if err := yaml.Unmarshal([]byte(m.Data["tokengate.yaml"]), &config); err != nil {
						t.Fatal(err)
					}
					if err := yaml.Unmarshal([]byte(m.Data["tokengate.yaml"]), &shared); err != nil {
						t.Fatal(err)
					}
				}
				uses["tokengate"] = append(uses["tokengate"], pathsIn(t, config)...)
				uses["envoy"] = append(uses["envoy"], pathsIn(t, shared)...)
			}
			for container, paths := range uses {
				for _, path := range paths {
					if !slices.ContainsFunc(containers(pod)[container].VolumeMounts, func(m corev1.VolumeMount) bool {
						return path == m.MountPath || strings.HasPrefix(path, m.MountPath+"/")
					}) {
						t.Errorf("%s: %s: %s has no volume with %s", where, name, container, path)
					}
				}
			}
		}
	}
}

// pathsIn are the files that a configuration names.
func pathsIn(t *testing.T, config any) []string {
	t.Helper()
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return filePath.FindAllString(string(text), -1)
}

// hook is the command that runs before a container stops.
func hook(c corev1.Container) []string {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return nil
	}
	return c.Lifecycle.PreStop.Exec.Command
}
