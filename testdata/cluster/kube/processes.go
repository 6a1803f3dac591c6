package kube

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// process is a program of the cluster with its arguments.
type process struct {
	name string
	path string // "": a built one of this name
	args string
}

// start starts all programs, and returns when the node is ready.
func (c Cluster) start(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if err := os.MkdirAll(filepath.Join(c.Dir, "logs"), 0o755); err != nil {
		return err
	}
	config := func(name string) string { return filepath.Join(c.Dir, name) }
	certs := config("certs")
	kubeconfig := " --kubeconfig " + config("kubeconfig")
	storage := []process{
		{"etcd", "", "--data-dir " + config("etcd") + " --unsafe-no-fsync --listen-client-urls " + etcdURL + " --advertise-client-urls " + etcdURL +
			" --listen-peer-urls " + etcdPeerURL + " --initial-advertise-peer-urls " + etcdPeerURL + " --initial-cluster default=" + etcdPeerURL + " --log-level warn"},
		{"containerd", "containerd", "--config " + config("containerd.toml")},
		{"kube-apiserver", "", "--etcd-servers " + etcdURL + " --bind-address 127.0.0.1 --secure-port 6443 --advertise-address " + NodeAddress +
			" --tls-cert-file " + certs + "/apiserver.crt --tls-private-key-file " + certs + "/apiserver.key --cert-dir " + certs +
			" --service-account-key-file " + certs + "/accounts.key --service-account-signing-key-file " + certs + "/accounts.key" +
			" --service-account-issuer https://kubernetes.default.svc --token-auth-file " + config("tokens.csv") +
			" --kubelet-client-certificate " + certs + "/kubelet-client.crt --kubelet-client-key " + certs + "/kubelet-client.key" +
			" --kubelet-preferred-address-types InternalIP --authorization-mode RBAC --service-cluster-ip-range " + services + " --allow-privileged"},
	}
	for _, p := range storage {
		if err := c.startProcess(p, fail); err != nil {
			return err
		}
	}
	if err := c.waitFor(ctx, "the API server", apiServerReady); err != nil {
		return err
	}
	if err := c.importImages(ctx); err != nil {
		return err
	}
	for _, p := range []process{
		{"kube-controller-manager", "", "--bind-address 127.0.0.1 --leader-elect=false --cluster-cidr 10.244.0.0/16 --service-account-private-key-file " +
			certs + "/accounts.key --root-ca-file " + certs + "/ca.crt" + kubeconfig},
		{"kube-scheduler", "", "--bind-address 127.0.0.1 --leader-elect=false" + kubeconfig},
		{"kubelet", "", "--config " + config("kubelet.yaml") + " --root-dir " + config("kubelet") + " --hostname-override node0 --node-ip " + NodeAddress + kubeconfig},
		{"kube-proxy", "", "--proxy-mode nftables --hostname-override node0 --bind-address 127.0.0.1 --cluster-cidr 10.244.0.0/16 --conntrack-max-per-core 0 --oom-score-adj 0" + kubeconfig},
		{"coredns", "", "-conf " + config("Corefile")},
	} {
		if err := c.startProcess(p, fail); err != nil {
			return err
		}
	}
	return c.waitFor(ctx, "the node", func(ctx context.Context) error {
		out, err := c.kubectl(ctx, "wait", "--for=condition=Ready", "node/node0", "--timeout=1s")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// startProcess starts a program, which must not end before the cluster does.
func (c Cluster) startProcess(p process, fail func(error)) error {
	log, err := os.OpenFile(filepath.Join(c.Dir, "logs", p.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	if p.path == "" {
		p.path = c.program(p.name)
	}
	cmd := exec.Command(p.path, strings.Fields(p.args)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() { fail(fmt.Errorf("%s ended: %w", p.name, cmp.Or(cmd.Wait(), errors.New("without an error")))) }()
	return nil
}

// waitFor calls ready until it returns nil, for two minutes.
func (c Cluster) waitFor(ctx context.Context, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); cause != ctx.Err() {
				err = cause
			}
			return fmt.Errorf("%s is not ready: %w; the logs are in %s", what, err, filepath.Join(c.Dir, "logs"))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func apiServerReady(ctx context.Context) error {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // only asks whether it is up
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, apiServer+"/livez", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode >= 500 {
		return errors.Join(fmt.Errorf("%s: %s", resp.Status, body), err)
	}
	return nil
}

// importImages gives containerd the images: there is no registry.
func (c Cluster) importImages(ctx context.Context) error {
	archives, err := filepath.Glob(filepath.Join(c.Images, "*.tar"))
	if err != nil {
		return err
	}
	for _, a := range archives {
		ctr := exec.CommandContext(ctx, "ctr", "--address", filepath.Join(c.Dir, "containerd.sock"), "--namespace", "k8s.io", "images", "import", a)
		if out, err := ctr.CombinedOutput(); err != nil {
			return fmt.Errorf("import %s: %w: %s", a, err, out)
		}
	}
	return nil
}

func (c Cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, c.program("kubectl"), append([]string{"--kubeconfig", filepath.Join(c.Dir, "kubeconfig")}, args...)...).CombinedOutput()
	return string(out), err
}
