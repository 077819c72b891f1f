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
	err   error // after ended is closed
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

// stop ends the server at once and removes its folder.
func (s *server) stop() {
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

// kill ends the server at once and keeps its folder.
func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.ended
}

func flush(sync bool) string {
	if sync {
		return "SYNC_FLUSH"
	}
	return "ASYNC_FLUSH"
}

func (o *options) startOurs(ctx context.Context, w work) (*server, error) {
	return o.startOursIn(ctx, filepath.Join(o.dir, "ours"), w)
}

func (o *options) startOursIn(ctx context.Context, dir string, w work) (*server, error) {
	port := o.port
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if w.names {
		return start(ctx, dir, addr, "boot success", o.rocketd, "namesrv", fmt.Sprintf("--listenPort=%d", port))
	}
	return start(ctx, dir, addr, "boot success", o.rocketd, "broker",
		"--brokerName=broker-a", "--brokerIP1=127.0.0.1", fmt.Sprintf("--listenPort=%d", port), "--storePathRootDir="+filepath.Join(dir, "store"), "--flushDiskType="+flush(w.sync))
}

// startJava starts Java's server with the defaults of the release where the script has others. A broker looks for a name
// server that is not there, as ours does for none.
func (o *options) startJava(ctx context.Context, w work) (*server, error) {
	return o.startJavaIn(ctx, filepath.Join(o.dir, "java"), w)
}

func (o *options) startJavaIn(ctx context.Context, dir string, w work) (*server, error) {
	port := o.port + 10
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	args := []string{"--dir", dir, "--port", fmt.Sprint(port), "--heap", fmt.Sprint(o.heap)}
	if w.names {
		return start(ctx, dir, addr, "boot success", o.javamq, append([]string{"namesrv"}, args...)...)
	}
	args = append(args, "--namesrv", fmt.Sprintf("127.0.0.1:%d", o.port+20),
		"mappedFileSizeCommitLog=1073741824", "mappedFileSizeConsumeQueue=6000000", "maxIndexNum=20000000", "maxHashSlotNum=5000000",
		"enablePropertyFilter=false", "flushDiskType="+flush(w.sync))
	return start(ctx, dir, addr, "boot success", o.javamq, append([]string{"broker"}, args...)...)
}

func (o *options) startEcho(ctx context.Context) (*server, error) {
	addr := fmt.Sprintf("127.0.0.1:%d", o.port+20)
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

// first sends a message to a broker that has started.
func (o *options) first(ctx context.Context, s *server) error {
	_, err := o.load(ctx, s, []string{"send", "--count", "1", "--conns", "1", "--in-flight", "1", "--queues", "1"}, 0)
	return err
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return ": " + strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}
