package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release: -X main.version=1.2.3.
var version string

// peerVersion is the release of Java whose protocol and files are spoken.
const peerVersion = "5.5.1"

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

func versionLine() string {
	return fmt.Sprintf("rocketd %s (%s, %s/%s), speaks RocketMQ %s\n",
		versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH, peerVersion)
}

// versionText is the release, or the commit that the program was built from.
func versionText() string {
	if version != "" {
		return version
	}
	revision, dirty := "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value[:min(12, len(s.Value))]
			case "vcs.modified":
				if s.Value == "true" {
					dirty = "+"
				}
			}
		}
	}
	if revision == "" {
		return "development"
	}
	return "development " + revision + dirty
}
