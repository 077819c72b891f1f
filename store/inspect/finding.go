package inspect

// Level says what a finding means to an operator.
type Level string

// The levels. Only notes leave a store clean.
const (
	Damage Level = "damage"  // something is lost, unreachable or wrong until Repair or a person does something
	Mended Level = "pending" // what a crash or a copy of a live store leaves: the next start of the broker mends it
	Note   Level = "note"    // worth knowing, nothing is wrong
)

// Kinds of findings: the part of the store.
const (
	KindFile       = "file"
	KindLog        = "commitlog"
	KindQueue      = "consumequeue"
	KindIndex      = "index"
	KindCheckpoint = "checkpoint"
	KindConfig     = "config"
	KindOffset     = "offset"
	KindCompaction = "compaction"
)

// Finding is one thing that Verify found.
type Finding struct {
	Level    Level  `json:"level"`
	Kind     string `json:"kind"`
	File     string `json:"file,omitempty"`     // below the store's directory, if it is there
	At       *int64 `json:"at,omitempty"`       // byte in the file
	Physical *int64 `json:"physical,omitempty"` // byte in the log
	Bytes    int64  `json:"bytes,omitempty"`    // how long the damaged piece is
	Topic    string `json:"topic,omitempty"`
	Queue    *int32 `json:"queue,omitempty"`
	Offset   *int64 `json:"offset,omitempty"` // in the queue
	Count    int64  `json:"count,omitempty"`  // how many of this kind follow each other, if more than one
	Text     string `json:"text"`
}

// maxFindings bounds the list of a Report; all are counted.
const maxFindings = 1000

// Report is what Verify found.
type Report struct {
	Dir    string      `json:"dir"`
	InUse  bool        `json:"abort"` // an abort file is there: in use, or not closed in order
	Log    LogReport   `json:"commitlog"`
	Queues QueueReport `json:"consumequeue"`
	Index  IndexReport `json:"index"`
	Read   int64       `json:"bytesRead"`
	// Compacted is how many messages are in the logs of compaction topics.
	Compacted int64           `json:"compactedMessages,omitempty"`
	Counts    map[Level]int64 `json:"counts"`
	Findings  []Finding       `json:"findings"` // at most 1,000
}

// LogReport counts what is in the log.
type LogReport struct {
	Min       int64 `json:"min"` // first byte
	End       int64 `json:"end"` // behind the last whole record
	FileSize  int64 `json:"fileSize"`
	Files     int   `json:"files"`
	Records   int64 `json:"records"`
	NoQueue   int64 `json:"recordsWithoutQueue"` // prepared and rolled-back messages
	Orphans   int64 `json:"recordsOfDeletedTopics"`
	FirstMs   int64 `json:"firstStoreMs"`
	LastMs    int64 `json:"lastStoreMs"`
	lastStart int64
}

// QueueReport counts entries of queues.
type QueueReport struct {
	Queues  int   `json:"queues"`
	Entries int64 `json:"entries"` // that point at their record
	Expired int64 `json:"expired"` // whose record went with the start of the log
	Fillers int64 `json:"fillers"`
	Behind  int64 `json:"behind"` // records at the end of the log that have no entry
	Ahead   int64 `json:"ahead"`  // entries of records behind the end of the log
}

// IndexReport counts entries of the index.
type IndexReport struct {
	Files   int   `json:"files"`
	Entries int64 `json:"entries"`
	Expired int64 `json:"expired"`
	Behind  int64 `json:"behind"` // records with keys behind the last that is indexed
}

// Clean tells whether nothing is wrong.
func (r *Report) Clean() bool { return r.Counts[Damage] == 0 && r.Counts[Mended] == 0 }

func (r *Report) add(f Finding) {
	r.Counts[f.Level]++
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, f)
	}
}
