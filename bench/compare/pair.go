package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"rocketd/remoting"
	"rocketd/rpc"
)

// pairKeys are what the brokers of a pair have in common. Java's waits for no slave under SYNC_MASTER unless inSyncReplicas says
// how many copies there must be.
func pairKeys(names *server) []string {
	return []string{"namesrvAddr=" + names.addr, "brokerName=pair", "brokerIP2=127.0.0.1", "inSyncReplicas=2"}
}

func slaveKeys(names *server) []string {
	return append(pairKeys(names), "brokerRole=SLAVE", "brokerId=1")
}

// startPair starts a NameServer of ours, a master of some kind, and a slave of the same, and returns the master when it
// accepts messages.
func (o *options) startPair(ctx context.Context, broker starter, dir string, port int) (s *server, err error) {
	names, err := o.oursNames(ctx, filepath.Join(dir, "names"), port+6)
	if err != nil {
		return nil, err
	}
	s, err = broker(ctx, filepath.Join(dir, "master"), port, append(pairKeys(names), "brokerRole=SYNC_MASTER")...)
	if err != nil {
		names.stop()
		return nil, err
	}
	s.with = []*server{names}
	slave, err := broker(ctx, filepath.Join(dir, "slave"), port+4, slaveKeys(names)...)
	if err != nil {
		s.stop()
		return nil, err
	}
	s.with = append(s.with, slave)
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if err = o.first(ctx, s); err == nil {
			return s, nil
		}
		if time.Now().After(until) || ctx.Err() != nil {
			s.stop()
			return nil, fmt.Errorf("the pair accepts nothing: %w", err)
		}
	}
}

// catchUpFill makes a log of 5 GB.
var catchUpFill = append(load("send", "16", "16", "1024", "binary"), "--count", "4200000")

const (
	catchUpName = "catch-up of a new slave, 5 GB"
	catchUpGoal = 3
)

// measureCatchUp measures how fast a slave gets the log of a master of its own kind, from the first byte that it writes to
// the last. Ours makes the log, and both sides' masters start on it. A Java master gives a slave that has nothing the last
// file of its log only; so the slaves begin with its first message.
func (o *options) measureCatchUp(ctx context.Context, out io.Writer) error {
	if !o.only.MatchString(catchUpName) {
		return nil
	}
	dir := filepath.Join(o.dir, "catchup")
	defer func() { _ = os.RemoveAll(dir) }()
	master, seed := filepath.Join(dir, "master"), filepath.Join(dir, "seed")
	var first int64
	err := o.prepare(ctx, master, func(s *server) (err error) {
		if err = o.first(ctx, s); err == nil {
			first, err = logEnd(ctx, s)
		}
		return err
	}, "brokerName=pair")
	if err == nil {
		err = copyAll(ctx, filepath.Join(master, "store"), seed)
	}
	if err == nil {
		err = o.prepare(ctx, master, func(s *server) error { _, err := o.load(ctx, s, catchUpFill, 0); return err }, "brokerName=pair")
	}
	if err != nil {
		return err
	}
	var rates [2][]float64
	var ratios []float64
	for range o.rounds {
		for side, broker := range []starter{o.oursBroker, o.javaBroker} {
			rate, err := o.catchUp(ctx, broker, dir, o.port+10*side, first)
			if err != nil {
				return fmt.Errorf("%s: %w", [...]string{"ours", "Java"}[side], err)
			}
			rates[side] = append(rates[side], rate)
		}
		ratios = append(ratios, rates[0][len(ratios)]/rates[1][len(ratios)])
	}
	ratio := spreadOf(ratios)
	fmt.Fprintf(out, "| %s | MB/s | %s | %s | %s | >= %d | - | %s |\n", catchUpName, spreadOf(rates[0]), spreadOf(rates[1]), ratio, catchUpGoal, yes(ratio.median >= catchUpGoal))
	return nil
}

// catchUp starts a pair, of which the slave has the log up to first, and returns its rate in 10^6 bytes a second.
func (o *options) catchUp(ctx context.Context, broker starter, dir string, port int, first int64) (rate float64, err error) {
	names, err := o.oursNames(ctx, filepath.Join(dir, "names"), port+6)
	if err != nil {
		return 0, err
	}
	defer names.stop()
	place := filepath.Join(dir, "slave")
	if err := copyAll(ctx, filepath.Join(dir, "seed"), filepath.Join(place, "store")); err != nil {
		return 0, err
	}
	master, err := broker(ctx, filepath.Join(dir, "master"), port, append(pairKeys(names), "brokerRole=ASYNC_MASTER")...)
	if err != nil {
		return 0, err
	}
	defer func() { err = master.end(err) }()
	syscall.Sync()
	slave, err := broker(ctx, place, port+4, slaveKeys(names)...)
	if err != nil {
		return 0, err
	}
	defer slave.stop()
	end, err := logEnd(ctx, master)
	for until := time.Now().Add(time.Minute); err != nil && time.Now().Before(until); end, err = logEnd(ctx, master) { // Java's, while it starts
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for until := began.Add(patience); ; time.Sleep(5 * time.Millisecond) {
		now := time.Now()
		at, err := logEnd(ctx, slave)
		switch {
		case err != nil || at <= first:
			began = now
		case at >= end:
			return float64(end-first) / time.Since(began).Seconds() / 1e6, nil
		}
		if now.After(until) || ctx.Err() != nil {
			return 0, fmt.Errorf("the slave has %d of %d bytes: %w", at, end, errors.Join(err, ctx.Err()))
		}
	}
}

// logEnd asks a broker for the end of its log.
func logEnd(ctx context.Context, s *server) (int64, error) {
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := remoting.NewClient(remoting.ClientConfig{})
	defer client.Close()
	info, err := rpc.NewBroker(client).RuntimeInfo(limited, s.addr)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(info["commitLogMaxOffset"], 10, 64)
}

// copyAll copies a folder; holes stay holes.
func copyAll(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-r", "--sparse=always", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
