// Command bench measures tokengate beside baselines and prints Markdown tables.
//
//	.build/bench [-quick] [-rows a,b,c,d,e,f,g] [-markdown FILE]
//
// A figure that has a baseline is measured with it in the same run, in short
// slices that alternate, because a machine's speed drifts within seconds. Ratios
// are taken within a round. The rows are
//
//	a  one decision, at indexes of different sizes
//	b  the gRPC server against a stock one that allows everything
//	c  end to end through a real Envoy
//	d  memory, start, writes
//	e  the administrator's list and the pages in the browser
//	f  the owner's personal access token in place of the identity header
//	g  servers on etcd
//
// It runs in the repository's root and measures .build/tokengate, which `make
// build` makes. All traffic stays on loopback and unix sockets. A missed target
// is not an error. Start reading at rows in this file.
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
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func main() {
	if runRole() {
		return
	}
	testing.Init() // registers test.benchtime for row a
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// rows are the measurements in the order of the report.
var rows = []struct {
	name    string
	measure func(context.Context, scale, *report) // fails by must and try
}{
	{"a", measureDecide},
	{"b", measureCheck},
	{"c", measureEnvoy},
	{"d", measureStore},
	{"e", measurePages},
	{"f", measureForms},
	{"g", measureReplicas},
}

// scale sets how much is measured, and for how long.
type scale struct {
	timeout time.Duration // of the whole run
	tokens  int           // in the large store, which every row uses
	small   int           // in the small store that it is compared with
	rounds  int

	decide, check, closed, paced time.Duration // slices of rows a to c

	starts int           // row d
	settle time.Duration // load before memory is read
	writes int           // of each kind in a round

	shared  int // row g: tokens in etcd
	spreads int // creations and revocations that another server learns of
}

var (
	fullScale = scale{
		timeout: 20 * time.Minute, tokens: 1_000_000, small: 1000, rounds: 10,
		decide: 30 * time.Millisecond, check: time.Second, closed: time.Second, paced: 2 * time.Second,
		starts: 5, settle: 3 * time.Second, writes: 250,
		shared: 100_000, spreads: 500,
	}
	quickScale = scale{
		timeout: 3 * time.Minute, tokens: 10_000, small: 1000, rounds: 3,
		decide: 4 * time.Millisecond, check: 500 * time.Millisecond, closed: 400 * time.Millisecond, paced: 600 * time.Millisecond,
		starts: 3, settle: 500 * time.Millisecond, writes: 40,
		shared: 10_000, spreads: 100,
	}
)

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "a small version, about a minute")
	list := flags.String("rows", "a,b,c,d,e,f,g", "the rows to measure")
	markdown := flags.String("markdown", "", "also write the report to this `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted := strings.Split(*list, ",")
	for _, name := range wanted {
		if len(name) != 1 || !strings.Contains("abcdefg", name) {
			return fmt.Errorf("unknown row %q: the rows are a,b,c,d,e,f,g", name)
		}
	}
	sizes := fullScale
	if *quick {
		sizes = quickScale
	}
	ctx, cancel := context.WithTimeout(ctx, sizes.timeout)
	defer cancel()
	r := &report{head: machineLines(ctx), quick: *quick}
	for _, row := range rows {
		if !slices.Contains(wanted, row.name) {
			continue
		}
		progress("row %s", row.name)
		if err := attempt(func() { row.measure(ctx, sizes, r) }); err != nil {
			return fmt.Errorf("row %s: %w", row.name, err)
		}
		// The next row's garbage collector starts with an empty heap.
		runtime.GC()
		debug.FreeOSMemory()
	}
	text := r.markdown()
	_, err := io.WriteString(out, text)
	if *markdown != "" {
		err = errors.Join(err, os.WriteFile(*markdown, []byte(text), 0o644))
	}
	return err
}

// progress writes to standard error, because standard output has the report alone.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// failure is the panic of must and try.
type failure struct{ error }

// attempt returns the error with which must or try ended f.
func attempt(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			failed, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = failed.error
		}
	}()
	f()
	return nil
}

// must returns v, or ends attempt's function with err.
func must[T any](v T, err error) T {
	try(err)
	return v
}

// try ends attempt's function unless err is nil.
func try(err error) {
	if err != nil {
		panic(failure{err})
	}
}
