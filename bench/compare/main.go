// Command compare runs rocketd's servers, Java's and an echo in turn under the same load and prints how they compare:
//
//	make build && go run ./bench/compare
//
// Every round measures all three one after the other, so that a slow minute of the machine hits all; what counts is
// the median of the rounds' ratios. Ours starts anew with an empty store for every measurement. Java's starts with an
// empty store for every kind of work and is warmed up first, because it needs that to be at its best; between its
// turns it idles. Both flush as the work says, Java runs with its own defaults and a heap of 2 GiB. Run it on a quiet
// machine: the generator takes one core, the broker the others.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"rocketd/bench"
)

// A work is one row or more of the table: a load that all sides get.
type work struct {
	name   string
	sync   bool // flush to the disk before an answer
	names  bool // of NameServers, not brokers
	echo   bool // measure the floor too
	args   []string
	values []value
}

// A value is what is compared of a work: ours over Java's.
type value struct {
	name  string
	of    func(*bench.Result) float64
	goal  float64
	least bool    // the goal is the least ratio, not the most
	floor float64 // the least ratio to the echo; 0 is none
}

func rate(r *bench.Result) float64 { return r.PerSec }
func cpu(r *bench.Result) float64  { return r.Server.CPUMicros }
func p50(r *bench.Result) float64  { return r.Latency.P50 }

// works are the rows that the project has set itself.
var works = []work{
	{"send 128 B, 16 x 16", false, false, true, load("send", "16", "16", "128", "binary"), []value{
		{"messages/s", rate, 8, true, 0}, {"CPU µs/message", cpu, 0.12, false, 0}}},
	{"send 128 B, 16 x 16, JSON", false, false, true, load("send", "16", "16", "128", "json"), []value{{"messages/s", rate, 6, true, 0}}},
	{"send 1 KB, 16 x 16", false, false, true, load("send", "16", "16", "1024", "binary"), []value{{"messages/s", rate, 6, true, 0}}},
	{"send 128 B, 64 x 1", false, false, true, load("send", "64", "1", "128", "binary"), []value{{"messages/s", rate, 2.5, true, 0.6}}},
	{"send 128 B, 1 x 1", false, false, true, load("send", "1", "1", "128", "binary"), []value{{"p50 µs", p50, 0.6, false, 0}}},
	{"sync flush 1 KB, 16 x 4", true, false, false, load("send", "16", "4", "1024", "binary"), []value{{"messages/s", rate, 3, true, 0}}},
	{"sync flush 1 KB, 16 x 16", true, false, false, load("send", "16", "16", "1024", "binary"), []value{{"messages/s", rate, 3, true, 0}}},
	{"end to end, 1,000/s", false, false, false, []string{"e2e", "--rate", "1000", "--size", "128"}, []value{{"p50 µs", p50, 0.25, false, 0}}},
	{"routes, 64 x 1", false, true, false, route("64", "1"), []value{{"routes/s", rate, 2.5, true, 0}}},
	{"routes, 16 x 16", false, true, false, route("16", "16"), []value{{"routes/s", rate, 6, true, 0}}},
}

func load(mode, conns, inFlight, size, header string) []string {
	return []string{mode, "--conns", conns, "--in-flight", inFlight, "--size", size, "--header", header}
}

// route are questions for the route of a topic, with JSON headers as Java's clients send them.
func route(conns, inFlight string) []string {
	return []string{"route", "--conns", conns, "--in-flight", inFlight, "--header", "json"}
}

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
	started, err := o.measureStart(ctx)
	if err != nil {
		return err
	}
	fmt.Fprint(out, tableHead)
	fmt.Fprint(out, startLine(started))
	for _, w := range works {
		if !o.only.MatchString(w.name) {
			continue
		}
		rounds, err := o.measure(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		fmt.Fprint(out, tableLines(w, rounds))
	}
	return nil
}

// A round has what each side did in one round; echo may be nil.
type round struct{ ours, java, echo *bench.Result }

func (o *options) measure(ctx context.Context, w work) (all []round, err error) {
	java, err := o.startJava(ctx, w)
	if err != nil {
		return nil, err
	}
	defer java.stop()
	if _, err := o.load(ctx, java, w.args, o.warm); err != nil {
		return nil, fmt.Errorf("warming Java up: %w", err)
	}
	for range o.rounds {
		var r round
		if r.ours, err = o.loadOurs(ctx, w); err != nil {
			return nil, fmt.Errorf("ours: %w", err)
		}
		syscall.Sync()
		if r.java, err = o.load(ctx, java, w.args, o.duration); err != nil {
			return nil, fmt.Errorf("java: %w", err)
		}
		syscall.Sync()
		if w.echo {
			if r.echo, err = o.loadEcho(ctx, w); err != nil {
				return nil, fmt.Errorf("echo: %w", err)
			}
		}
		all = append(all, r)
	}
	return all, nil
}

func (o *options) loadOurs(ctx context.Context, w work) (*bench.Result, error) {
	s, err := o.startOurs(ctx, w)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	return o.load(ctx, s, w.args, o.duration)
}

func (o *options) loadEcho(ctx context.Context, w work) (*bench.Result, error) {
	s, err := o.startEcho(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	return o.load(ctx, s, w.args, o.duration)
}

// load runs the generator in a process of its own.
func (o *options) load(ctx context.Context, s *server, args []string, d time.Duration) (*bench.Result, error) {
	args = append([]string{"bench"}, args...)
	args = append(args, "--addr", s.addr, "--pid", strconv.Itoa(s.cmd.Process.Pid), "--duration", d.String(), "-o", "json")
	out, err := exec.CommandContext(ctx, o.rocketd, args...).Output()
	var r bench.Result
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		return nil, fmt.Errorf("%v: %w%s", args, err, stderrOf(err))
	}
	if c := r.Check; r.Messages == 0 || c.Unanswered+c.Missing+c.Duplicates+c.Damaged > 0 {
		return nil, fmt.Errorf("%v: %d messages, failures %v %s, check %+v", args, r.Messages, r.Failures, r.Remark, c)
	}
	if len(r.Failures) > 0 { // flow control on a busy machine; what was refused is in no rate
		fmt.Fprintf(os.Stderr, "compare: %s refused some: %v %s\n", s.addr, r.Failures, r.Remark)
	}
	return &r, nil
}
