package main

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"rocketd/client"
)

type consumeOptions struct {
	talk
	group string
	from  string
	tags  string
	count int
	idle  time.Duration
}

func newConsume() *cobra.Command {
	var o consumeOptions
	cmd := &cobra.Command{
		Use:   "consume TOPIC --group GROUP",
		Short: "Print a topic's messages as a member of a consumer group",
		Long: "Print a topic's messages as a member of a consumer group. The group's members share the queues, and what is\n" +
			"printed is committed: the next start goes on behind it. Without --count or --idle it runs until Ctrl-C.",
		Example: "  rocketd consume orders --group billing\n" +
			"  rocketd consume orders --group billing --count 10 -o json | jq .body",
		Args: onlyTopic,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	o.flags(cmd, "text (bodies), long, json")
	f := cmd.Flags()
	f.StringVarP(&o.group, "group", "g", "", "consumer group")
	f.StringVar(&o.from, "from", "first", "where a group without offsets starts: first or last")
	f.StringVar(&o.tags, "tags", "*", "tags that are wanted, 'a || b'")
	f.IntVarP(&o.count, "count", "c", 0, "end after so many messages")
	f.DurationVar(&o.idle, "idle", 0, "end when no message has come for so long")
	_ = cmd.MarkFlagRequired("group")
	return cmd
}

func (o *consumeOptions) run(cmd *cobra.Command, topic string) error {
	if o.from != "first" && o.from != "last" {
		return fmt.Errorf("--from %q: it must be first or last", o.from)
	}
	show, err := o.printer(cmd.OutOrStdout())
	if err != nil {
		return err
	}
	c, closeClient, err := o.connect()
	if err != nil {
		return err
	}
	defer closeClient()
	return o.bounded(cmd.Context(), show, func(ctx context.Context, take func(*client.Message) error) error {
		err := c.Consume(ctx, client.Consumption{Topic: topic, Group: o.group, Tags: o.tags, Last: o.from == "last"}, take)
		if errors.Is(err, client.ErrNoTopic) {
			return fmt.Errorf("%w; the first message creates it: rocketd send %s MESSAGE", err, topic)
		}
		return err
	})
}

// bounded runs read until enough messages came, or none for a while.
func (o *consumeOptions) bounded(ctx context.Context, show func(*client.Message) error, read func(context.Context, func(*client.Message) error) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.idle > 0 {
		timer := time.AfterFunc(o.idle, cancel)
		defer timer.Stop()
		inner := show
		show = func(m *client.Message) error {
			timer.Reset(o.idle)
			return inner(m)
		}
	}
	seen := 0
	return read(ctx, func(m *client.Message) error {
		if err := show(m); err != nil {
			return err
		}
		if seen++; o.count > 0 && seen >= o.count {
			return client.ErrEnough
		}
		return nil
	})
}

func newReceived(m *client.Message) received {
	r := received{
		Topic: m.Topic, Broker: m.Broker, Queue: m.Queue, Offset: m.Offset, ID: m.ID, OffsetID: m.OffsetID, Tag: m.Tag,
		Keys: m.Keys, Properties: m.Properties, Born: m.Born, BornHost: m.BornHost, Stored: m.Stored, Attempts: m.Attempts,
	}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		r.Body = &body
	} else {
		r.BodyBase64 = m.Body
	}
	return r
}
