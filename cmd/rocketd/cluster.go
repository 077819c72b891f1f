package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"rocketd/cluster"
	"rocketd/remoting"
)

// clusterFlags are the flags of every command about a cluster.
type clusterFlags struct{ data string }

func newCluster() *cobra.Command {
	var o clusterFlags
	var l cluster.Layout
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Run NameServers, masters and slaves as processes of this machine",
		Long: "Run NameServers, masters and slaves as processes of this machine, on free ports of 127.0.0.1, and wait until every broker\n" +
			"is registered with every NameServer. Ctrl-C stops them in order. With the same --data it goes on where it stopped.\n\n" +
			"In another terminal, the commands below kill, pause, stop and start single nodes. A configuration that is more than\n" +
			"--set can say is in DIR/NODE/broker.conf; what a node prints is in DIR/NODE/log.",
		Example: "  rocketd cluster --masters 2 --slaves 1 --namesrv 2 --data /tmp/try --sync --set flushDiskType=SYNC_FLUSH\n" +
			"  rocketd cluster status --data /tmp/try\n\n" +
			"  # The master dies and its slave takes over; then the old master comes back as a slave.\n" +
			"  rocketd cluster kill --data /tmp/try broker-a-0\n" +
			"  rocketd cluster start --data /tmp/try broker-a-1 --as-master\n" +
			"  rocketd cluster start --data /tmp/try broker-a-0",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, l) },
	}
	cmd.PersistentFlags().StringVar(&o.data, "data", "rocketd-cluster", "folder of the cluster")
	f := cmd.Flags()
	f.IntVar(&l.Masters, "masters", 2, "masters: broker-a, broker-b and so on")
	f.IntVar(&l.Slaves, "slaves", 1, "slaves of each master")
	f.IntVar(&l.Namesrvs, "namesrv", 2, "NameServers")
	f.BoolVar(&l.Sync, "sync", false, "masters answer when a slave has the message (SYNC_MASTER)")
	f.StringArrayVar(&l.Set, "set", nil, "KEY=VALUE, a configuration key of every broker; may be given again")
	f.IntVar(&l.NamesrvPort, "namesrv-port", 9876, "first port to try for the NameServers")
	f.IntVar(&l.BrokerPort, "broker-port", 10911, "first port to try for the brokers; each has also the two: -2 and +1")
	cmd.AddCommand(o.newStatus(), o.newStart(),
		o.newStrike("stop", "Stop nodes in order, or all of them", cobra.ArbitraryArgs, (*cluster.Control).Stop),
		o.newStrike("kill", "End nodes as a crash does (SIGKILL)", someNode, (*cluster.Control).Kill),
		o.newStrike("pause", "Stop the processes of nodes where they are (SIGSTOP)", someNode, (*cluster.Control).Pause),
		o.newStrike("resume", "Let paused nodes go on (SIGCONT)", someNode, (*cluster.Control).Resume))
	return cmd
}

// layoutFlags say what a new cluster consists of.
var layoutFlags = []string{"masters", "slaves", "namesrv", "sync", "set", "namesrv-port", "broker-port"}

// run makes the cluster if there is none, starts all nodes and waits for the end.
func (o *clusterFlags) run(cmd *cobra.Command, l cluster.Layout) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP) // the terminal is closed
	defer stop()
	if err := cluster.Create(o.data, l); errors.Is(err, cluster.ErrExists) {
		for _, name := range layoutFlags {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("%w; leave --%s out to go on with it, or choose another folder (--data)", err, name)
			}
		}
	} else if err != nil {
		return err
	}
	k, closeClient, err := o.control()
	if err != nil {
		return err
	}
	defer closeClient()
	ended := make(chan string, 1024)
	k.Bound = true
	k.Ended = func(n cluster.Node, how string) {
		ended <- fmt.Sprintf("%s (%s, process %d) has ended: %s. Start it again: %s cluster start --data %s %s\n",
			n.Name, n.Role(), n.PID, how, os.Args[0], o.data, n.Name)
	}
	if err := k.Start(ctx); err != nil {
		return errors.Join(err, k.Stop(context.WithoutCancel(ctx)))
	}
	s, err := k.Status(ctx)
	if err == nil {
		err = o.banner(cmd.OutOrStdout(), s)
	}
	for err == nil && ctx.Err() == nil {
		select {
		case line := <-ended:
			_, err = io.WriteString(cmd.OutOrStdout(), line)
			if o.allDown() {
				return err
			}
		case <-ctx.Done():
		}
	}
	return errors.Join(err, k.Stop(context.WithoutCancel(ctx)))
}

// allDown tells whether no node runs any more.
func (o *clusterFlags) allDown() bool {
	c, err := cluster.Load(o.data)
	if err != nil {
		return false
	}
	for _, n := range c.Nodes {
		if n.State() != cluster.Down {
			return false
		}
	}
	return true
}

// control returns what starts and stops nodes, and what closes it.
func (o *clusterFlags) control() (*cluster.Control, func(), error) {
	program, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	r := remoting.NewClient(remoting.ClientConfig{Log: newLog(os.Stderr, slog.LevelError)})
	return &cluster.Control{Dir: o.data, Program: program, Invoker: r}, r.Close, nil
}

// banner says what runs where and what to try next.
func (o *clusterFlags) banner(w io.Writer, s *cluster.Status) error {
	if err := printStatus(w, s); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, `
In another terminal:

  export NAMESRV_ADDR='%[1]s'
  %[2]s send hello "my first message"
  %[2]s consume hello --group demo
  %[2]s cluster status --data %[3]s

Ctrl-C stops.
`, s.Namesrvs, os.Args[0], s.Dir)
	return err
}

// someNode refuses a command line that names no node.
func someNode(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("the node is missing; usage: %s", cmd.UseLine())
	}
	return nil
}

func (o *clusterFlags) newStrike(name, short string, args cobra.PositionalArgs, do func(*cluster.Control, context.Context, ...string) error) *cobra.Command {
	use := name + " NODE..."
	if args(&cobra.Command{}, nil) == nil {
		use = name + " [NODE...]"
	}
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, nodes []string) error {
			k, closeClient, err := o.control()
			if err != nil {
				return err
			}
			defer closeClient()
			return do(k, cmd.Context(), nodes...)
		},
	}
}

func (o *clusterFlags) newStart() *cobra.Command {
	var asMaster bool
	cmd := &cobra.Command{
		Use: "start [NODE...]", Short: "Start nodes that are down, or all of them",
		Long: "Start nodes that are down, or all of them, each in the role that it had, and wait until they are registered.\n\n" +
			"With --as-master a slave starts as the master of its name, which must be down. The old master is its slave from then\n" +
			"on: what it has and the new master does not is cut from its log when it comes back, and kept aside.",
		RunE: func(cmd *cobra.Command, nodes []string) error {
			k, closeClient, err := o.control()
			if err != nil {
				return err
			}
			defer closeClient()
			switch {
			case !asMaster:
				return k.Start(cmd.Context(), nodes...)
			case len(nodes) != 1:
				return fmt.Errorf("--as-master needs one node, not %q", strings.Join(nodes, " "))
			}
			return k.StartAsMaster(cmd.Context(), nodes[0])
		},
	}
	cmd.Flags().BoolVar(&asMaster, "as-master", false, "the slave takes over")
	return cmd
}
