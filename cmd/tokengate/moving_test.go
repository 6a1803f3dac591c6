package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tokengate/tokengate/envoy/envoytest"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// The commands in store/from-one-to-many.md, run in order with real stores, print the output shown. The service of
// systemctl is a process here, and etcdctl a client of etcd.
func TestMovingCommands(t *testing.T) {
	t.Parallel()
	dir := envoytest.Dir(t)
	client := etcdtest.Start(t, etcdtest.Options{}).Client()
	settings := strings.ReplaceAll(`
publicURL: https://jira.example.com
listen: {grpc: "unix://DIR/g", http: "unix://DIR/h", admin: "unix://DIR/a", metrics: "unix://DIR/m"}
`, "DIR", dir)
	config := dir + "/tokengate.yaml"
	write(t, config, settings+"store: {badger: {dir: "+dir+"/data}}\n")
	write(t, dir+"/tokengate-etcd.yaml", settings+`store: {etcd: {endpoints: ["`+client.Endpoints()[0]+"\"]}}\n")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(dir, "tokengate")); err != nil {
		t.Fatal(err)
	}
	places := strings.NewReplacer("/etc/tokengate/", dir+"/", "/backup/", dir+"/", "/var/lib/tokengate", dir+"/data")
	var id string
	shell := func(line string) string {
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = programEnv("PATH="+dir+":"+os.Getenv("PATH"), socketVariable+"="+dir+"/a", "ID="+id)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		return string(out)
	}
	var server *process
	serve := func() {
		server = start(t, "serve", "--config", config)
		server.waitFor(`"tokengate is ready"`)
	}
	serve()
	for _, name := range []string{"ci", "laptop"} {
		value, _, _ := strings.Cut(shell("tokengate token create --user fred --name "+name), "\n")
		remember(t, value)
		id = value[6:18]
	}
	ran := 0
	for _, block := range fences(read(t, "../../store/from-one-to-many.md"), "console moving$") {
		for _, step := range strings.Split("\n"+block, "\n$ ")[1:] {
			line, want, _ := strings.Cut(places.Replace(step), "\n")
			got := ""
			switch line {
			case "systemctl stop tokengate":
				if err := server.stop(); err != nil {
					t.Fatal(err)
				}
			case "systemctl start tokengate":
				serve()
			case "etcdctl del --prefix /tokengate/":
				if _, err := client.Delete(t.Context(), "/tokengate/", clientv3.WithPrefix()); err != nil {
					t.Fatal(err)
				}
			default:
				got = shell(line)
			}
			if ran++; !matches(want, got) {
				t.Errorf("%s\nprinted\n%s\nthe page says\n%s", line, got, want)
			}
			if found := findSecret(t, got); found != "" {
				t.Errorf("%s\nprinted %s", line, found)
			}
		}
	}
	if ran < 25 {
		t.Errorf("only %d commands ran", ran)
	}
}
