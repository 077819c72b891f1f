package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server is one that was started to be measured, with its folder.
type server struct {
	cmd   *exec.Cmd
	addr  string
	dir   string
	ended chan struct{}
	err   error     // after ended is closed
	with  []*server // that are there for this one, and end with it
}

// start runs a server in a new folder and waits for the line that says that it is ready.
func start(ctx context.Context, dir, addr, ready, program string, args ...string) (*server, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &server{cmd: exec.CommandContext(ctx, program, args...), addr: addr, dir: dir, ended: make(chan struct{})}
	s.cmd.Dir = dir
	s.cmd.Env = append(os.Environ(), "NAMESRV_ADDR=", "HOME="+os.Getenv("HOME"))
	var log strings.Builder
	s.cmd.Stderr = &log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	seen := make(chan bool, 1)
	go func() {
		lines, found := bufio.NewScanner(out), false
		for lines.Scan() {
			if !found && strings.Contains(lines.Text(), ready) {
				found = true
				seen <- true
			}
		}
		if !found {
			seen <- false
		}
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	select {
	case ok := <-seen:
		if ok {
			return s, nil
		}
		<-s.ended
		return nil, fmt.Errorf("%s %v ended before it was ready: %w\n%s", program, args, s.err, log.String())
	case <-time.After(time.Minute):
		s.stop()
		return nil, fmt.Errorf("%s %v is not ready after a minute", program, args)
	}
}

// stop ends the server at once, and those that are with it, and removes its folder.
func (s *server) stop() {
	for _, other := range s.with {
		other.stop()
	}
	s.kill()
	_ = os.RemoveAll(s.dir)
}

// end ends the server in order and keeps its folder. It returns the error that it is given, or its own.
func (s *server) end(err error) error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.ended
	var exit *exec.ExitError
	if err == nil && (!errors.As(s.err, &exit) || exit.ExitCode() != 128+int(syscall.SIGTERM)) { // Java's way
		err = s.err
	}
	return err
}

// prepare starts a broker of ours in a folder, has something done with it, and ends it: the folder is what is measured then.
func (o *options) prepare(ctx context.Context, dir string, do func(*server) error, keys ...string) error {
	s, err := o.oursBroker(ctx, dir, o.port, keys...)
	if err == nil {
		err = s.end(do(s))
	}
	if err != nil {
		return fmt.Errorf("filling a store: %w", err)
	}
	return nil
}

// kill ends the server at once and keeps its folder.
func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.ended
}

func flush(sync bool) string {
	if sync {
		return "flushDiskType=SYNC_FLUSH"
	}
	return "flushDiskType=ASYNC_FLUSH"
}

// A starter starts a broker of one side in a folder, with keys of its configuration, each key=value.
type starter func(ctx context.Context, dir string, port int, keys ...string) (*server, error)

func (o *options) oursBroker(ctx context.Context, dir string, port int, keys ...string) (*server, error) {
	args := []string{"broker"}
	for _, key := range append([]string{"brokerIP1=127.0.0.1", fmt.Sprintf("listenPort=%d", port), "storePathRootDir=" + filepath.Join(dir, "store")}, keys...) {
		args = append(args, "--"+key)
	}
	return start(ctx, dir, local(port), booted, o.rocketd, args...)
}

// javaBroker has the defaults of the release where the script has others.
func (o *options) javaBroker(ctx context.Context, dir string, port int, keys ...string) (*server, error) {
	args := []string{"broker", "--dir", dir, "--port", fmt.Sprint(port), "--heap", fmt.Sprint(o.heap),
		"--namesrv", local(o.port + 20), // nobody, as ours has none
		"mappedFileSizeCommitLog=1073741824", "mappedFileSizeConsumeQueue=6000000", "maxIndexNum=20000000", "maxHashSlotNum=5000000",
		"enablePropertyFilter=false"}
	return start(ctx, dir, local(port), booted, o.javamq, append(args, keys...)...)
}

// booted stands in the line with which every server says that it is up.
const booted = "boot success"

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// The sides' folders and first ports.
func (o *options) oursPlace() (dir string, port int) { return filepath.Join(o.dir, "ours"), o.port }
func (o *options) javaPlace() (dir string, port int) {
	return filepath.Join(o.dir, "java"), o.port + 10
}

func (o *options) startOurs(ctx context.Context, w work) (*server, error) {
	dir, port := o.oursPlace()
	switch {
	case w.names:
		return o.oursNames(ctx, dir, port)
	case w.pair:
		return o.startPair(ctx, o.oursBroker, dir, port)
	}
	return o.oursBroker(ctx, dir, port, append([]string{"brokerName=broker-a", flush(w.sync)}, w.keys...)...)
}

func (o *options) startJava(ctx context.Context, w work) (*server, error) {
	dir, port := o.javaPlace()
	switch {
	case w.names:
		return start(ctx, dir, local(port), booted, o.javamq, "namesrv", "--dir", dir, "--port", fmt.Sprint(port), "--heap", fmt.Sprint(o.heap))
	case w.pair:
		return o.startPair(ctx, o.javaBroker, dir, port)
	}
	return o.javaBroker(ctx, dir, port, append([]string{flush(w.sync)}, w.keys...)...)
}

func (o *options) oursNames(ctx context.Context, dir string, port int) (*server, error) {
	return start(ctx, dir, local(port), booted, o.rocketd, "namesrv", fmt.Sprintf("--listenPort=%d", port))
}

func (o *options) startEcho(ctx context.Context) (*server, error) {
	addr := local(o.port + 20)
	return start(ctx, filepath.Join(o.dir, "echo"), addr, "echo on", o.rocketd, "bench", "echo", "--addr", addr)
}

// measureStart is the time from starting our broker on an empty store to its first accepted message, once a round.
func (o *options) measureStart(ctx context.Context) (all []time.Duration, err error) {
	for range o.rounds {
		began := time.Now()
		s, err := o.startOurs(ctx, work{})
		if err != nil {
			return nil, err
		}
		err = o.first(ctx, s)
		all = append(all, time.Since(began))
		s.stop()
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// first sends a message to a broker that has started, of a topic of its own.
func (o *options) first(ctx context.Context, s *server) error {
	_, err := o.load(ctx, s, []string{"send", "--count", "1", "--conns", "1", "--in-flight", "1", "--queues", "1", "--topic", "First"}, 0)
	return err
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return ": " + strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}
