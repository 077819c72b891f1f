package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"rocketd/message"
	"rocketd/store/inspect"
)

func newStoreStat() *cobra.Command {
	var o storeFlags
	var output string
	cmd := &cobra.Command{
		Use:   "stat DIR",
		Short: "Say what a store holds: files, sizes, topics, messages, times, features",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return badOutput(output, "text, json")
			}
			s, err := o.open(args[0], nil)
			if err != nil {
				return err
			}
			st, err := s.Stat(cmd.Context())
			if err != nil {
				return unreadable(err)
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), st)
			}
			return printStat(cmd.OutOrStdout(), st)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "form of the output: text, json")
	return cmd
}

func printStat(out io.Writer, st *inspect.Stat) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	l := &st.Log
	closed := "closed in order"
	if st.InUse {
		closed = "in use, or not closed in order (abort)"
	}
	_, _ = fmt.Fprintf(w, "store\t%s\t%s\n", st.Dir, closed)
	_, _ = fmt.Fprintf(w, "log\t%d to %d\t%s in %d files of %s\n", l.Min, l.Max, size(l.Max-l.Min), l.Files, size(l.FileSize))
	_, _ = fmt.Fprintf(w, "stored\t%s\tto %s\n", timeOf(l.FirstMs), timeOf(l.LastMs))
	_, _ = fmt.Fprint(w, "\nPART\tFILES\tLENGTH\tON DISK\n")
	for _, p := range st.Parts {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", p.Name, p.Files, size(p.Bytes), size(p.Used))
	}
	_, _ = fmt.Fprint(w, "\nTOPIC\tQUEUES\tMESSAGES\n")
	for _, t := range st.Topics {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\n", t.Topic, t.Queues, t.Messages)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, l := range []struct {
		title string
		lines []string
	}{{"Features", st.Features}, {"Signs of damage", st.Signs}} {
		if len(l.lines) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(out, "\n%s:\n  %s\n", l.title, strings.Join(l.lines, "\n  ")); err != nil {
			return err
		}
	}
	return nil
}

// selection has the flags that choose messages.
type selection struct {
	storeFlags
	inspect.Selection
}

func (o *selection) flags(cmd *cobra.Command) {
	o.storeFlags.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.Topic, "topic", "t", "", "topic; all if not given")
	f.Int32Var(&o.Queue, "queue", -1, "number of the queue; all if not given")
	f.Int64Var(&o.From, "from", 0, "first offset in each queue; with --physical first position in the log")
	f.Int64Var(&o.Limit, "limit", 0, "messages; no limit if not given")
}

// each calls fn for the chosen messages. Those that cannot be read are told on standard error, and end the program with
// exitFindings.
func (o *selection) each(cmd *cobra.Command, dir string, fn func(m *inspect.Message) error) error {
	s, err := o.open(dir, nil)
	if err != nil {
		return err
	}
	bad := 0
	err = s.Each(cmd.Context(), o.Selection, func(f inspect.Finding) {
		bad++
		_, _ = io.WriteString(cmd.ErrOrStderr(), findingLine(&f))
	}, fn)
	if err == nil && bad > 0 {
		err = &exitError{exitFindings, fmt.Errorf("%d places of the store could not be read", bad)}
	}
	return unreadable(err)
}

func newStoreDump() *cobra.Command {
	var o selection
	var body string
	cmd := &cobra.Command{
		Use:   "dump DIR",
		Short: "Show messages with all their fields, a line of JSON each",
		Example: "  rocketd store dump ./store --topic orders --queue 0 --from 1000 --limit 10 --body text\n" +
			"  rocketd store dump ./store --physical --from 1073741824",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			form := inspect.BodyForm(body)
			if form != inspect.BodyNone && form != inspect.BodyText && form != inspect.BodyBase64 {
				return fmt.Errorf("--body %q: it must be one of text, base64, none", body)
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			err := o.each(cmd, args[0], func(m *inspect.Message) error { return writeJSON(out, inspect.NewRow(m, form)) })
			return errors.Join(err, out.Flush())
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.Physical, "physical", false, "in the order of the log, also what is in no queue")
	cmd.Flags().StringVar(&body, "body", "none", "form of the bodies: text (base64 for what is no UTF-8), base64, none")
	return cmd
}

func newStoreExport() *cobra.Command {
	var o selection
	var file, form string
	cmd := &cobra.Command{
		Use:   "export DIR --topic TOPIC",
		Short: "Write a topic's messages to a file, queue by queue, to be sent again",
		Long: "Write a topic's messages to a file, queue by queue in order: as JSON lines like those of rocketd consume -o json, or the\n" +
			"bodies alone, a line each, as rocketd send takes them.",
		Example: "  rocketd store export ./store --topic orders -o orders.jsonl\n" +
			"  rocketd store export ./store --topic orders --form bodies | rocketd send orders",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if form != "records" && form != "bodies" {
				return fmt.Errorf("--form %q: it must be one of records, bodies", form)
			}
			out := cmd.OutOrStdout()
			if file != "-" {
				f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				out = f
			}
			w := bufio.NewWriter(out)
			err = o.each(cmd, args[0], func(m *inspect.Message) error { return exportMessage(w, m, form) })
			return errors.Join(err, w.Flush())
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&file, "output", "o", "-", "file to write, which must not be there yet; - is standard output")
	cmd.Flags().StringVar(&form, "form", "records", "records (JSON lines) or bodies")
	_ = cmd.MarkFlagRequired("topic")
	return cmd
}

// exported is a message as export writes it: what rocketd consume -o json prints, without the broker.
type exported struct {
	Topic       string            `json:"topic"`
	Queue       int32             `json:"queue"`
	Offset      int64             `json:"offset"`
	ID          string            `json:"msgId,omitempty"`
	OffsetID    string            `json:"offsetMsgId"`
	Tag         string            `json:"tags,omitempty"`
	Keys        string            `json:"keys,omitempty"`
	Properties  map[string]string `json:"properties"`
	Born        time.Time         `json:"born"`
	BornHost    string            `json:"bornHost"`
	Stored      time.Time         `json:"stored"`
	Attempts    int32             `json:"reconsumeTimes"`
	Compression int32             `json:"compression,omitempty"` // 1 LZ4, 2 zstd: the body is as it is stored
	Body        *string           `json:"body,omitempty"`
	BodyBase64  []byte            `json:"bodyBase64,omitempty"`
}

// exportMessage writes a message, or those of an inner batch.
func exportMessage(w io.Writer, m *inspect.Message, form string) error {
	plain, err := inspect.Plain(m.Record)
	if err != nil && !errors.Is(err, inspect.ErrCompression) {
		return fmt.Errorf("%s/%d@%d: %w", m.Topic, m.Queue, m.Offset, err)
	}
	compressed := err != nil
	if m.Record.SysFlag&message.FlagInnerBatch == 0 {
		return exportOne(w, m, m.Offset, plain, inspect.Properties(m.Record), compressed, form)
	}
	offset := m.Offset
	return message.EachInBatch(plain, func(_ int32, body, props []byte) error {
		err := exportOne(w, m, offset, body, inspect.Properties(&message.Record{Properties: props}), false, form)
		offset++
		return err
	})
}

func exportOne(w io.Writer, m *inspect.Message, offset int64, body []byte, props map[string]string, compressed bool, form string) error {
	r := m.Record
	if form == "bodies" {
		if compressed || bytes.ContainsAny(body, "\r\n") || len(body) == 0 {
			return &exitError{exitFindings, fmt.Errorf("the body of %s/%d@%d is no line of text: export records instead", m.Topic, m.Queue, offset)}
		}
		_, err := w.Write(append(bytes.Clone(body), '\n'))
		return err
	}
	e := exported{
		Topic: m.Topic, Queue: m.Queue, Offset: offset, ID: props[message.PropUniqKey],
		OffsetID: string(message.AppendOffsetID(nil, r.StoreHost, r.Physical)), Tag: props[message.PropTags], Keys: props[message.PropKeys],
		Properties: props, Born: time.UnixMilli(r.BornMs).UTC(), BornHost: r.BornHost.String(), Stored: time.UnixMilli(r.StoreMs).UTC(),
		Attempts: r.ReconsumeTimes,
	}
	if compressed {
		e.Compression = r.SysFlag & message.CompressionMask >> 8
	}
	if !compressed && utf8.Valid(body) {
		text := string(body)
		e.Body = &text
	} else {
		e.BodyBase64 = body
	}
	return writeJSON(w, e)
}
