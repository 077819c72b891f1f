package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// State is how the process of a node is.
type State string

// The states.
const (
	Down    State = "down"
	Running State = "running"
	Paused  State = "paused" // by SIGSTOP
)

// State looks at the process of the node.
func (n *Node) State() State {
	state, began, err := lookAt(n.PID)
	switch {
	case n.PID == 0 || err != nil || began != n.Began || state == 'Z' || state == 'X':
		return Down
	case state == 'T' || state == 't':
		return Paused
	}
	return Running
}

// lookAt reads what the kernel says of a process: its state, and when it began. Source: proc(5), /proc/PID/stat.
func lookAt(pid int) (state byte, began uint64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name of the program stands in parentheses and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const beganField = 19 // the 22nd of the whole line
	if len(fields) <= beganField {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	began, err = strconv.ParseUint(string(fields[beganField]), 10, 64)
	return fields[0][0], began, err
}

// signal sends a signal to the process of a node that is not down.
func (n *Node) signal(s syscall.Signal) error {
	if n.State() == Down {
		return nil
	}
	if err := syscall.Kill(n.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot send %v to %s (process %d): %w", s, n.Name, n.PID, err)
	}
	return nil
}

// start starts the process of a node in a session of its own, so that a Ctrl-C at the terminal is not for it. What it
// prints goes to the end of its log. With bound, it gets SIGTERM when this program ends without stopping it.
func (c *Cluster) start(n *Node, program string, bound bool) (*exec.Cmd, error) {
	args := []string{string(n.Kind), "-c", c.conf(n)}
	if n.Kind == Broker {
		role := "SLAVE"
		if n.ID == 0 {
			if role = "ASYNC_MASTER"; c.Sync {
				role = "SYNC_MASTER"
			}
		}
		args = append(args, "--brokerRole="+role, "--brokerId="+strconv.FormatInt(n.ID, 10))
	}
	dir := filepath.Join(c.dir, n.Name)
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "ROCKETMQ_HOME=", "NAMESRV_ADDR=")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if bound {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", n.Name, err)
	}
	n.PID = cmd.Process.Pid
	_, n.Began, err = lookAt(n.PID) // it is our child and stays in /proc until it is waited for
	return cmd, err
}

// lastWords are the last lines of a node's log.
func (c *Cluster) lastWords(n *Node) string {
	const length = 2000
	name := filepath.Join(c.dir, n.Name, "log")
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	if len(text) > length {
		text = text[len(text)-length:]
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return fmt.Sprintf("the end of %s:\n%s", name, bytes.TrimRight(text, "\n"))
}
