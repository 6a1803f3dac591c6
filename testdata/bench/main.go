// Command bench measures tokengate against its rivals and prints a table.
//
//	.build/bench [-quick] [-rows a,b,c,d,e] [-svg FILE] [-json FILE] [-markdown FILE]
//
// What has a rival is measured beside it in the same run, in short slices that
// alternate, because a machine's speed drifts within seconds; ratios are taken
// within a round. The rows are
//
//	a  one decision, at stores of different sizes
//	b  the gRPC server against a stock one that allows everything
//	c  end to end through a real Envoy
//	d  memory, start, writes
//	e  the administrator's list of all tokens, and what Jira is asked
//
// It measures .build/tokengate, which `make build` makes, as it is. Everything
// runs on this machine's loopback and unix sockets. A mark that is missed is no
// error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

func main() {
	if playRole() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// rows are what can be measured, in the order of the report.
var rows = []struct {
	name    string
	measure func(context.Context, scale, *report) error
}{
	{"a", measureDecide},
	{"b", measureServer},
	{"c", measureEdge},
	{"d", measureStore},
	{"e", measureLists},
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "a small version, done within a minute")
	wanted := flags.String("rows", "a,b,c,d,e", "the rows to measure")
	svg := flags.String("svg", "", "write a picture to this `FILE`")
	jsonFile := flags.String("json", "", "write everything as JSON to this `FILE`")
	markdown := flags.String("markdown", "", "write the table as Markdown to this `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	sizes := fullScale
	if *quick {
		sizes = quickScale
	}
	ctx, cancel := context.WithTimeout(ctx, sizes.longest)
	defer cancel()
	r := &report{Machine: thisMachine(ctx), Quick: *quick}
	for name := range strings.SplitSeq(*wanted, ",") {
		if !strings.Contains("abcde", name) || len(name) != 1 {
			return fmt.Errorf("there is no row %q: give some of a,b,c,d,e", name)
		}
	}
	for _, row := range rows {
		if !strings.Contains(*wanted, row.name) {
			continue
		}
		progress("row %s", row.name)
		if err := row.measure(ctx, sizes, r); err != nil {
			return fmt.Errorf("row %s: %w", row.name, err)
		}
		// What one row held is no burden on the next one's collector.
		runtime.GC()
		debug.FreeOSMemory()
	}
	r.Machine.finish()
	r.text(out)
	var jsonErr error
	return errors.Join(
		writeFile(*markdown, r.markdown),
		writeFile(*jsonFile, func(w io.Writer) { jsonErr = r.json(w) }),
		jsonErr,
		writeFile(*svg, r.svg),
	)
}
