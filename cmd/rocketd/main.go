// Command rocketd is the server side of Apache RocketMQ in one program: NameServer and Broker, together or each by
// itself, and the small commands that one needs to try and to measure them.
//
// Called as mqnamesrv or mqbroker it is that role. Exit codes are Java's where Java has them: 255 (-1) for a start
// that failed, 253 (-3) for a configuration that cannot work, 1 for anything else.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args)) }

func run(args []string) int {
	switch filepath.Base(args[0]) {
	case "mqnamesrv":
		args = append([]string{"rocketd", "namesrv"}, args[1:]...)
	case "mqbroker":
		args = append([]string{"rocketd", "broker"}, args[1:]...)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	root := newRoot()
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var e *exitError
	if !errors.As(err, &e) {
		e = &exitError{1, err}
	}
	if e.err != nil {
		fmt.Fprintln(os.Stderr, "rocketd:", e.err)
	}
	return e.code
}

// exitError ends the program with a code of its own; err may be nil if everything was said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return fmt.Sprint(e.err) }
func (e *exitError) Unwrap() error { return e.err }

// The exit codes of Java's servers.
const (
	exitStart  = 255 // -1
	exitConfig = 253 // -3
)

func newRoot() *cobra.Command {
	root := newStandalone()
	root.AddCommand(newNamesrv(), newBroker(), newSend(), newConsume(), newTail(), newBench(), newStore(), newCluster(), newVersion())
	root.SilenceUsage, root.SilenceErrors = true, true
	return root
}
