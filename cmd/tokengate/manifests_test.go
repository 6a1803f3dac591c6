package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tokengate/tokengate/envoy/envoytest"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// What the manifests start is what runs here: tokengate with its configuration, Envoy with
// the one that the init container's command makes, and Envoy's hook. Addresses and paths
// are mapped.
func TestManifests(t *testing.T) {
	for _, m := range []struct {
		dir, pod string
		bypass   bool
	}{
		{"gateway", "deployment.yaml", false},
		{"gateway-badger", "deployment.yaml", true},
		{"sidecar", "statefulset.yaml", true},
	} {
		t.Run(m.dir, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, m.dir, m.pod)
			r := p.rig
			r.send(request{path: dashboard})
			_, metrics := r.probe("/metrics")
			if asked := decided.MatchString(metrics); asked == m.bypass {
				t.Errorf("Envoy asks about browsers, which lose Jira if nobody answers: %v", asked)
			}

			value := r.mint("ci", "--read-only")
			for i, c := range []struct {
				q      request
				status int
				user   string
			}{
				{request{auth: bearer(value)}, 200, "Fred"},
				{request{auth: basic("fred", value.Reveal())}, 200, "Fred"},
				{request{auth: bearer(value), method: "POST", path: "/rest/api/2/issue"}, 403, ""},
				{request{auth: basic("fred", "yabba")}, 200, "Fred"},
				{request{path: dashboard, header: http.Header{"X-Forwarded-User": {"admin"}}}, 200, ""},
				{request{path: "/rest/api-tokens/latest/me"}, 401, ""},
			} {
				r.jira.Reset()
				if got := r.send(c.q); got.status != c.status {
					t.Errorf("request %d: %d, want %d: %s", i, got.status, c.status, got.body)
				}
				if seen, heard := r.jira.Last(); heard && seen.User != c.user {
					t.Errorf("request %d: Jira saw %q, want %q", i, seen.User, c.user)
				}
			}
			// Kubernetes changes a file by replacing a link to its directory.
			p.mount(read(t, r.config) + "\nbearer: {other: refuse}\n")
			r.gate.waitFor("the configuration file was reloaded")
			if got := r.send(request{auth: "Bearer MDEyMzQ1Njc4OTo"}); got.status != 401 {
				t.Errorf("the changed configuration is not in force: %d", got.status)
			}

			r.run("token", "revoke", value.ID().String())
			if got := r.send(request{auth: bearer(value)}); got.status != 401 {
				t.Errorf("revoked: %d", got.status)
			}

			noRedirects.CloseIdleConnections() // other tests only have to connect again
			hook := exec.Command(p.path(p.drain[0]), p.args(p.drain)...)
			hook.Env = programEnv()
			if out, err := hook.CombinedOutput(); err != nil {
				t.Fatalf("Envoy's hook: %v: %s", err, out)
			}
			answer, err := http.Get(r.envoy.URL + "/plugins/servlet/api-tokens/healthz")
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			io.Copy(io.Discard, answer.Body)
			if answer.StatusCode != 503 || !answer.Close {
				t.Errorf("after its hook, Envoy answers %d, and closes the connection: %v", answer.StatusCode, answer.Close)
			}
		})
	}
}

// decided are requests without a credential, in the metrics.
var decided = regexp.MustCompile(`tokengate_decisions_total\{[^}]*"no_credential"[^}]*\} [1-9]`)

// pod is a rig of a pod's containers.
type pod struct {
	*rig
	drain []string // Envoy's hook
}

// newPod starts what a pod of k8s/dir starts, in its order.
func newPod(t *testing.T, dir, file string) *pod {
	t.Helper()
	p := &pod{rig: newJira(t, options{})}
	for _, name := range []string{"config", "envoy", "etcd"} {
		if err := os.Mkdir(filepath.Join(p.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	settings := p.relocate(read(t, filepath.Join("../../k8s", dir, "tokengate.yaml")))
	if strings.Contains(settings, "endpoints:") {
		certificates := p.dir + "/etcd"
		envoytest.NewAuthority(t).Write(certificates, "127.0.0.1")
		cluster := etcdtest.Start(t, etcdtest.Options{Scheme: "https", Args: []string{
			"--cert-file=" + certificates + "/tls.crt", "--key-file=" + certificates + "/tls.key",
			"--client-cert-auth", "--trusted-ca-file=" + certificates + "/ca.crt",
		}})
		members := regexp.MustCompile(`(?m)(^ +- )https://tokengate-etcd(.*\n +- https://tokengate-etcd)*.*$`)
		settings = strings.ReplaceAll(members.ReplaceAllString(settings, "${1}"+cluster.Nodes[0].Endpoint), "/etc/tokengate-etcd", certificates)
	}
	if strings.Contains(settings, "replicas:") {
		certificates := p.dir + "/replicas"
		if err := os.Mkdir(certificates, 0o700); err != nil {
			t.Fatal(err)
		}
		envoytest.NewAuthority(t).Write(certificates, "tokengate-replicas")
		settings = strings.NewReplacer("/etc/tokengate-replicas", certificates,
			"0.0.0.0:9001", "127.0.0.1:"+freePort(t), "0.0.0.0:9002", "127.0.0.1:"+freePort(t)).Replace(settings)
	}
	p.config = p.dir + "/config/tokengate.yaml"
	p.mount(settings)

	var object struct {
		Spec struct {
			Template struct {
				Spec struct {
					InitContainers []container `yaml:"initContainers"`
					Containers     []container
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join("../../k8s", dir, file))), &object); err != nil {
		t.Fatal(err)
	}
	for _, c := range slices.Concat(object.Spec.Template.Spec.InitContainers, object.Spec.Template.Spec.Containers) {
		switch c.Name {
		case "envoy-config":
			made := start(t, p.args(c.Command)...)
			if code := made.exitCode(); code != 0 {
				t.Fatalf("%q: exit %d: %s", c.Command, code, made.log)
			}
		case "tokengate":
			p.gate = start(t, p.args(c.Command)...)
			p.gate.waitFor(`"tokengate is ready"`)
		case "envoy":
			p.drain = c.Lifecycle.PreStop.Exec.Command
			p.startEnvoy(p.path(read(t, p.path(c.Args[slices.Index(c.Args, "--config-path")+1]))))
		}
	}
	return p
}

// container is the part of a manifest that is used.
type container struct {
	Name          string
	Command, Args []string
	Lifecycle     struct {
		PreStop struct{ Exec struct{ Command []string } } `yaml:"preStop"`
	}
}

// path maps the paths and addresses of a pod to the test's.
func (p *pod) path(text string) string {
	return strings.NewReplacer(
		"/etc/tokengate/", p.dir+"/config/",
		"/etc/envoy/", p.dir+"/envoy/",
		"/run/envoy/admin.sock", p.dir+"/e",
		"0.0.0.0:8000", "127.0.0.1:0",
		"0.0.0.0:9465", "127.0.0.1:0",
	).Replace(text)
}

// args are the arguments of a command.
func (p *pod) args(command []string) (args []string) {
	for _, word := range command[1:] {
		args = append(args, p.path(word))
	}
	return args
}

// mount puts the configuration where Kubernetes mounts it, and replaces what is there as
// Kubernetes does.
func (p *pod) mount(settings string) {
	p.t.Helper()
	dir := filepath.Dir(p.config)
	version, err := os.MkdirTemp(dir, "..")
	if err != nil {
		p.t.Fatal(err)
	}
	file := filepath.Base(p.config)
	if err := os.WriteFile(filepath.Join(version, file), []byte(settings), 0o600); err != nil {
		p.t.Fatal(err)
	}
	next := filepath.Join(dir, "..next")
	if err := os.Symlink(filepath.Base(version), next); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Symlink("..data/"+file, p.config); err != nil && !os.IsExist(err) {
		p.t.Fatal(err)
	}
}
