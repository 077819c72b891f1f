package store

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/durable"
	"rocketd/message"
	"rocketd/store/commitlog"
)

// Limits of what is remembered about damage, and the time after which a record is taken to have been synced when
// younger ones lie behind it.
const (
	maxDamages = 1000
	surelySync = 10_000 // ms
)

// damageFile lies in the store's directory once there was damage. Java does not know it.
const damageFile = "rocketd-damage.json"

// Damage is a piece of the log that was written once and is no longer what it was. It is never cut or overwritten:
// readers pass over it, everything before and behind it stays.
type Damage struct {
	File     string    `json:"file"`
	Physical int64     `json:"physical"` // first byte in the log
	Bytes    int64     `json:"bytes"`
	Reason   string    `json:"reason"`
	Found    time.Time `json:"found"`
}

// damages is what is known to be damaged, also of earlier runs.
type damages struct {
	count atomic.Int64 // of those in list, and those that found no place there

	mu    sync.Mutex // guards:
	list  []Damage   // by Physical
	fresh bool       // not yet on the disk
}

// Damage returns the damaged pieces of the log that are known, by position: at most 1,000. DamageCount is how many there
// are.
func (s *Store) Damage() []Damage {
	s.damages.mu.Lock()
	defer s.damages.mu.Unlock()
	return slices.Clone(s.damages.list)
}

// DamageCount is the number of damaged pieces that are known. It only grows while the store is open, but for CutLog.
func (s *Store) DamageCount() int64 { return s.damages.count.Load() }

// damaged notes damage, unless it is known already, and logs it.
func (s *Store) damaged(d Damage) {
	d.File, d.Found = s.log.File(d.Physical), time.Now()
	if s.damages.add(d) {
		s.cfg.Log.Error("commit log is damaged", "file", d.File, "physical", d.Physical, "bytes", d.Bytes, "reason", d.Reason)
	}
}

func (l *damages) add(d Damage) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, known := l.search(d.Physical)
	if known {
		return false
	}
	l.count.Add(1)
	if len(l.list) < maxDamages {
		l.list = slices.Insert(l.list, i, d)
		l.fresh = true
	}
	return true
}

// known tells whether damage at a position was noted before.
func (l *damages) known(physical int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.search(physical)
	return known
}

// search finds the place in the list. l.mu is held.
func (l *damages) search(physical int64) (int, bool) {
	return slices.BinarySearchFunc(l.list, physical, func(a Damage, at int64) int { return int(min(max(a.Physical-at, -1), 1)) })
}

// cut forgets what lies behind the end of the log.
func (l *damages) cut(end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.list)
	l.list = slices.DeleteFunc(l.list, func(d Damage) bool { return d.Physical >= end })
	l.count.Add(int64(len(l.list) - n))
	l.fresh = l.fresh || len(l.list) < n
}

// loadDamage reads what earlier runs found, and leaves out what is whole again, or gone.
func (s *Store) loadDamage() {
	var list []Damage
	_, fallback, err := durable.Read(s.cfg.FS, s.path(damageFile), func(data []byte) error {
		list = nil
		return json.Unmarshal(data, &list)
	})
	if err = errors.Join(fallback, err); err != nil { // it can be found again
		s.cfg.Log.Warn("cannot read what was known of damage", "file", s.path(damageFile), "err", err)
		return
	}
	for _, d := range list {
		if r, whole := s.log.Check(d.Physical); d.Physical+d.Bytes <= s.log.Min() || d.Physical >= s.log.Max() || whole && int64(r.Size) == d.Bytes {
			s.damages.fresh = true
			continue
		}
		if s.damages.add(d) {
			s.cfg.Log.Error("commit log is damaged", "file", d.File, "physical", d.Physical, "bytes", d.Bytes, "reason", d.Reason, "found", d.Found)
		}
	}
}

// writeDamage brings what was found since the last call to the disk.
func (s *Store) writeDamage() error {
	s.damages.mu.Lock()
	list, fresh := slices.Clone(s.damages.list), s.damages.fresh
	s.damages.fresh = false
	s.damages.mu.Unlock()
	if !fresh {
		return nil
	}
	data, err := json.MarshalIndent(list, "", "  ")
	if err == nil {
		err = durable.Write(s.cfg.FS, s.path(damageFile), data)
	}
	if err != nil {
		s.damages.mu.Lock()
		s.damages.fresh = true
		s.damages.mu.Unlock()
	}
	return err
}

// gap decides about a piece of the log that is no whole record and has whole ones behind it. If it was on the disk once,
// it is damaged, and what lies behind it stays. If it may never have been there, a crash took it: pages reach the disk
// in any order, and the log ends where the first one is missing. What must have been on the disk: everything after a
// clean end; what the checkpoint vouches for; and, if that does not know positions, what is followed by records that are so
// much younger that a sync lies between.
func (s *Store) gap(g commitlog.Gap, clean bool) (goOn bool, err error) {
	vouched := clean || g.To <= s.check.logicsPhysical || g.To <= s.check.flushed
	if before := s.lastMs.Load(); s.check.flushed == 0 {
		vouched = vouched || g.NextMs < s.check.physicMs || before > 0 && g.NextMs-before > surelySync
	}
	if !vouched {
		s.cfg.Log.Warn("commit log ends at a record that a crash left incomplete; later ones were not synced either and are cut",
			"file", g.File, "physical", g.From, "next", g.To, "reason", g.Reason)
		return false, nil
	}
	s.damaged(Damage{Physical: g.From, Bytes: g.To - g.From, Reason: g.Reason})
	if g.Record == nil {
		return true, nil
	}
	if q := s.Find(g.Record.Topic, g.Record.QueueID); q == nil && g.Record.QueueOffset == 0 || q != nil && q.Max() == g.Record.QueueOffset {
		return true, s.build(g.Record) // so that its number is not given again
	}
	return true, nil
}

// follows tells whether a record behind a gap can have been written behind what was read so far: time and numbers go
// on. Else it is left from an older end of the log: Java does not overwrite what it cuts.
func (s *Store) follows(r *message.Record) bool {
	if r.StoreMs >= s.lastMs.Load() {
		return true
	}
	if !r.HasQueue() {
		return false
	}
	q := s.Find(r.Topic, r.QueueID)
	if q == nil || q.Max() == 0 {
		return false
	}
	if r.QueueOffset >= q.Max() {
		return true
	}
	u, err := s.Unit(q, r.QueueOffset)
	return err == nil && u.Physical == r.Physical
}

// tail decides about the end of the log, where no whole record follows. What is known to have been on the disk there, and
// is no longer whole, is damaged, and the log goes on behind it: neither its place nor its number in the queue is
// used again. After a clean end, unitsEnd is how far the queues know of records.
func (s *Store) tail(end *commitlog.End, clean bool, unitsEnd int64) {
	known := max(s.vouchedEnd(), s.check.flushed)
	if clean {
		known = max(known, unitsEnd)
	}
	if known <= end.Physical {
		return
	}
	file := s.log.File(end.Physical)
	if file == "" || file != s.log.File(known-1) || s.log.Written(end.Physical, known) == end.Physical {
		s.cfg.Log.Error("records are gone from the end of the commit log", "physical", end.Physical, "known", known)
		return
	}
	s.damaged(Damage{Physical: end.Physical, Bytes: known - end.Physical, Reason: end.Reason})
	end.Physical = known
}

// vouchedEnd returns the end of the record that the checkpoint vouches for, or 0. Where its size cannot be right, it may
// go as far as anything is written.
func (s *Store) vouchedEnd() int64 {
	at := s.check.logicsPhysical
	var head [message.PeekBytes]byte
	if at <= 0 || s.log.ReadAt(head[:], at) != nil {
		return 0
	}
	size, _ := message.PeekSize(head[:])
	if n := int64(size); n >= message.MinSize && at+n+message.BlankSize <= s.log.FileEnd(at) {
		return at + n
	}
	return max(at+message.MinSize, s.log.Written(at, s.log.FileEnd(at)))
}
