// Package kube starts a one-node Kubernetes from its programs.
package kube

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// PauseImage is the image of the container that holds a pod's namespaces.
const PauseImage = "docker.io/library/pause:1"

// Cluster is a cluster that runs, or may run. There is at most one on a machine.
type Cluster struct {
	Dir    string // its state, configuration and logs; removed at the end, except for the logs
	Tools  string // the directory of programs that the Makefile has fetched
	Images string // the directory of the images' archives
}

// debian are the programs from Debian's packages, and their packages.
var debian = map[string]string{
	"containerd": "containerd", "ctr": "containerd", "runc": "runc", "ip": "iproute2", "iptables": "iptables", "ipset": "ipset", "nft": "nftables",
	"/usr/lib/cni/bridge": "containernetworking-plugins",
}

// built are the programs that `make cluster-tools` builds.
var built = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl", "kube-router", "coredns"}

// Check says what is missing on this machine.
func (c Cluster) Check() error {
	var missing []string
	for program, of := range debian {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (Debian's %s)", program, of))
		}
	}
	for _, name := range built {
		if _, err := os.Stat(c.program(name)); err != nil {
			missing = append(missing, c.program(name))
		}
	}
	if missing != nil {
		return fmt.Errorf("missing: %s; run make cluster-tools", strings.Join(missing, ", "))
	}
	return nil
}

func (c Cluster) program(name string) string {
	if name == "etcd" {
		return filepath.Join(c.Tools, "etcd")
	}
	return filepath.Join(c.Tools, "kubernetes", name)
}

// Failed is the exit code of a command that was run in the cluster, and has said why it failed.
type Failed int

func (f Failed) Error() string { return fmt.Sprintf("the command failed with exit code %d", int(f)) }

// Run starts the cluster in the namespaces of this process, runs a command in it, and ends it. Without a command it waits
// until ctx ends.
func (c Cluster) Run(ctx context.Context, command []string) error {
	if err := c.prepare(); err != nil {
		return err
	}
	token := rand.Text()
	if err := errors.Join(c.writeConfigs(token), c.writeCerts()); err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sleep", "infinity")
	if len(command) > 0 {
		cmd = exec.CommandContext(ctx, command[0], command[1:]...)
	} else {
		fmt.Printf("The cluster is running. In another terminal:\n\n    nsenter --target $(pgrep -f %s) --mount --net --pid bash\n    export KUBECONFIG=%s/kubeconfig PATH=%s:$PATH\n\nCtrl-C ends it.\n",
			"'cluster run-inside'", c.Dir, filepath.Dir(c.program("kubectl")))
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(c.Dir, "kubeconfig"), "CONTAINERD_ADDRESS="+filepath.Join(c.Dir, "containerd.sock"),
		"CONTAINERD_NAMESPACE=k8s.io", "CLUSTER_DIR="+c.Dir, "PATH="+filepath.Dir(c.program("kubectl"))+":"+os.Getenv("PATH"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil // Ctrl-C
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return Failed(exit.ExitCode())
	}
	return err
}

// prepare makes the mounts and the network of the namespaces, and the cgroups.
func (c Cluster) prepare() error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	// What the programs write to fixed places stays in here.
	for _, dir := range []string{"/run", "/var/log", "/var/lib/cni"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	// kubelet mounts volumes in its directory, and containers must see them.
	if err := errors.Join(syscall.Mount(c.Dir, c.Dir, "", syscall.MS_BIND, ""), syscall.Mount("", c.Dir, "", syscall.MS_REC|syscall.MS_SHARED, "")); err != nil {
		return fmt.Errorf("mount %s: %w", c.Dir, err)
	}
	if err := makeCgroups(); err != nil {
		return err
	}
	for _, args := range []string{
		"link set lo up",
		"link add node0 type bridge", // not every kernel has the type dummy
		"addr add " + NodeAddress + "/24 dev node0",
		"link set node0 up",
		"route add default via 10.99.0.254 dev node0 onlink",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	// Each is a default of Kubernetes' distributions. The second exists only with a module for bridges, which some kernels lack.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0o644)
	return nil
}

// Remove ends the processes of a run that was killed, and removes its cgroups and state. The logs stay.
func (c Cluster) Remove() error {
	for _, pid := range processesOfCgroups() {
		return fmt.Errorf("process %s of an earlier cluster still runs: end the process \"cluster run\" first", pid)
	}
	if err := removeCgroups(); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Name() != "logs" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.Dir, e.Name())))
		}
	}
	return err
}
