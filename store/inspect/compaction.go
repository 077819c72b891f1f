package inspect

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"

	"rocketd/store/compaction"
)

// verifyCompaction reads the logs of compaction topics. What a crash leaves of them is mended by the next start, or built
// again from the commit log.
func (v *verifier) verifyCompaction(ctx context.Context) error {
	root := v.s.path(filepath.FromSlash("compaction/compactionLog"))
	topics, err := v.s.cfg.FS.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, t := range topics {
		queues, err := v.s.cfg.FS.ReadDir(filepath.Join(root, t.Name()))
		if err != nil {
			return err
		}
		for _, e := range queues {
			id, err := strconv.ParseInt(e.Name(), 10, 32)
			if err != nil || !e.IsDir() {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := v.verifyCompactionLog(t.Name(), int32(id)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verifier) verifyCompactionLog(topic string, queue int32) error {
	name := filepath.Join(topic, strconv.Itoa(int(queue)))
	cfg := compaction.Config{Topic: topic, Queue: queue, FS: v.s.cfg.FS,
		LogDir:  v.s.path(filepath.Join("compaction", "compactionLog", name)),
		UnitDir: v.s.path(filepath.Join("compaction", "compactionCq", name))}
	level := v.mended()
	open, err := compaction.Unfinished(cfg.FS, cfg.LogDir)
	if err != nil {
		return err
	}
	if open {
		level = Mended
		v.report.add(Finding{Level: Mended, Kind: KindCompaction, File: v.s.relative(cfg.LogDir), Topic: topic, Queue: &queue, Text: "a compaction was interrupted"})
	}
	n, err := compaction.Verify(cfg, func(file, problem string) {
		v.report.add(Finding{Level: level, Kind: KindCompaction, File: v.s.relative(file), Topic: topic, Queue: &queue, Text: problem})
	})
	v.report.Compacted += n
	return err
}
