package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"rocketd/broker"
	"rocketd/namesrv"
	"rocketd/settings"
)

// standalone is everything in one process.
type standalone struct {
	data        string
	namesrvPort int
	brokerPort  int
	configFile  string
}

func newStandalone() *cobra.Command {
	var o standalone
	cmd := &cobra.Command{
		Use:   "rocketd",
		Short: "Apache RocketMQ's server side in one program",
		Long: "rocketd without a command runs a NameServer and a broker in this process, with their data in one folder.\n" +
			"The other commands run one role alone, or talk to running servers.\n\n" +
			"In the environment ROCKETD_LOG, debug, info, warn or error, chooses what is logged to standard error.",
		Version: versionText(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.Flags().Changed)
		},
	}
	cmd.SetVersionTemplate(versionLine())
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "rocketd-data", "folder for all data")
	f.IntVar(&o.namesrvPort, "namesrv-port", 9876, "port of the NameServer")
	f.IntVar(&o.brokerPort, "broker-port", 10911, "port of the broker; its fast port is two below")
	f.StringVarP(&o.configFile, "config", "c", "", "property file of the broker (broker.conf); the other flags win over it")
	return cmd
}

// run starts the NameServer and then the broker. given tells which flags stood on the command line: only those win
// over the property file.
func (o *standalone) run(ctx context.Context, out io.Writer, given func(flag string) bool) error {
	log := newLog(os.Stderr, slog.LevelWarn)
	limitMemory(os.Getenv, log)
	data, err := filepath.Abs(o.data)
	if err != nil {
		return &exitError{exitConfig, err}
	}
	machine := settings.ThisMachine(os.Getenv)
	machine.Home = data
	ns := settings.NewNamesrv(machine, log.With("role", "namesrv"))
	ns.Set("listenPort", strconv.Itoa(o.namesrvPort))
	n, err := namesrv.New(namesrv.Config{Settings: ns, Log: log.With("role", "namesrv")})
	if err != nil {
		return &exitError{exitConfig, remedies{"--namesrv-port", "--data"}.explain(err)}
	}

	s := settings.NewBroker(machine, log.With("role", "broker"))
	s.Default("brokerName", "broker-a")
	if o.configFile != "" {
		if err := s.ReadFile(o.configFile); err != nil {
			return &exitError{exitConfig, errors.Join(err, n.Close())}
		}
	}
	namesrvAddr := fmt.Sprintf("127.0.0.1:%d", n.Addr().Port())
	key := func(flag, name, value string) {
		if given(flag) {
			s.Set(name, value)
		} else {
			s.Default(name, value)
		}
	}
	key("broker-port", "listenPort", strconv.Itoa(o.brokerPort))
	key("data", "storePathRootDir", filepath.Join(data, "store"))
	if more := s.String("namesrvAddr"); more != "" && more != namesrvAddr {
		s.Set("namesrvAddr", namesrvAddr+";"+more)
	} else {
		s.Set("namesrvAddr", namesrvAddr)
	}
	s.StoreAt(filepath.Join(data, "broker.conf"))

	// The NameServer outlives the broker, which says goodbye to it.
	base, stopNamesrv := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNamesrv()
	brokerCtx, stopBroker := context.WithCancel(ctx)
	defer stopBroker()
	ended := make(chan error, 1)
	go func() {
		err := n.Run(base)
		stopBroker()
		ended <- err
	}()
	err = serveBroker(brokerCtx, s, log.With("role", "broker"), func(r broker.Ready) {
		_, _ = io.WriteString(out, banner(s, r, namesrvAddr))
	}, remedies{"--broker-port", "--data"})
	stopNamesrv()
	if nsErr := <-ended; err == nil && nsErr != nil {
		err = &exitError{exitStart, nsErr}
	}
	return err
}

// banner says what listens where and what to try next.
func banner(s *settings.Settings, r broker.Ready, namesrvAddr string) string {
	flag := ""
	if namesrvAddr != defaultNamesrv {
		flag = " -n " + namesrvAddr
	}
	port := s.Int("listenPort")
	return fmt.Sprintf(`rocketd %s is running: everything in one process.

  NameServer  %s
  Broker      port %d (fast port %d), %s of %s, registered as %s
  Data        %s

In another terminal:

  %[9]s send hello "my first message"%[10]s
  %[9]s consume hello --group demo%[10]s
  %[9]s tail hello -f%[10]s

Any RocketMQ client works with the name server address %[2]s. Ctrl-C stops.
`, versionText(), namesrvAddr, port, port-2, r.Name, s.String("brokerClusterName"), r.Addr, s.String("storePathRootDir"),
		os.Args[0], flag)
}
