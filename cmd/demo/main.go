// Command demo runs tokengate behind a real Envoy, in front of a Jira in which nothing is
// installed, and shows how tokens are used, allowed and denied. make demo runs it; start reading at scenario.go.
//
// With the argument cluster, which make demo-cluster gives, it runs two of each on three nodes of etcd: see cluster.go.
//
// Each step is printed as a curl command with its answer and tokengate's log
// line. At a terminal everything then stays up until Ctrl-C; otherwise, or with
// DEMO=once, the demo ends there. It exits with 1 if any step failed.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	show := run
	switch {
	case len(os.Args) == 2 && os.Args[1] == "cluster":
		show = func(ctx context.Context) error { return runCluster(ctx, os.Stdout, ".tools/etcd") }
	case len(os.Args) > 1:
		fmt.Fprintln(os.Stderr, "demo: the only argument is cluster")
		os.Exit(2)
	}
	if err := show(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	env, err := setUp(ctx, os.Stdout, "")
	if err != nil {
		return err
	}
	defer env.tearDown()
	if err := runScenario(ctx, env); err != nil {
		return err
	}
	if os.Getenv("DEMO") == "once" || !isTerminal(os.Stdin) || !isTerminal(os.Stdout) {
		return nil
	}
	env.printHints()
	<-ctx.Done()
	return nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
