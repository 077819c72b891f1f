// Command compare runs rocketd's servers, Java's and an echo in turn under the same load and prints how they compare:
//
//	make build && go run ./bench/compare
//
// Every round measures all three one after the other, so that a slow minute of the machine hits all; what counts is
// the median of the rounds' ratios. Ours starts anew with an empty store for every measurement. Java's starts with an
// empty store for every kind of work and is warmed up first, because it needs that to be at its best; between its
// turns it idles. Where a work needs a store that is full, ours makes it and both start on it. Both flush as the work
// says, Java runs with its own defaults and a heap of 2 GiB. Run it on a quiet
// machine: the generator takes one core, the broker the others.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// options of the command line.
type options struct {
	rocketd, javamq, dir string
	rounds, heap         int
	duration, warm       time.Duration
	only                 *regexp.Regexp
	port                 int
}

func main() {
	var o options
	var only string
	flag.StringVar(&o.rocketd, "rocketd", "rocketd", "our program")
	flag.StringVar(&o.javamq, "javamq", "e2e/javamq", "script that starts Java's broker")
	flag.StringVar(&o.dir, "dir", "", "folder for the stores (some GB); default: a new one in the system's temporary folder")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of every work")
	flag.IntVar(&o.heap, "heap", 2048, "Java's heap, MiB")
	flag.IntVar(&o.port, "port", 21911, "first of the ports that are used")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "of one measurement")
	flag.DurationVar(&o.warm, "warm", 20*time.Second, "Java's warm-up for every work")
	flag.StringVar(&only, "only", "", "regular expression: the works to do")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if o.only, err = regexp.Compile(only); err == nil {
		err = o.run(ctx, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func (o *options) run(ctx context.Context, out io.Writer) error {
	for _, path := range []*string{&o.rocketd, &o.javamq} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(abs); err != nil {
			return err
		}
		*path = abs
	}
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "rocketd-compare-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.dir = dir
	}
	fmt.Fprint(out, tableHead)
	if o.only.MatchString(startName) {
		started, err := o.measureStart(ctx)
		if err != nil {
			return err
		}
		fmt.Fprint(out, startLine(started))
	}
	for _, w := range works {
		if !o.only.MatchString(w.name) {
			continue
		}
		rounds, failed, err := o.measure(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if failed != nil {
			fmt.Fprintf(os.Stderr, "compare: %s: Java: %v\n", w.name, failed)
		}
		fmt.Fprint(out, tableLines(w, rounds))
		_ = os.RemoveAll(filepath.Join(o.dir, "ours"))
	}
	for _, measure := range []func(context.Context, io.Writer) error{o.measureRestarts, o.measureCold, o.measureCatchUp} {
		if err := measure(ctx, out); err != nil {
			return err
		}
	}
	return nil
}
