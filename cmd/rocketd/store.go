package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"rocketd/store/inspect"
)

// Exit codes of the commands that look at a store.
const (
	exitFindings   = 1
	exitUnreadable = 2
)

// storeFlags are the flags of every command that looks at a store.
type storeFlags struct {
	commitLog []string
	fileSize  int64
}

func newStore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look at the files of a broker: verify, count, show, export, repair, import",
		Long: "Look at the files of a broker, Java's or rocketd's: DIR is its storePathRootDir. The store may be in use, stopped, or\n" +
			"a copy; all but repair and import only read, and import wants it stopped. Lengths of files are taken from the files.",
	}
	cmd.AddCommand(newStoreVerify(), newStoreStat(), newStoreDump(), newStoreExport(), newStoreRepair(), newStoreImport())
	return cmd
}

func (o *storeFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&o.commitLog, "commitlog", nil, "directories of the commit log, separated by commas (storePathCommitLog); DIR/commitlog if not given")
	f.Int64Var(&o.fileSize, "file-size", 0, "length of the commit log's files, bytes (mappedFileSizeCommitLog); what most files have if not given")
}

// open opens the store; an error ends the program with exitUnreadable.
func (o *storeFlags) open(dir string, progress func(done, total int64)) (*inspect.Store, error) {
	s, err := inspect.Open(inspect.Config{Dir: dir, CommitLogDirs: o.commitLog, FileSize: o.fileSize, Progress: progress})
	if err != nil {
		return nil, &exitError{exitUnreadable, err}
	}
	return s, nil
}

// unreadable makes the error of reading a store end the program with exitUnreadable.
func unreadable(err error) error {
	var e *exitError
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &exitError{exitUnreadable, err}
}

// bar draws how far a command has come, on a terminal only.
type bar struct {
	out   io.Writer
	began time.Time
	drawn bool
}

// newBar returns a bar, and nil if standard error is no terminal.
func newBar() *bar {
	if _, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return &bar{out: os.Stderr, began: time.Now()}
}

// progress is the function to call, or nil.
func (b *bar) progress() func(done, total int64) {
	if b == nil {
		return nil
	}
	return b.draw
}

const barWidth = 40

func (b *bar) draw(done, total int64) {
	if total <= 0 {
		return
	}
	done = min(done, total)
	full := int(done * barWidth / total)
	rate := float64(done) / max(time.Since(b.began).Seconds(), 0.001)
	rest := time.Duration(float64(total-done) / max(rate, 1) * float64(time.Second)).Round(time.Second)
	_, _ = fmt.Fprintf(b.out, "\r[%s%s] %3d %%  %s/s  %s left \x1b[K", strings.Repeat("#", full), strings.Repeat("-", barWidth-full),
		done*100/total, size(int64(rate)), rest)
	b.drawn = true
}

// end wipes the bar away.
func (b *bar) end() {
	if b != nil && b.drawn {
		_, _ = fmt.Fprint(b.out, "\r\x1b[K")
	}
}

// size is bytes for people.
func size(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for ; f >= 999.95; i++ {
		f /= 1000
	}
	return fmt.Sprintf("%.1f %cB", f, units[i])
}

// timeOf is a time in ms for people.
func timeOf(ms int64) string {
	if ms <= 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
