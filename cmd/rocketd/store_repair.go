package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rocketd/store/inspect"
)

type repairOptions struct {
	storeFlags
	to     string
	yes    bool
	dry    bool
	output string
}

func newStoreRepair() *cobra.Command {
	var o repairOptions
	cmd := &cobra.Command{
		Use:   "repair DIR",
		Short: "Mend a store: cut a torn end, build queues and index again from the log",
		Long: "Mend what verify finds: end the log behind its last whole record, step over damaged pieces in the middle of it, build\n" +
			"queues and index again from it, take configuration from its backups. Nothing is deleted: what is replaced lies in\n" +
			"DIR/repair-TIME afterwards. Without --to or --yes it only says what it would do.\n\n" +
			"Exit code: 0 nothing to do, or all mended; 1 something to do, or left; 2 the store cannot be read or written.",
		Example: "  rocketd store repair /data/store                    # the plan\n" +
			"  rocketd store repair /data/store --to /data/mended  # on a copy\n" +
			"  rocketd store repair /data/store --yes              # in place; the broker must be stopped",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "copy the store to this directory, which must not be there yet or be empty, and repair the copy")
	f.BoolVar(&o.yes, "yes", false, "repair in place")
	f.BoolVar(&o.dry, "dry-run", false, "only say what would be done, also with --to or --yes")
	f.StringVarP(&o.output, "output", "o", "text", "form of the output: text, json")
	return cmd
}

// repaired is what a repair says with -o json.
type repaired struct {
	Dir   string `json:"dir"`
	Done  bool   `json:"done"`            // false: a plan only
	Aside string `json:"aside,omitempty"` // where what was replaced lies
	*inspect.Plan
	Verified *inspect.Report `json:"verified,omitempty"` // after it
}

func (o *repairOptions) run(cmd *cobra.Command, dir string) error {
	switch {
	case o.output != "text" && o.output != "json":
		return badOutput(o.output, "text, json")
	case o.to != "" && o.yes:
		return errors.New("--to repairs a copy and --yes in place: only one of them can be given")
	}
	write := (o.to != "" || o.yes) && !o.dry
	if write && o.yes { // before anything is looked at: it must stay as it is
		lock, err := inspect.Lock(inspect.Config{Dir: dir})
		if err != nil {
			return unreadable(fmt.Errorf("cannot repair the store in place: %w", err))
		}
		defer lock.Close()
	}
	b := newBar()
	s, err := o.open(dir, b.progress())
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if write && o.to != "" {
		if s, err = s.Copy(ctx, o.to); err != nil {
			return unreadable(err)
		}
		dir = o.to
	}
	plan, report, err := s.Plan(ctx)
	b.end()
	if err != nil {
		return unreadable(err)
	}
	res := repaired{Dir: dir, Plan: plan}
	clean := report.Clean()
	if write && len(plan.Actions) > 0 {
		if res.Aside, err = plan.Repair(ctx, time.Now()); err != nil {
			return unreadable(fmt.Errorf("the repair did not come to its end, and may be run again: %w", err))
		}
		res.Done = true
		if o.to != "" {
			o.commitLog = nil
		}
		if s, err = o.open(dir, b.progress()); err == nil {
			res.Verified, err = s.Verify(ctx)
		}
		b.end()
		if err != nil {
			return unreadable(err)
		}
		clean = res.Verified.Clean()
	}
	if o.output == "json" {
		err = writeJSON(cmd.OutOrStdout(), res)
	} else {
		err = printRepair(cmd.OutOrStdout(), &res, report.Clean())
	}
	if err == nil && (!clean || len(plan.Left) > 0) {
		err = &exitError{exitFindings, nil}
	}
	return err
}

func printRepair(w io.Writer, r *repaired, clean bool) error {
	var b strings.Builder
	switch {
	case clean && len(r.Actions) == 0:
		fmt.Fprintf(&b, "%s is clean: nothing to do.\n", r.Dir)
	case r.Done:
		fmt.Fprintf(&b, "Repaired %s:\n", r.Dir)
	default:
		fmt.Fprintf(&b, "What a repair of %s would do:\n", r.Dir)
	}
	for _, a := range r.Actions {
		fmt.Fprintf(&b, "  %-10s %s", a.Do, a.File)
		if a.At > 0 || a.Do == inspect.DoFill || a.Do == inspect.DoCut {
			fmt.Fprintf(&b, "+%d", a.At)
		}
		if a.Bytes > 0 {
			fmt.Fprintf(&b, ", %d bytes", a.Bytes)
		}
		fmt.Fprintf(&b, ": %s\n", a.Text)
	}
	for _, l := range r.Left {
		fmt.Fprintf(&b, "  not mended: %s\n", l)
	}
	switch {
	case r.Done && r.Verified.Clean():
		fmt.Fprintf(&b, "What was replaced lies in %s. Verified: clean, %d messages.\n", r.Aside, r.Verified.Log.Records-r.Verified.Log.NoQueue)
	case r.Done:
		fmt.Fprintf(&b, "What was replaced lies in %s. Verified again, there are still findings:\n", r.Aside)
		for i := range r.Verified.Findings {
			b.WriteString(findingLine(&r.Verified.Findings[i]))
		}
	case len(r.Actions) > 0:
		b.WriteString("Nothing was written. --to COPY does it on a copy, --yes in place.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
