package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rocketd/store/inspect"
)

func newStoreVerify() *cobra.Command {
	var o storeFlags
	var output string
	cmd := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check every record, queue entry and index entry of a store",
		Long: "Check every record of the commit log, every entry of every queue, every entry, chain and slot of the index, the\n" +
			"checkpoint and the configuration. It reads only, and needs no lock.\n\n" +
			"Findings are damage (something is lost, wrong or cannot be reached), pending (what a crash or a copy of a live store\n" +
			"leaves, and the next start mends) and notes. Exit code: 0 nothing but notes, 1 findings, 2 the store cannot be read.",
		Example: "  rocketd store verify /data/rocketmq/store\n" +
			"  rocketd store verify ./copy -o json | jq '.findings[]'",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return &exitError{exitUnreadable, badOutput(output, "text, json")}
			}
			b := newBar()
			s, err := o.open(args[0], b.progress())
			if err != nil {
				return err
			}
			began := time.Now()
			r, err := s.Verify(cmd.Context())
			b.end()
			if err != nil {
				return unreadable(err)
			}
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), r)
			} else {
				err = printReport(cmd.OutOrStdout(), r, time.Since(began))
			}
			if err == nil && !r.Clean() {
				err = &exitError{exitFindings, nil}
			}
			return err
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "form of the output: text, json")
	return cmd
}

// printReport writes a report for people.
func printReport(w io.Writer, r *inspect.Report, took time.Duration) error {
	var b strings.Builder
	l, q, x := &r.Log, &r.Queues, &r.Index
	fmt.Fprintf(&b, "commit log   %d records in %d files, %d to %d (%s), stored %s to %s\n",
		l.Records, l.Files, l.Min, l.End, size(l.End-l.Min), timeOf(l.FirstMs), timeOf(l.LastMs))
	if l.NoQueue > 0 || l.Orphans > 0 {
		fmt.Fprintf(&b, "             %d rolled back or in no queue, %d of deleted topics\n", l.NoQueue, l.Orphans)
	}
	fmt.Fprintf(&b, "queues       %d entries in %d queues, %d of deleted records, %d without a message; %d behind, %d ahead\n",
		q.Entries, q.Queues, q.Expired, q.Fillers, q.Behind, q.Ahead)
	fmt.Fprintf(&b, "index        %d entries in %d files, %d of deleted records; %d records behind\n", x.Entries, x.Files, x.Expired, x.Behind)
	if r.InUse {
		b.WriteString("abort        is there: a broker uses the store, or did not close it in order\n")
	}
	if len(r.Findings) > 0 {
		b.WriteByte('\n')
	}
	for i := range r.Findings {
		b.WriteString(findingLine(&r.Findings[i]))
	}
	all := r.Counts[inspect.Damage] + r.Counts[inspect.Mended] + r.Counts[inspect.Note]
	if more := all - int64(len(r.Findings)); more > 0 {
		fmt.Fprintf(&b, "... and %d more\n", more)
	}
	fmt.Fprintf(&b, "\n%s read in %s (%s/s). ", size(r.Read), took.Round(time.Millisecond), size(int64(float64(r.Read)/max(took.Seconds(), 0.001))))
	damage, pending := r.Counts[inspect.Damage], r.Counts[inspect.Mended]
	switch {
	case damage > 0:
		fmt.Fprintf(&b, "Damaged: %d findings of damage, %d pending. See what could be done: rocketd store repair %s\n", damage, pending, r.Dir)
	case pending > 0:
		fmt.Fprintf(&b, "No damage: the next start of the broker mends %d findings.\n", pending)
	default:
		b.WriteString("Clean.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// findingLine is a finding on a line: level, file and byte, place in log or queue, what is wrong.
func findingLine(f *inspect.Finding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %s", f.Level, f.File)
	if f.File == "" {
		b.WriteString(f.Kind)
	}
	if f.At != nil {
		fmt.Fprintf(&b, "+%d", *f.At)
	}
	if f.Physical != nil {
		fmt.Fprintf(&b, " [physical %d", *f.Physical)
		if f.Bytes > 0 {
			fmt.Fprintf(&b, ", %d bytes", f.Bytes)
		}
		b.WriteByte(']')
	}
	if f.Queue != nil {
		fmt.Fprintf(&b, " %s/%d", f.Topic, *f.Queue)
		if f.Offset != nil {
			fmt.Fprintf(&b, "@%d", *f.Offset)
		}
	}
	fmt.Fprintf(&b, ": %s\n", f.Text)
	return b.String()
}
