package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"rocketd/cluster"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rocketd": main, "mqnamesrv": main, "mqbroker": main})
}

// The program as a user types it. Scripts have two commands of their own:
//
//	serve NAME TEXT ARGS...   run rocketd in the background until its output has a line with TEXT
//	quit NAME                 send it SIGTERM; it must end by itself with exit code 0
//
// and $NS, $BROKER (free ports, each with the one two below) and $NAMESRV (127.0.0.1:$NS), $BIN (the scripts).
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			ns, broker := freePort(), freePort()
			env.Setenv("NS", strconv.Itoa(ns))
			env.Setenv("BROKER", strconv.Itoa(broker))
			env.Setenv("NAMESRV", fmt.Sprintf("127.0.0.1:%d", ns))
			env.Setenv("NAMESRV_ADDR", fmt.Sprintf("127.0.0.1:%d", ns))
			env.Setenv("HOME", env.WorkDir)
			bin, err := filepath.Abs(filepath.Join("..", "..", "bin"))
			if err != nil {
				return err
			}
			env.Setenv("BIN", bin)
			env.Values["servers"] = map[string]*server{}
			env.Defer(func() { stopClusters(env.WorkDir) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"serve": serve, "quit": quit},
	})
}

// stopClusters ends the nodes that a script has left.
func stopClusters(dir string) {
	states, _ := filepath.Glob(filepath.Join(dir, "*", "cluster.json"))
	for _, state := range states {
		k := cluster.Control{Dir: filepath.Dir(state)}
		if c, err := cluster.Load(k.Dir); err == nil {
			for _, n := range c.Nodes {
				_ = k.Kill(context.Background(), n.Name) // most are down
			}
		}
	}
}

type server struct {
	cmd   *exec.Cmd
	ended chan error
}

// startLimit bounds how long a server may take to be ready; it is for hanging ones only.
const startLimit = 20 * time.Second

func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: serve NAME TEXT ARGS...")
	}
	program, err := exec.LookPath("rocketd")
	ts.Check(err)
	s := &server{cmd: exec.Command(program, args[2:]...), ended: make(chan error, 1)}
	s.cmd.Dir = ts.Getenv("WORK")
	s.cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("WORK"), "NAMESRV_ADDR=")
	log, err := os.OpenFile(ts.MkAbs(args[0]+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	ts.Check(err)
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	seen := make(chan bool, 1)
	go func() {
		lines, found := bufio.NewScanner(out), false
		for lines.Scan() {
			_, _ = io.WriteString(log, lines.Text()+"\n")
			if !found && strings.Contains(lines.Text(), args[1]) {
				found = true
				seen <- true
			}
		}
		_ = log.Close()
		if !found {
			seen <- false
		}
		s.ended <- s.cmd.Wait()
	}()
	ts.Defer(func() { _ = s.cmd.Process.Kill() })
	select {
	case ok := <-seen:
		if !ok {
			ts.Fatalf("%s ended before it said %q:\n%s", args[0], args[1], ts.ReadFile(args[0]+".log"))
		}
	case <-time.After(startLimit):
		ts.Fatalf("%s does not say %q:\n%s", args[0], args[1], ts.ReadFile(args[0]+".log"))
	}
	ts.Value("servers").(map[string]*server)[args[0]] = s
}

func quit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: quit NAME")
	}
	s := ts.Value("servers").(map[string]*server)[args[0]]
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-s.ended:
		if err != nil {
			ts.Fatalf("%s ended with %v:\n%s", args[0], err, ts.ReadFile(args[0]+".log"))
		}
	case <-time.After(startLimit):
		ts.Fatalf("%s does not stop:\n%s", args[0], ts.ReadFile(args[0]+".log"))
	}
}

// freePort returns a port that is free, and so are those of its neighbours that a broker takes, two below it and one
// above. They are below the range that the system hands out by itself.
func freePort() int {
	takenMu.Lock()
	defer takenMu.Unlock()
	for port := 15000 + os.Getpid()*7%10000; ; port = 15000 + (port+11)%10000 {
		free := true
		for _, p := range []int{port - 2, port, port + 1} {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", p))
			if err == nil {
				_ = l.Close()
			}
			free = free && err == nil && !taken[p]
		}
		if free {
			taken[port-2], taken[port], taken[port+1] = true, true, true
			return port
		}
	}
}

var (
	takenMu sync.Mutex
	taken   = map[int]bool{} // guarded by takenMu
)

// mqshutdown finds a process by its program and role, asks it to stop and says so in Java's words.
func TestShutdownScript(t *testing.T) {
	victim := exec.Command("sleep", "60")
	if err := victim.Start(); err != nil {
		t.Skip("no sleep command:", err)
	}
	proc := t.TempDir()
	write := func(pid int, cmdline string) {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cmdline"), []byte(cmdline), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(role string) (string, error) {
		cmd := exec.Command("sh", filepath.Join("..", "..", "bin", "mqshutdown"), role)
		cmd.Env = append(os.Environ(), "ROCKETD_PROC="+proc)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	write(1<<30, "/usr/bin/rocketd\x00namesrv\x00")
	write(1<<30+1, "/usr/bin/rocketd\x00--data\x00broker\x00")
	write(1<<30+2, "/bin/other\x00broker\x00")
	if out, err := run("broker"); err == nil || out != "No mqbroker running.\n" {
		t.Errorf("%q, %v", out, err)
	}
	write(victim.Process.Pid, "/opt/rocketmq/rocketd\x00broker\x00-c\x00a.conf\x00")
	out, err := run("broker")
	pid := victim.Process.Pid
	want := fmt.Sprintf("The mqbroker(%d) is running...\nSend shutdown request to mqbroker(%d) OK\n", pid, pid)
	if err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	if err := victim.Wait(); err == nil || victim.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the process ended with %v, want SIGTERM", err)
	}
	if out, err := run("proxy"); err == nil || !strings.HasPrefix(out, "Useage:") {
		t.Errorf("%q, %v", out, err)
	}
}
