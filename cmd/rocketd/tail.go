package main

import (
	"github.com/spf13/cobra"

	"rocketd/client"
)

func newTail() *cobra.Command {
	var t talk
	var cfg client.Tailing
	cmd := &cobra.Command{
		Use:     "tail TOPIC",
		Short:   "Print a topic's newest messages, without a consumer group",
		Example: "  rocketd tail orders -f -o long",
		Args:    onlyTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			show, err := t.printer(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			c, closeClient, err := t.connect()
			if err != nil {
				return err
			}
			defer closeClient()
			cfg.Topic = args[0]
			return c.Tail(cmd.Context(), cfg, show)
		},
	}
	t.flags(cmd, "text (bodies), long, json")
	f := cmd.Flags()
	f.IntVarP(&cfg.Lines, "lines", "l", 10, "messages to begin with")
	f.BoolVarP(&cfg.Follow, "follow", "f", false, "wait for new messages until Ctrl-C")
	f.StringVar(&cfg.Tags, "tags", "*", "tags that are wanted, 'a || b'")
	return cmd
}
