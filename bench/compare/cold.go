package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"rocketd/bench"
)

// coldCount messages of 1 KB make 6 GB: more than is read of them in one measurement.
const coldCount = 5_000_000

const coldName = "cold catch-up read, 1 KB"

// coldBeside is the producer beside the reader.
var coldBeside = append(load("send", "16", "16", "1024", "binary"), "--topic", "Beside", "--rate", "10000")

// measureCold measures how fast ours reads a log of which nothing is in memory, against plain reads of the same files just
// before, and what a producer beside the reader keeps of the rate that it has alone.
func (o *options) measureCold(ctx context.Context, out io.Writer) error {
	if !o.only.MatchString(coldName) {
		return nil
	}
	dir := filepath.Join(o.dir, "cold")
	defer func() { _ = os.RemoveAll(dir) }()
	var end int64
	err := o.prepare(ctx, dir, func(s *server) (err error) {
		if _, err = o.load(ctx, s, append(load("send", "16", "16", "1024", "binary"), "--count", strconv.Itoa(coldCount)), 0); err == nil {
			end, err = logEnd(ctx, s)
		}
		return err
	})
	if err != nil {
		return err
	}
	var reads, rates, kept []float64
	for range o.rounds {
		disk, err := plainRead(dir)
		if err != nil {
			return err
		}
		read, alone, beside, err := o.cold(ctx, dir, float64(end)/coldCount)
		if err != nil {
			return fmt.Errorf("%s: %w", coldName, err)
		}
		reads, rates, kept = append(reads, read), append(rates, read/disk), append(kept, beside/alone)
	}
	fmt.Fprintf(out, "| %s | MB/s of the log | %s | - | - | - | - | - |\n", coldName, spreadOf(reads))
	for _, row := range []struct {
		what string
		all  []float64
		goal float64
	}{{"of what plain reads of its files give", rates, 0.6}, {"of its rate that a producer of 10,000/s keeps", kept, 0.9}} {
		got := spreadOf(row.all)
		fmt.Fprintf(out, "| %s | %s | %s | - | - | >= %g (ours) | - | %s |\n", coldName, row.what, got, row.goal, yes(got.median >= row.goal))
	}
	return nil
}

// cold returns how many 10^6 bytes of the log, whose records have a length, are read in a second, and what a producer sends alone and beside that.
func (o *options) cold(ctx context.Context, dir string, record float64) (read, alone, beside float64, err error) {
	if err := evict(dir); err != nil {
		return 0, 0, 0, err
	}
	s, err := o.oursBroker(ctx, dir, o.port)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = s.end(err) }()
	by, err := o.load(ctx, s, coldBeside, o.duration)
	if err != nil {
		return 0, 0, 0, err
	}
	alone = by.PerSec
	type sent struct {
		*bench.Result
		err error
	}
	done := make(chan sent, 1)
	go func() {
		r, err := o.load(ctx, s, coldBeside, o.duration)
		done <- sent{r, err}
	}()
	time.Sleep(time.Second) // its warm-up
	pulled, err := o.load(ctx, s, []string{"pull"}, o.duration)
	also := <-done
	if err := errors.Join(err, also.err); err != nil {
		return 0, 0, 0, err
	}
	return pulled.PerSec * record / 1e6, alone, also.PerSec, nil
}

// plainRead returns at how many 10^6 bytes a second the first files of a log can be read, when none of it is in memory.
func plainRead(dir string) (float64, error) {
	if err := evict(dir); err != nil {
		return 0, err
	}
	names, err := filepath.Glob(filepath.Join(dir, "store", "commitlog", "0*"))
	if err != nil || len(names) < 3 {
		return 0, errors.Join(err, errors.New("the log has too few files"))
	}
	slices.Sort(names)
	buf := make([]byte, 1<<20)
	began, bytes := time.Now(), 0
	for _, name := range names[:2] {
		f, err := os.Open(name)
		if err != nil {
			return 0, err
		}
		for err == nil {
			var n int
			n, err = f.Read(buf)
			bytes += n
		}
		_ = f.Close()
		if !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
	return float64(bytes) / time.Since(began).Seconds() / 1e6, nil
}
