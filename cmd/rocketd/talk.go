package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rocketd/client"
	"rocketd/protocol"
	"rocketd/remoting"
)

const defaultNamesrv = "127.0.0.1:9876"

// talk has the flags of every command that speaks to running servers.
type talk struct {
	namesrv string
	output  string
}

func (t *talk) flags(cmd *cobra.Command, outputs string) {
	def := os.Getenv("NAMESRV_ADDR")
	if def == "" {
		def = defaultNamesrv
	}
	cmd.Flags().StringVarP(&t.namesrv, "namesrv", "n", def, "name servers, HOST:PORT;HOST:PORT (environment: NAMESRV_ADDR)")
	cmd.Flags().StringVarP(&t.output, "output", "o", "text", "form of the output: "+outputs)
}

// connect returns a client and what closes it.
func (t *talk) connect() (*client.Client, func(), error) {
	addrs, err := client.ParseAddrs(t.namesrv)
	if err != nil {
		return nil, nil, fmt.Errorf("--namesrv: %w", err)
	}
	log := newLog(os.Stderr, slog.LevelWarn)
	var c *client.Client
	r := remoting.NewClient(remoting.ClientConfig{
		Timeout: 5 * time.Second, Log: log,
		OnRequest: func(call *protocol.Call) { c.OnRequest(call) },
	})
	c = client.New(client.Config{Namesrv: addrs, Invoker: r, Log: log})
	return c, r.Close, nil
}

// withTopic refuses a command line without a topic, onlyTopic also one with anything behind it.
func withTopic(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("the topic is missing; usage: %s", cmd.UseLine())
	}
	return nil
}

func onlyTopic(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("only one topic is possible, and %q is too much; usage: %s", args[1], cmd.UseLine())
	}
	return withTopic(cmd, args)
}

// badOutput is the error for a form that a command does not have.
func badOutput(got, allowed string) error {
	return fmt.Errorf("--output %q: it must be one of %s", got, allowed)
}

// writeJSON writes v on a line of its own. Characters that HTML knows stay as they are.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printer writes received messages.
func (t *talk) printer(w io.Writer) (func(*client.Message) error, error) {
	switch t.output {
	case "text":
		return func(m *client.Message) error {
			_, err := fmt.Fprintf(w, "%s\n", m.Body)
			return err
		}, nil
	case "long":
		return func(m *client.Message) error {
			var b strings.Builder
			fmt.Fprintf(&b, "%s %s/%d@%d", m.Stored.Format("2006-01-02T15:04:05.000"), m.Broker, m.Queue, m.Offset)
			if m.Tag != "" {
				fmt.Fprintf(&b, " tags=%s", m.Tag)
			}
			if m.Keys != "" {
				fmt.Fprintf(&b, " keys=%q", m.Keys)
			}
			_, err := fmt.Fprintf(w, "%s %s\n", &b, m.Body)
			return err
		}, nil
	case "json":
		return func(m *client.Message) error { return writeJSON(w, newReceived(m)) }, nil
	}
	return nil, badOutput(t.output, "text, long, json")
}

// received is a message as -o json prints it. A body that is no UTF-8 text stands in bodyBase64.
type received struct {
	Topic      string            `json:"topic"`
	Broker     string            `json:"broker"`
	Queue      int32             `json:"queue"`
	Offset     int64             `json:"offset"`
	ID         string            `json:"msgId"`
	OffsetID   string            `json:"offsetMsgId"`
	Tag        string            `json:"tags,omitempty"`
	Keys       string            `json:"keys,omitempty"`
	Properties map[string]string `json:"properties"`
	Born       time.Time         `json:"born"`
	BornHost   string            `json:"bornHost"`
	Stored     time.Time         `json:"stored"`
	Attempts   int32             `json:"reconsumeTimes"`
	Body       *string           `json:"body,omitempty"`
	BodyBase64 []byte            `json:"bodyBase64,omitempty"`
}
