package inspect

import (
	"rocketd/internal/vfs"
	"rocketd/message"
)

// Layout is the settings of a store that its files show.
type Layout struct {
	// Lengths of files, bytes; 0: there are none. The log's, the queues', those of queues of batches.
	FileSize, QueueFileSize, BatchFileSize int64
	// Batches has the topics of config/topics.json; true are those whose queues are of batches (queue.type=BatchCQ).
	Batches map[string]bool
}

// Layout looks at lengths and topics.
func (s *Store) Layout() Layout {
	l := Layout{FileSize: s.logSize, QueueFileSize: s.queueFileSize(false, 0), BatchFileSize: s.queueFileSize(true, 0), Batches: make(map[string]bool)}
	v := verifier{s: s, report: &Report{}, batches: make(map[string]bool)}
	if data, err := vfs.ReadFile(s.cfg.FS, s.path("config", "topics.json")); err == nil {
		v.readTopics(data)
	}
	for name := range v.topics {
		l.Batches[name] = v.batches[name]
	}
	return l
}

// Tag is what a queue's entry of a record has in its place of the tag, where nobody says what the delay levels are: they
// are the default ones.
func Tag(r *message.Record) int64 { return defaultLevels.Tag(r) }
