// Command demo tells tokengate's story through a real Envoy: a token that
// works, and the same token refused where it should be. make demo runs it.
//
// Each step is shown as the curl line that does the same, with its answer and
// what tokengate logged. At a terminal everything then stays up to be tried,
// until Ctrl-C or the terminal's end; elsewhere, or with DEMO=once, the demo ends
// there. It exits with 1 if any step did not answer as it should.
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
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	stage, err := setUp(ctx, os.Stdout, "")
	if err != nil {
		return err
	}
	defer stage.tearDown()
	if err := tell(ctx, stage); err != nil {
		return err
	}
	if os.Getenv("DEMO") == "once" || !isTerminal(os.Stdin) || !isTerminal(os.Stdout) {
		return nil
	}
	stage.invite()
	<-ctx.Done()
	return nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
