package inspect

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"rocketd/message"
	"rocketd/topic"
)

// verifier is one Verify at work.
type verifier struct {
	s      *Store
	report *Report
	facts  facts
	queues map[string]map[int32]*queue // by topic and id
	order  []*queue
	ext    exts
	index  *indexCheck

	gaps      []gap
	headers   []header
	peek      peeker
	topics    map[string]bool // of topics.json; nil if it cannot be read
	batches   map[string]bool // topics whose queues are of batches
	delays    map[int32]int64 // ms of delay levels, as entries have them
	check     checkpoint
	configs   []string // configuration files that are broken and whose backup is not
	lastEntry int64    // largest position that an entry rightly points at, -1: none

	unitsAtOnce int64
	zeros       []byte
	done        bool
	rebuiltFrom int64 // the next start builds entries of records from here on
}

// Memory for entries of all queues that are read together, bytes, and how many entries a queue has of it.
const (
	unitMemory          = 64 << 20
	fewUnits, manyUnits = 16, 3000
)

// Verify reads everything and says what is wrong. An error says that it could not read on.
func (s *Store) Verify(ctx context.Context) (*Report, error) {
	v, err := s.verify(ctx)
	return v.report, err
}

func (s *Store) verify(ctx context.Context) (*verifier, error) {
	v := &verifier{
		s:         s,
		report:    &Report{Dir: s.cfg.Dir, InUse: s.aborted, Counts: make(map[Level]int64), Findings: []Finding{}},
		queues:    make(map[string]map[int32]*queue),
		batches:   make(map[string]bool),
		delays:    make(map[int32]int64),
		ext:       exts{s: s},
		peek:      peeker{s: s},
		lastEntry: -1,
		zeros:     make([]byte, 64<<10),
	}
	defer v.ext.close()
	defer v.peek.close()
	v.unitsAtOnce = min(max(unitMemory/int64(len(s.queues)*batchUnitSize+1), fewUnits), manyUnits)
	for _, f := range s.queues {
		ids := v.queues[f.topic]
		if ids == nil {
			ids = make(map[int32]*queue)
			v.queues[f.topic] = ids
		}
		if other := ids[f.id]; other != nil {
			v.report.add(Finding{Level: Damage, Kind: KindQueue, File: s.relative(f.dir), Topic: f.topic, Queue: &f.id,
				Text: "there is a queue of the other kind too: " + s.relative(other.dir)})
			continue
		}
		q := newQueue(f)
		ids[f.id] = q
		v.order = append(v.order, q)
	}
	for _, f := range s.odd {
		v.report.add(f)
		if q := v.queues[f.Topic]; f.Kind == KindQueue && q != nil {
			q[*f.Queue].broken = true
		}
	}
	if s.rocks {
		v.report.add(Finding{Level: Note, Kind: KindQueue, File: "consumequeue", Text: "the queues are in RocksDB and are not verified"})
	}
	if err := v.readConfig(); err != nil {
		return v, err
	}
	v.index = &indexCheck{v: v, begin: -1, end: -1}
	defer v.index.close()
	if err := v.log(ctx); err != nil {
		return v, err
	}
	v.done = true
	if err := v.index.finish(); err != nil {
		return v, err
	}
	if err := v.finishQueues(ctx); err != nil {
		return v, err
	}
	if err := v.verifyCompaction(ctx); err != nil {
		return v, err
	}
	v.checkCheckpoint()
	v.checkOffsets()
	if s.cfg.Progress != nil {
		total := int64(len(s.log)) * s.logSize
		s.cfg.Progress(total, total)
	}
	return v, nil
}

// log reads the log, and with it the queues and the index.
func (v *verifier) log(ctx context.Context) error {
	r := &v.report.Log
	r.Min, r.FileSize, r.Files, r.lastStart = v.s.minPhysical(), v.s.logSize, len(v.s.log), -1
	c, err := v.s.scan(ctx, r.Min, visit{record: v.record, gap: v.gap, blank: v.blank, unreadable: func(f *logFile, at int64, err error) {
		v.unreadable(f.name, at-f.start, err)
	}})
	v.report.Read += c.read
	r.End = c.end
	return err
}

func (v *verifier) record(rec *message.Record, _ []byte) error {
	r := &v.report.Log
	if r.Records == 0 {
		r.FirstMs = rec.StoreMs
	}
	r.Records++
	r.LastMs, r.lastStart = rec.StoreMs, rec.Physical
	v.facts.of(rec)
	if len(v.facts.entries) == 0 {
		r.NoQueue++
	}
	for i := range v.facts.entries {
		if err := v.entry(&v.facts.entries[i]); err != nil {
			return err
		}
	}
	return v.index.record(rec.Physical, rec.StoreMs, v.facts.hashes, v.facts.tagged)
}

func (v *verifier) gap(g gap) {
	if g.tail && g.reason == reasonZero {
		return
	}
	f := Finding{Level: Damage, Kind: KindLog, Physical: &g.from, Bytes: g.to - g.from, Text: g.reason}
	if g.file != nil {
		at := g.from - g.file.start
		f.File, f.At = v.s.relative(g.file.name), &at
	}
	switch {
	case g.missing:
	case g.tail:
		f.Level, f.Bytes = v.mended(), 0
		f.Text = "no whole record, and none behind it: " + g.reason
	case g.reason == reasonZero:
		f.Text = "zeros where records were; the log goes on behind them"
	case g.record != nil:
		f.Topic, f.Queue, f.Offset = string(g.record.Topic), &g.record.QueueID, &g.record.QueueOffset
	}
	v.gaps = append(v.gaps, g)
	v.report.add(f)
}

func (v *verifier) blank(f *logFile, off, says int64) {
	at := off - f.start
	v.report.add(Finding{Level: Damage, Kind: KindLog, File: v.s.relative(f.name), At: &at, Physical: &off,
		Text: fmt.Sprintf("the blank at the end says %d bytes, %d are left", says, f.start+v.s.logSize-off)})
	v.gaps = append(v.gaps, gap{from: off, to: f.start + v.s.logSize, file: f})
}

func (v *verifier) unreadable(name string, at int64, err error) {
	v.report.add(Finding{Level: Damage, Kind: KindFile, File: v.s.relative(name), At: &at, Text: err.Error()})
}

// mended is the level of what a crash leaves, and what is damage if there was none.
func (v *verifier) mended() Level {
	if v.s.aborted {
		return Mended
	}
	return Damage
}

// damaged tells whether a position lies in a piece of the log that is reported already.
func (v *verifier) damaged(physical int64) bool {
	i := sort.Search(len(v.gaps), func(i int) bool { return v.gaps[i].to > physical })
	return i < len(v.gaps) && physical >= v.gaps[i].from && !v.gaps[i].tail
}

// gone tells whether a topic is known to be deleted.
func (v *verifier) gone(name string) bool {
	return v.topics != nil && !v.topics[name] && !topic.IsSystem(name)
}

func (v *verifier) finishQueues(ctx context.Context) error {
	v.rebuiltFrom = v.lastEntry + 1
	if v.s.aborted && v.lastEntry >= 0 {
		v.rebuiltFrom = min(v.rebuiltFrom, v.check.scanStart(v.s))
	}
	slices.SortStableFunc(v.order, func(a, b *queue) int { return compareQueues(a.topic, b.topic, a.id, b.id) })
	for _, q := range v.order {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.finish(q); err != nil {
			return err
		}
		v.report.Log.Orphans += q.orphans
		if len(q.starts) > 0 {
			v.report.Queues.Queues++
		}
	}
	return nil
}
