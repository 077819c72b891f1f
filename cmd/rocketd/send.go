package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"rocketd/client"
)

type sendOptions struct {
	talk
	keys       []string
	tag        string
	properties []string
	queue      int
}

func newSend() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send TOPIC [MESSAGE ...]",
		Short: "Send messages: the arguments, or each line of standard input",
		Long: "Send messages: the arguments, or each line of standard input. Empty lines are passed over, since brokers take no\n" +
			"message without a body. It ends at the first message that is refused.",
		Example: "  rocketd send orders 'the first message' --tags new --keys order-1\n" +
			"  tail -f access.log | rocketd send access -o json",
		Args: withTopic,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1:]) },
	}
	o.flags(cmd, "text, json")
	f := cmd.Flags()
	f.StringSliceVar(&o.keys, "keys", nil, "keys by which the message can be found, separated by commas")
	f.StringVar(&o.tag, "tags", "", "tag by which consumers choose")
	f.StringArrayVarP(&o.properties, "property", "p", nil, "property KEY=VALUE; may be given again")
	f.IntVar(&o.queue, "queue", -1, "number of the queue; any if not given")
	return cmd
}

// sentLine is a sent message as -o json prints it.
type sentLine struct {
	Topic    string `json:"topic"`
	Broker   string `json:"broker"`
	Queue    int32  `json:"queue"`
	Offset   int64  `json:"offset"`
	ID       string `json:"msgId"`
	OffsetID string `json:"offsetMsgId"`
	Status   string `json:"status"`
}

func (o *sendOptions) run(cmd *cobra.Command, topic string, messages []string) error {
	if o.output != "text" && o.output != "json" {
		return badOutput(o.output, "text, json")
	}
	d := client.Draft{Tag: o.tag, Keys: o.keys, Queue: o.queue, Properties: map[string]string{}}
	for _, p := range o.properties {
		k, v, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("--property %q: it must be KEY=VALUE", p)
		}
		d.Properties[k] = v
	}
	c, closeClient, err := o.connect()
	if err != nil {
		return err
	}
	defer closeClient()
	p, err := c.Producer(cmd.Context(), topic)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	each := func(body []byte) error {
		d.Body = body
		s, err := p.Send(cmd.Context(), d)
		if err != nil {
			return err
		}
		if o.output == "json" {
			return writeJSON(out, sentLine{topic, s.Broker, s.Queue, s.Offset, s.ID, s.OffsetID, s.Status})
		}
		_, err = fmt.Fprintf(out, "%s %s/%d@%d %s\n", s.Status, s.Broker, s.Queue, s.Offset, s.ID)
		return err
	}
	if len(messages) == 0 {
		return eachLine(cmd.InOrStdin(), func(line []byte) error {
			if len(line) == 0 {
				return nil
			}
			return each(line)
		})
	}
	for _, m := range messages {
		if err := each([]byte(m)); err != nil {
			return err
		}
	}
	return nil
}

// eachLine calls fn with every line, without its end. A line may be as long as a message.
func eachLine(in io.Reader, fn func([]byte) error) error {
	if f, ok := in.(*os.File); ok {
		if s, err := f.Stat(); err == nil && s.Mode()&os.ModeCharDevice != 0 {
			fmt.Fprintln(os.Stderr, "Each line becomes a message; Ctrl-D ends.")
		}
	}
	const longest = 5 << 20 // a little more than brokers take, so that they say what is wrong
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), longest)
	for lines.Scan() {
		if err := fn(lines.Bytes()); err != nil {
			return err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a line of standard input is longer than %d bytes", longest)
	}
	return lines.Err()
}
