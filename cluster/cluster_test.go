package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestCluster_Find(t *testing.T) {
	c := &Cluster{Nodes: []*Node{{Name: "namesrv-a", Kind: Namesrv}, {Name: "broker-a-0", Kind: Broker}}}
	if all, err := c.Find(nil); err != nil || len(all) != 2 {
		t.Errorf("all: %v, %v", all, err)
	}
	if one, err := c.Find([]string{"broker-a-0", "broker-a-0"}); err != nil || len(one) != 1 || one[0] != c.Nodes[1] {
		t.Errorf("one, named twice: %v, %v", one, err)
	}
	_, err := c.Find([]string{"broker-b-0"})
	if !errors.Is(err, ErrNoNode) || !strings.Contains(err.Error(), "there are namesrv-a, broker-a-0") {
		t.Errorf("a stranger: %v", err)
	}
}

// NameServers start first and stop last; masters stop before their slaves.
func TestStages(t *testing.T) {
	nodes := []*Node{{Name: "s", Kind: Broker, ID: 1}, {Name: "m", Kind: Broker}, {Name: "n", Kind: Namesrv}, {Name: "m2", Kind: Broker}}
	for _, c := range []struct {
		order []string
		want  string
	}{{startOrder, "[n] [m m2] [s]"}, {stopOrder, "[m m2] [s] [n]"}} {
		var got []string
		for _, stage := range stages(nodes, c.order) {
			var names []string
			for _, n := range stage {
				names = append(names, n.Name)
			}
			got = append(got, fmt.Sprint(names))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v: got %v, want %s", c.order, got, c.want)
		}
	}
}

// A node is down when its process has ended, also while nobody has waited for it, and when its number belongs to
// another process.
func TestNode_State(t *testing.T) {
	if s := (&Node{}).State(); s != Down {
		t.Errorf("a node that never ran is %s", s)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skip("no sleep command:", err)
	}
	n := &Node{Name: "n", PID: cmd.Process.Pid}
	var err error
	if _, n.Began, err = lookAt(n.PID); err != nil {
		t.Fatal(err)
	}
	follow := func(s syscall.Signal, want State) {
		t.Helper()
		if err := n.signal(s); err != nil {
			t.Fatal(err)
		}
		for n.State() != want { // the kernel does it soon
		}
	}
	follow(syscall.SIGSTOP, Paused)
	follow(syscall.SIGCONT, Running)
	stranger := &Node{PID: n.PID, Began: n.Began + 1}
	if s := stranger.State(); s != Down {
		t.Errorf("another process with this number makes the node %s", s)
	}
	if err := stranger.signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	follow(syscall.SIGKILL, Down)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", n.PID)); err != nil {
		t.Errorf("the process is gone although nobody waited for it: %v", err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process ended with %v", err)
	}
	if s := n.State(); s != Down {
		t.Errorf("a node whose process is gone is %s", s)
	}
}
