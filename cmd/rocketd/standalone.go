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
			"The other commands run one role alone, or talk to running servers.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			limitMemory(os.Getenv)
			return o.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "rocketd-data", "folder for all data")
	f.IntVar(&o.namesrvPort, "namesrv-port", 9876, "port of the NameServer")
	f.IntVar(&o.brokerPort, "broker-port", 10911, "port of the broker; its fast port is two below")
	f.StringVarP(&o.configFile, "config", "c", "", "property file of the broker (broker.conf); the other flags win over it")
	return cmd
}

func (o *standalone) run(ctx context.Context, out io.Writer) error {
	log := newLog(os.Stderr, slog.LevelWarn)
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
		return &exitError{exitConfig, fmt.Errorf("%w (--namesrv-port chooses another port)", err)}
	}

	s := settings.NewBroker(machine, log.With("role", "broker"))
	s.Default("brokerName", "broker-a")
	if o.configFile != "" {
		if err := s.ReadFile(o.configFile); err != nil {
			return &exitError{exitConfig, errors.Join(err, n.Close())}
		}
	}
	namesrvAddr := fmt.Sprintf("127.0.0.1:%d", n.Addr().Port())
	s.Set("listenPort", strconv.Itoa(o.brokerPort))
	s.Set("namesrvAddr", namesrvAddr)
	s.Set("storePathRootDir", filepath.Join(data, "store"))
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
		_, _ = io.WriteString(out, o.banner(data, namesrvAddr, r, s))
	})
	stopNamesrv()
	if nsErr := <-ended; err == nil && nsErr != nil {
		err = &exitError{exitStart, nsErr}
	}
	return err
}

// banner says what listens where and what to try next.
func (o *standalone) banner(data, namesrvAddr string, r broker.Ready, s *settings.Settings) string {
	flag := ""
	if o.namesrvPort != 9876 {
		flag = " -n " + namesrvAddr
	}
	return fmt.Sprintf(`rocketd %s is running: everything in one process.

  NameServer  port %-5d  clients connect to %s
  Broker      port %-5d  %s of %s, registered as %s, fast port %d
  Data        %s

In another terminal:

  rocketd send hello "my first message"%s
  rocketd consume hello --group demo%s
  rocketd tail hello -f%s

Any RocketMQ client works with the name server address %s. Ctrl-C stops.
`, versionText(), o.namesrvPort, namesrvAddr, o.brokerPort, r.Name, s.String("brokerClusterName"), r.Addr, o.brokerPort-2, data,
		flag, flag, flag, namesrvAddr)
}
