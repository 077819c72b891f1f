package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rocketd/cluster"
)

func (o *clusterFlags) newStatus() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "status", Short: "Show which nodes run, who knows them and how far slaves are behind", Args: cobra.NoArgs,
		Long: "Show which nodes run, who knows them and how far slaves are behind.\n\n" +
			"REGISTERED is how many NameServers know the broker with its id and address, or how many brokers a NameServer knows.\n" +
			"LAG is how much of its master's log a slave does not have. A dash is what nobody answers.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return badOutput(output, "text, json")
			}
			k, closeClient, err := o.control()
			if err != nil {
				return err
			}
			defer closeClient()
			s, err := k.Status(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), s)
			}
			return printStatus(cmd.OutOrStdout(), s)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "form of the output: text, json")
	return cmd
}

// printStatus writes the table of nodes.
func printStatus(w io.Writer, s *cluster.Status) error {
	namesrvs, brokers := 0, 0
	for i := range s.Nodes {
		if s.Nodes[i].Broker == "" {
			namesrvs++
		} else {
			brokers++
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NAME\tROLE\tADDRESS\tSTATE\tPID\tREGISTERED\tLAG\tFOLDER")
	for i := range s.Nodes {
		n := &s.Nodes[i]
		pid, registered, lag := "-", "-", ""
		if n.PID != 0 {
			pid = strconv.Itoa(n.PID)
		}
		switch {
		case n.Broker != "":
			registered = fmt.Sprintf("%d/%d", len(n.Registered), namesrvs)
		case n.Known != nil:
			registered = fmt.Sprintf("%d/%d", *n.Known, brokers)
		}
		if n.Lag != nil {
			lag = size(*n.Lag)
		} else if n.Role == "slave" {
			lag = "-"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.Addr, n.State, pid, registered, lag, n.Dir)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nNameServers  %s\nFolder       %s\n", s.Namesrvs, s.Dir)
	return err
}
