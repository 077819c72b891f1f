//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// work is the folder of this run: programs, stores, logs.
var work string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	keep := os.Getenv("E2E_KEEP")
	dir, err := os.MkdirTemp(keep, "rocketd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if keep == "" {
		defer os.RemoveAll(dir)
	}
	work, _ = filepath.Abs(dir)
	defer killAll()
	code := m.Run()
	for _, line := range notRun.lines {
		fmt.Println(line)
	}
	return code
}

// notRun collects what a missing tool kept from running, so that it is also the last thing printed.
var notRun struct {
	sync.Mutex
	lines []string
}

// missing says loudly that something does not run here. On CI that is a failure.
func missing(t *testing.T, what string, why error) {
	t.Helper()
	line := fmt.Sprintf("NOT RUN: %s: %v", what, why)
	notRun.Lock()
	notRun.lines = append(notRun.lines, line)
	notRun.Unlock()
	if os.Getenv("CI") == "true" {
		t.Fatal(line)
	}
	t.Skip(line)
}

// onlyTestJava leaves a long test between Java's servers and ours to `make test-java`.
func onlyTestJava(t *testing.T) {
	t.Helper()
	if os.Getenv("E2E_SERVER") != "java" {
		t.Skip("Java's servers and ours together are tested by make test-java")
	}
}

// tool runs a program to its end; its output is part of the error.
func tool(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return string(out), nil
}

// eventually asks again until ok says yes. These are other processes: there is nothing to wait on but their answers.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}
