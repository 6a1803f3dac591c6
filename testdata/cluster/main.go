// Command cluster runs a whole one-node Kubernetes: its real programs, containerd, runc, CNI plugins, CoreDNS and
// kube-router. It needs root, Linux, and what `make cluster-tools` fetches, and runs in the repository's root.
//
//	cluster run [COMMAND [ARG...]]   start it, run a command in it, and remove it
//	cluster images PROGRAMS ENVOY    write the images that it has, from a directory of programs
//	cluster down                     remove what a killed run has left
//
// Everything runs in PID, mount, network and IPC namespaces of its own. When the first process in there ends, the kernel ends all
// others and removes the mounts and network interfaces. Only cgroups and files are left to remove.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/tokengate/tokengate/testdata/cluster/images"
	"github.com/tokengate/tokengate/testdata/cluster/kube"
)

// The first arguments of the first process in the namespaces, and of its child that runs the cluster.
const (
	inside = "run-inside"
	second = "run-second"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if failed, ok := errors.AsType[kube.Failed](err); ok && failed > 0 {
			os.Exit(int(failed))
		}
		fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("the command is run or down")
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	c := kube.Cluster{Dir: filepath.Join(root, ".build", "cluster"), Tools: filepath.Join(root, ".tools"), Images: filepath.Join(root, ".build", "cluster-images")}
	switch args[0] {
	case "run":
		return outside(c, args[1:])
	case "down":
		return c.Remove()
	case "images":
		if len(args) != 3 {
			return errors.New("images takes the directory of programs and Envoy's binary")
		}
		return images.WriteCluster(c.Images, args[1], args[2])
	case inside:
		return reap(append([]string{os.Args[0], second}, args[1:]...))
	case second:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return c.Run(ctx, args[1:])
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// outside runs this program again in namespaces of its own, and removes what is left after it.
func outside(c kube.Cluster, command []string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root, for namespaces, mounts and cgroups")
	}
	if err := c.Check(); err != nil {
		return err
	}
	// Of an earlier run that was killed.
	if err := c.Remove(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	cmd := exec.Command(self, append([]string{inside}, command...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start in namespaces of its own: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	defer func() { err = errors.Join(err, c.Remove()) }()
	for {
		select {
		case err := <-done:
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return kube.Failed(exit.ExitCode())
			}
			return err
		case s := <-signals:
			_ = cmd.Process.Signal(s)
		}
	}
}

// reap runs this program with other arguments as a child, and waits for the processes whose parents have ended, as the
// first process of a PID namespace must.
func reap(args []string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount /: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	child, err := syscall.ForkExec(self, args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return err
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(child, s.(syscall.Signal))
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		case pid == child && status.Exited():
			os.Exit(status.ExitStatus())
		case pid == child:
			return fmt.Errorf("the cluster's process ended: %v", status.Signal())
		}
	}
}
