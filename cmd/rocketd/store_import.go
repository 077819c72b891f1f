package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/store/inspect"
)

func newStoreImport() *cobra.Command {
	var o storeFlags
	var queueFile, batchFile int64
	cmd := &cobra.Command{
		Use:   "import DIR",
		Short: "Bring over a store that Java kept in RocksDB: build its queues from the log",
		Long: "Bring over a store that a Java broker kept in RocksDB (storeType=defaultRocksDB, configManagerVersion=v2): the\n" +
			"databases are moved aside, to names with .rocksdb behind them, and all queues are built from the commit log. Topics,\n" +
			"groups and offsets must have been exported by Java's mqadmin before; if they were not, the error says how.",
		Example: "  rocketd store import /data/rocketmq/store",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := o.open(args[0], nil)
			if err != nil {
				return err
			}
			l := s.Layout()
			res, err := store.Import(store.Config{
				Dir: args[0], CommitLogDir: strings.Join(o.commitLog, ","), FileSize: l.FileSize, QueueFileSize: queueFile, BatchFileSize: batchFile,
				QueueKind: func(topic string) (kind consumequeue.Kind, known bool) {
					batch, known := l.Batches[topic]
					if batch {
						kind = consumequeue.Batch
					}
					return kind, known
				},
				MultiDispatch: true, Tag: inspect.Tag, Log: newLog(os.Stderr, slog.LevelWarn),
			})
			if err != nil {
				return unreadable(err)
			}
			out := cmd.OutOrStdout()
			for from, to := range res.Moved {
				_, _ = fmt.Fprintf(out, "moved aside  %s to %s\n", from, to)
			}
			_, err = fmt.Fprintf(out, "built        %d queues of %d topics, %d messages\nCheck it with: rocketd store verify %s\n",
				res.Queues, res.Topics, res.Messages, args[0])
			return err
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.Int64Var(&queueFile, "queue-file-size", 0, "length of queue files, bytes (mappedFileSizeConsumeQueue); default 6,000,000")
	f.Int64Var(&batchFile, "batch-file-size", 0, "length of queue files of batches, bytes (mapperFileSizeBatchConsumeQueue); default 13,800,000")
	return cmd
}
