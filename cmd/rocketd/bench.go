package main

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"rocketd/bench"
	"rocketd/client"
	"rocketd/protocol"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a RocketMQ broker or NameServer: any, also Java's",
		Long: "Measure a RocketMQ broker or NameServer. One thread generates the load, so that a machine's other cores are the server's. Every\n" +
			"answer and every offset is checked; a run with a failure or a loss ends with exit code 1.",
	}
	cmd.AddCommand(
		newLoad("send", "Store messages and measure the acknowledgements", bench.Send),
		newLoad("pull", "Read queues from their beginning", bench.Pull),
		newLoad("pop", "Pop what a topic holds and acknowledge it", bench.Pop),
		newLoad("e2e", "Send at a fixed rate and measure the way to a consumer", bench.E2E),
		newLoad("timer", "Send timed messages that are due within one second and measure how late they come", bench.Timer),
		newLoad("transaction", "Send half messages and commit them", bench.Transaction),
		newLoad("query", "Ask for messages by unique key", bench.Query),
		newLoad("route", "Ask a NameServer for the route of a topic", bench.Route),
		newLoad("storm", "Register masters at a NameServer, all at once, and ask for a route meanwhile", bench.Storm),
		newEcho(),
	)
	return cmd
}

// newLoad is one of the commands that load a broker.
func newLoad(mode, short string, run func(context.Context, bench.Config) (*bench.Result, error)) *cobra.Command {
	var t talk
	var header string
	cfg := bench.Config{Group: "rocketd_bench", Topics: 1, Batch: 1, Groups: 1, InFlight: 1, Size: 128}
	cmd := &cobra.Command{Use: mode, Short: short, Args: cobra.NoArgs}
	t.flags(cmd, "text, json")
	f := cmd.Flags()
	f.StringVar(&cfg.Addr, "addr", "", "the server to measure, HOST:PORT; without it the name server says which")
	f.StringVarP(&cfg.Topic, "topic", "t", "RocketdBench", "topic; a broker that creates topics creates it")
	f.IntVar(&cfg.Queues, "queues", 4, "queues of a topic that are used")
	f.StringVar(&header, "header", "binary", "form of the requests' headers: json or binary")
	f.DurationVar(&cfg.Duration, "duration", 5*time.Second, "time that is measured")
	f.DurationVar(&cfg.Warmup, "warmup", time.Second, "time before that, which does not count")
	f.Int64Var(&cfg.Count, "count", 0, "end after so many messages, without warm-up")
	f.IntVar(&cfg.PID, "pid", 0, "process of the broker, for its CPU time and memory")
	f.DurationVar(&cfg.Timeout, "timeout", 10*time.Second, "time without an answer after which requests count as lost")
	f.IntVar(&cfg.Conns, "conns", 4, "connections")
	if mode != "pull" && mode != "pop" {
		f.IntVar(&cfg.InFlight, "in-flight", 16, "requests that a connection keeps open")
	}
	if mode == "send" || mode == "e2e" || mode == "timer" || mode == "transaction" {
		f.IntVar(&cfg.Size, "size", 128, "bytes of a body")
		f.StringVar(&cfg.Property, "property", "", "property NAME=VALUE of the messages")
	}
	if mode == "send" || mode == "e2e" {
		f.IntVar(&cfg.Batch, "batch", 1, "messages in a request")
		f.StringVar(&cfg.Tag, "tag", "", "tag of the messages")
		f.Float64Var(&cfg.Rate, "rate", 0, "messages a second, whatever the answers do; 0 sends as fast as they come")
	}
	if mode == "pop" || mode == "e2e" {
		f.StringVar(&cfg.Broker, "broker", "broker-a", "name of the broker, for those that pop")
	}
	if mode == "pop" || mode == "pull" || mode == "e2e" || mode == "timer" {
		f.StringVar(&cfg.Group, "group", cfg.Group, "consumer group; a popping one is created")
		f.IntVar(&cfg.Max, "max", 32, "messages that a request asks for")
	}
	if mode == "pull" || mode == "e2e" || mode == "timer" {
		f.IntVar(&cfg.Groups, "groups", 1, "consumer groups that each read everything")
	}
	switch mode {
	case "storm":
		cfg.Max = 1
		f.IntVar(&cfg.Topics, "topics", 1000, "topics of each master")
		f.Float64Var(&cfg.Rate, "rate", 1000, "routes that are asked for in a second")
		setDefault(cmd, "conns", "1000")
		setDefault(cmd, "in-flight", "1024")
	case "pop":
		setDefault(cmd, "conns", "16")
	case "timer":
		setDefault(cmd, "conns", "16")
		setDefault(cmd, "count", "100000")
	case "send", "route", "query", "transaction":
		cfg.Max = 1
		setDefault(cmd, "conns", "16")
		if mode == "send" {
			f.StringVar(&cfg.Counter, "counter", "", "name of a property that counts the messages of a connection modulo 100")
			f.IntVar(&cfg.Topics, "topics", 1, "topics, TOPIC_0 and so on, that the messages are spread over")
			f.BoolVar(&cfg.Create, "create", false, "create the topics with that many queues first, or change them to it")
		}
	case "pull":
		f.BoolVar(&cfg.Loop, "loop", false, "begin again at the end, until the time is over")
		f.BoolVar(&cfg.Verify, "verify", false, "check the checksum of every body")
		f.StringVar(&cfg.SQL, "sql", "", "read only messages that this SQL92 expression is true of; that others are missing is no fault then")
	case "e2e":
		f.BoolVar(&cfg.Pop, "pop", false, "pop the messages and acknowledge them, instead of pulling")
		setDefault(cmd, "rate", "1000")
		setDefault(cmd, "conns", "1")
		setDefault(cmd, "in-flight", "1024")
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch header {
		case "binary":
			cfg.Form = protocol.Binary
		case "json":
			cfg.Form = protocol.JSON
		default:
			return fmt.Errorf("--header %q: it must be json or binary", header)
		}
		if t.output != "text" && t.output != "json" {
			return badOutput(t.output, "text, json")
		}
		if cfg.Count > 0 && !cmd.Flags().Changed("duration") {
			cfg.Duration = 0
		}
		if cfg.Addr == "" {
			if cfg.Addr, err = t.measured(cmd.Context(), mode, cfg.Topic); err != nil {
				return err
			}
		}
		debug.SetGCPercent(400) // the generator leaves the cores to the broker
		res, err := run(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		if t.output == "json" {
			err = writeJSON(cmd.OutOrStdout(), res)
		} else {
			err = res.Print(cmd.OutOrStdout())
		}
		if err == nil && !res.OK() {
			err = &exitError{1, nil}
		}
		return err
	}
	return cmd
}

func setDefault(cmd *cobra.Command, flag, value string) {
	f := cmd.Flags().Lookup(flag)
	f.DefValue = value
	_ = f.Value.Set(value)
}

// measured is the first NameServer for routes and registrations, else the first broker of a topic, or of those that would create it.
func (t *talk) measured(ctx context.Context, mode, topic string) (string, error) {
	if mode == "route" || mode == "storm" {
		addrs, err := client.ParseAddrs(t.namesrv)
		if err != nil {
			return "", fmt.Errorf("--namesrv: %w", err)
		}
		return addrs[0], nil
	}
	c, closeClient, err := t.connect()
	if err != nil {
		return "", err
	}
	defer closeClient()
	all, err := c.Brokers(ctx, topic)
	if err != nil {
		return "", err
	}
	return all[0], nil
}

func newEcho() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use: "echo", Short: "Answer send requests and do nothing else: the floor under every broker", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(cmd.OutOrStdout(), "echo on %s; measure it with: rocketd bench send --addr %s\n", l.Addr(), l.Addr())
			return bench.Echo(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:10999", "address to listen on")
	return cmd
}
