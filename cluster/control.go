package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"rocketd/rpc"
)

// Control starts and stops the nodes of the cluster in a folder.
type Control struct {
	Dir     string
	Program string      // rocketd, to be started
	Invoker rpc.Invoker // asks the nodes

	// Bound has nodes end (SIGTERM) when this program does. Ended, if set, is called when a node that this Control has
	// started has ended, from a goroutine of its own; how is "exit status 0", "signal: killed" or the like.
	Bound bool
	Ended func(n Node, how string)
}

const (
	readyLimit = 60 * time.Second // for a node to start
	stopLimit  = 30 * time.Second // for a node to stop
	lookEvery  = 20 * time.Millisecond
)

// Start starts the nodes of these names, all if there are none, that are down, NameServers first, and returns when they
// serve: brokers are then registered with every NameServer that runs. A broker starts in the role that it had.
func (k *Control) Start(ctx context.Context, names ...string) error {
	return change(k.Dir, func(c *Cluster) error {
		nodes, err := c.Find(names)
		if err != nil {
			return err
		}
		return k.start(ctx, c, nodes)
	})
}

// StartAsMaster starts a slave as the master of its name. The master must be down; from now on it is a slave, with the
// id that this one had. A slave that runs is stopped first.
func (k *Control) StartAsMaster(ctx context.Context, name string) error {
	return change(k.Dir, func(c *Cluster) error {
		nodes, err := c.Find([]string{name})
		if err != nil {
			return err
		}
		n := nodes[0]
		if n.Kind != Broker {
			return fmt.Errorf("%s is a NameServer: only a broker can be a master", name)
		}
		if m := c.master(n.Broker); m != n {
			if s := m.State(); s != Down {
				return fmt.Errorf("%s is the master of %s and %s: two masters of one name lose messages. Stop or kill it first", m.Name, n.Broker, s)
			}
			if err := k.stop(ctx, c, nodes); err != nil {
				return err
			}
			m.ID, n.ID = n.ID, m.ID
		}
		return k.start(ctx, c, nodes)
	})
}

func (k *Control) start(ctx context.Context, c *Cluster, nodes []*Node) error {
	for _, stage := range stages(nodes, startOrder) {
		var started []*Node
		for _, n := range stage {
			switch n.State() {
			case Paused:
				return fmt.Errorf("%s is paused: resume it", n.Name)
			case Running:
				continue
			}
			if !free(n.Port) || n.Kind == Broker && (!free(n.Port-2) || !free(n.Port+1)) {
				return fmt.Errorf("another process listens on the port of %s (%d, of brokers also the two: -2, +1); stop that process", n.Name, n.Port)
			}
			cmd, err := c.start(n, k.Program, k.Bound)
			if err != nil {
				return err
			}
			node := *n
			go func() {
				_ = cmd.Wait()
				if k.Ended != nil {
					k.Ended(node, cmd.ProcessState.String())
				}
			}()
			started = append(started, n)
		}
		if err := c.save(); err != nil { // what runs can be found if this program is killed now
			return err
		}
		if err := k.await(ctx, c, started); err != nil {
			return err
		}
	}
	return nil
}

// await returns when nodes serve.
func (k *Control) await(ctx context.Context, c *Cluster, nodes []*Node) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for _, n := range nodes {
		for {
			missing := k.missing(ctx, c, n)
			if missing == "" {
				break
			}
			if n.State() == Down {
				return fmt.Errorf("%s ended before it was ready; %s", n.Name, c.lastWords(n))
			}
			if err := pause(ctx); err != nil {
				return fmt.Errorf("%s is not ready: %s (%w); %s", n.Name, missing, err, c.lastWords(n))
			}
		}
	}
	return nil
}

// missing says what keeps a node from being ready; "" is nothing.
func (k *Control) missing(ctx context.Context, c *Cluster, n *Node) string {
	if n.Kind == Namesrv {
		if _, err := k.members(ctx, n); err != nil {
			return err.Error()
		}
		return ""
	}
	var missing []string
	for _, ns := range c.Nodes {
		if ns.Kind != Namesrv || ns.State() != Running {
			continue
		}
		if m, err := k.members(ctx, ns); err != nil || m[memberKey{n.Broker, n.ID}] != n.Addr() {
			missing = append(missing, ns.Name)
		}
	}
	if missing == nil {
		return ""
	}
	return "it is not registered with " + strings.Join(missing, ", ")
}

// Stop stops nodes in order, all if no names are given: masters, slaves, NameServers. It returns when they have ended.
func (k *Control) Stop(ctx context.Context, names ...string) error {
	return change(k.Dir, func(c *Cluster) error {
		nodes, err := c.Find(names)
		if err != nil {
			return err
		}
		return k.stop(ctx, c, nodes)
	})
}

func (k *Control) stop(ctx context.Context, c *Cluster, nodes []*Node) error {
	for _, stage := range stages(nodes, stopOrder) {
		for _, n := range stage {
			// One that is paused hears it when it goes on.
			for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
				if err := n.signal(s); err != nil {
					return err
				}
			}
		}
		if err := k.until(ctx, c, stage, "has not stopped: kill it", Down); err != nil {
			return err
		}
	}
	return nil
}

// Kill ends nodes as a crash does (SIGKILL). Pause stops their processes where they are (SIGSTOP), and Resume lets them
// go on (SIGCONT). Each returns when it has happened.
func (k *Control) Kill(ctx context.Context, names ...string) error {
	return k.strike(ctx, names, syscall.SIGKILL, Down)
}

// Pause is described at Kill.
func (k *Control) Pause(ctx context.Context, names ...string) error {
	return k.strike(ctx, names, syscall.SIGSTOP, Paused, Down)
}

// Resume is described at Kill.
func (k *Control) Resume(ctx context.Context, names ...string) error {
	return k.strike(ctx, names, syscall.SIGCONT, Running, Down)
}

func (k *Control) strike(ctx context.Context, names []string, s syscall.Signal, states ...State) error {
	c, err := Load(k.Dir)
	if err != nil {
		return err
	}
	nodes, err := c.Find(names)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.State() == Down {
			return fmt.Errorf("%s does not run", n.Name)
		}
		if err := n.signal(s); err != nil {
			return err
		}
	}
	return k.until(ctx, c, nodes, fmt.Sprintf("does not obey signal %v", s), states...)
}

// until returns when each node is in one of the states.
func (k *Control) until(ctx context.Context, c *Cluster, nodes []*Node, or string, states ...State) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	for _, n := range nodes {
		for !slices.Contains(states, n.State()) {
			if err := pause(ctx); err != nil {
				return fmt.Errorf("%s (process %d) %s (%w); %s", n.Name, n.PID, or, err, c.lastWords(n))
			}
		}
	}
	return nil
}

// pause waits a little. These are other processes: there is nothing to wait on but a look at them.
func pause(ctx context.Context) error {
	select {
	case <-time.After(lookEvery):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
