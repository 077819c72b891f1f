//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a running program whose output goes to a file and can be waited for.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *logFile
	done chan struct{} // closed when the program has ended
	err  error         // how it ended; read after done
}

var running struct {
	sync.Mutex
	processes map[*process]bool
}

// start runs a program in the background. It is killed when the test ends, and with this test program at the latest.
func start(name string, env []string, args ...string) (*process, error) {
	log, err := newLogFile(filepath.Join(work, "logs", name+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	return p, p.run()
}

func (p *process) run() error {
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", p.name, err)
	}
	running.Lock()
	if running.processes == nil {
		running.processes = map[*process]bool{}
	}
	running.processes[p] = true
	running.Unlock()
	go func() {
		p.err = p.cmd.Wait()
		p.log.Close()
		running.Lock()
		delete(running.processes, p)
		running.Unlock()
		close(p.done)
	}()
	return nil
}

// kill ends the program as a power cut does, and waits for it.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// stop asks the program to end and returns how it did; after the limit it is killed.
func (p *process) stop(limit time.Duration) error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		p.kill()
		return fmt.Errorf("%s did not stop within %v of SIGTERM", p.name, limit)
	}
}

// waitFor returns when the output holds the text.
func (p *process) waitFor(text string, limit time.Duration) error {
	select {
	case <-p.log.seen(text):
		return nil
	case <-p.done:
		return fmt.Errorf("%s ended (%w) before it said %q:\n%s", p.name, p.ended(), text, p.log.tail())
	case <-time.After(limit):
		return fmt.Errorf("%s did not say %q within %v:\n%s", p.name, text, limit, p.log.tail())
	}
}

// ended says how the program ended, which may also be well.
func (p *process) ended() error {
	if p.err != nil {
		return p.err
	}
	return errors.New("without an error")
}

// memory is the anonymous memory that the program holds, in bytes.
func (p *process) memory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	t.Fatal("no RssAnon in /proc")
	return 0
}

func killAll() {
	running.Lock()
	var all []*process
	for p := range running.processes {
		all = append(all, p)
	}
	running.Unlock()
	for _, p := range all {
		p.kill()
	}
}

// logFile keeps what a program prints, on disk and for those who wait for a word of it.
type logFile struct {
	mu      sync.Mutex // guards what follows
	file    *os.File
	text    bytes.Buffer
	waiters map[string]chan struct{}
}

func newLogFile(path string) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	return &logFile{file: f, waiters: map[string]chan struct{}{}}, err
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	for text, c := range l.waiters {
		if bytes.Contains(l.text.Bytes(), []byte(text)) {
			close(c)
			delete(l.waiters, text)
		}
	}
	if len(l.waiters) == 0 && l.text.Len() > 1<<20 {
		l.text.Next(l.text.Len() - 1<<16)
	}
	n, err := l.file.Write(b)
	if errors.Is(err, os.ErrClosed) {
		return len(b), nil
	}
	return n, err
}

func (l *logFile) seen(text string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.waiters[text]
	if c == nil {
		c = make(chan struct{})
		if bytes.Contains(l.text.Bytes(), []byte(text)) {
			close(c)
			return c
		}
		l.waiters[text] = c
	}
	return c
}

func (l *logFile) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.text.Bytes()
	return string(b[max(0, len(b)-3000):])
}

func (l *logFile) Close() error { return l.file.Close() }
