package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"rocketd/broker"
	"rocketd/client"
	"rocketd/internal/vfs"
	"rocketd/namesrv"
	"rocketd/settings"
)

func newNamesrv() *cobra.Command {
	cmd := &cobra.Command{
		Use: "namesrv [-c FILE] [--KEY VALUE ...]", Short: "Run a NameServer, with the options of Java's mqnamesrv",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			log := newLog(os.Stderr, slog.LevelInfo)
			limitMemory(os.Getenv, log)
			s := settings.NewNamesrv(settings.ThisMachine(os.Getenv), log)
			done, err := javaStart(cmd.OutOrStdout(), "mqnamesrv", false, args, s)
			if done || err != nil {
				return err
			}
			return serveNamesrv(cmd.Context(), cmd.OutOrStdout(), s, log)
		},
	}
	setJavaHelp(cmd, "mqnamesrv", false)
	return cmd
}

func newBroker() *cobra.Command {
	cmd := &cobra.Command{
		Use: "broker [-c FILE] [-n NAMESRV] [--KEY VALUE ...]", Short: "Run a broker, with the options of Java's mqbroker",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			log := newLog(os.Stderr, slog.LevelInfo)
			limitMemory(os.Getenv, log)
			s := settings.NewBroker(settings.ThisMachine(os.Getenv), log)
			done, err := javaStart(cmd.OutOrStdout(), "mqbroker", true, args, s)
			if done || err != nil {
				return err
			}
			ready := func(r broker.Ready) { _, _ = fmt.Fprintln(cmd.OutOrStdout(), bootLine(r)) }
			return serveBroker(cmd.Context(), s, log, ready, byKey)
		},
	}
	setJavaHelp(cmd, "mqbroker", true)
	return cmd
}

// setJavaHelp has "rocketd help broker" say the same as "rocketd broker --help", whose flags cobra does not know.
func setJavaHelp(cmd *cobra.Command, program string, isBroker bool) {
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s.\n\n%s", cmd.Short, javaUsage(program, isBroker))
	})
}

// javaStart brings the settings in from file and flags. done says that all that was asked for has been printed.
func javaStart(out io.Writer, program string, isBroker bool, args []string, s *settings.Settings) (done bool, err error) {
	f, err := parseJavaFlags(args, isBroker)
	if err != nil {
		return false, &exitError{1, fmt.Errorf("%w\n%s", err, javaUsage(program, isBroker))}
	}
	if f.help {
		_, err := io.WriteString(out, javaUsage(program, isBroker))
		return true, err
	}
	if f.configFile != "" {
		if err := s.ReadFile(f.configFile); err != nil {
			return false, &exitError{exitStart, err}
		}
		if !isBroker {
			_, _ = fmt.Fprintf(out, "load config properties file OK, %s\n", f.configFile)
		}
	}
	for _, kv := range f.keys {
		s.Set(kv.key, kv.value)
	}
	if isBroker {
		if f.namesrvAddr != "" {
			s.Set("namesrvAddr", f.namesrvAddr)
		}
		if addrs := s.String("namesrvAddr"); addrs != "" {
			if _, err := client.ParseAddrs(addrs); err != nil {
				return false, &exitError{exitConfig, fmt.Errorf("The Name Server Address[%s] illegal, please set it as follows, \"127.0.0.1:9876;192.168.0.1:9876\"", addrs)} //nolint:staticcheck // Java's text
			}
		}
	}
	switch {
	case f.printAll:
		_, err = io.WriteString(out, s.Text())
		return true, err
	case f.printImportant:
		_, err = io.WriteString(out, s.ImportantText())
		return true, err
	}
	return false, nil
}

// bootLine is what scripts wait for. Source: Java BrokerStartup.start.
func bootLine(r broker.Ready) string {
	line := fmt.Sprintf("The broker[%s, %s] boot success. serializeType=JSON", r.Name, r.Addr)
	if r.Namesrv != "" {
		line += " and name server is " + r.Namesrv
		if r.Registered == 0 {
			line += " (none has taken the registration yet)"
		}
	}
	return line
}

func serveNamesrv(ctx context.Context, out io.Writer, s *settings.Settings, log *slog.Logger) error {
	n, err := namesrv.New(namesrv.Config{Settings: s, Log: log})
	if err != nil {
		return &exitError{exitStart, byKey.explain(err)}
	}
	// Source: Java NamesrvStartup.start.
	_, _ = fmt.Fprintf(out, "The Name Server boot success. serializeType=JSON, address %s:%d\n", s.String("bindAddress"), n.Addr().Port())
	if err := n.Run(ctx); err != nil {
		return &exitError{exitStart, err}
	}
	return nil
}

func serveBroker(ctx context.Context, s *settings.Settings, log *slog.Logger, ready func(broker.Ready), how remedies) error {
	b, err := broker.New(broker.Config{Settings: s, Log: log, Ready: ready})
	if err != nil {
		return &exitError{exitConfig, how.explain(err)}
	}
	if err := b.Run(ctx); err != nil {
		return &exitError{exitStart, err}
	}
	return nil
}

// remedies name what chooses another port or another folder.
type remedies struct{ port, folder string }

// byKey is for a role that runs alone.
var byKey = remedies{"listenPort", "storePathRootDir"}

// explain adds what to do to the errors that people meet at a start.
func (r remedies) explain(err error) error {
	var locked *vfs.LockedError
	var port *net.OpError
	var of *broker.PortError
	switch {
	case errors.As(err, &locked):
		return fmt.Errorf("%w; stop that process, or give this broker a store of its own (%s)", err, r.folder)
	case errors.As(err, &of) && of.Key != "listenPort":
		return fmt.Errorf("%w, the HA port of the broker (%s chooses another one, else it is one above the broker's: %s)", err, of.Key, r.port)
	case errors.As(err, &port):
		return fmt.Errorf("%w (%s chooses another port)", err, r.port)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (%s chooses another folder)", err, r.folder)
	}
	return err
}

// newLog writes to w. ROCKETD_LOG is debug, info, warn or error, and wins over the level.
func newLog(w io.Writer, level slog.Level) *slog.Logger {
	if v := os.Getenv("ROCKETD_LOG"); v != "" {
		_ = level.UnmarshalText([]byte(v)) // what is no level leaves it as it is
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
