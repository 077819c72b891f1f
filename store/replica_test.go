package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/store/consumequeue"
)

// pieceOf returns all of a log in [from, to).
func pieceOf(t *testing.T, s *Store, from, to int64) []byte {
	t.Helper()
	b := make([]byte, to-from)
	for at := from; at < to; {
		n, err := s.ReadLog(at, b[at-from:])
		if err != nil || n == 0 {
			t.Fatalf("read at %d of %d: %d, %v", at, to, n, err)
		}
		at += int64(n)
	}
	return b
}

// starts returns where the records and the blanks of a log begin, and its end.
func starts(t *testing.T, s *Store) []int64 {
	t.Helper()
	list := []int64{s.MinPhysical()}
	ok(t, s.Each(s.MinPhysical(), func(r *message.Record) bool {
		if last := list[len(list)-1]; last != r.Physical { // behind a blank
			list = append(list, r.Physical)
		}
		list = append(list, r.Physical+int64(r.Size))
		return true
	}))
	return list
}

// tag7 gives units the tag that send gives.
func tag7(c *Config) { c.Tag = func(*message.Record) int64 { return 7 } }

// masterAndSlave makes a store with some messages in several files, and an empty one.
func masterAndSlave(t *testing.T) (master, slave *Store, d *crashfs.Disk) {
	t.Helper()
	master = crashStore(t, crashfs.New(crashfs.Options{}))
	for i := range 40 {
		send(t, master, fmt.Sprint("t", i%3), 0, numbered(i, i+1+i%3)...)
	}
	d = crashfs.New(crashfs.Options{})
	return master, crashStore(t, d, tag7), d
}

// same compares logs and queues of two stores.
func same(t *testing.T, master, slave *Store) {
	t.Helper()
	from, to := max(master.MinPhysical(), slave.MinPhysical()), slave.MaxPhysical()
	if to != master.MaxPhysical() {
		t.Fatalf("the master's log ends at %d, the slave's at %d", master.MaxPhysical(), to)
	}
	a, b := pieceOf(t, master, from, to), pieceOf(t, slave, from, to)
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("the logs, from %d to %d, differ at %d", from, to, from+int64(i))
		}
	}
	for _, topic := range master.Topics() {
		for _, q := range master.Queues(topic) {
			p := slave.Find([]byte(topic), q.ID())
			if p == nil || p.Max() != q.Max() {
				t.Fatalf("queue %s/%d ends at %d: %v", topic, q.ID(), q.Max(), p)
			}
			for i := q.Min(); i < q.Max(); i++ {
				u, err := master.Unit(q, i)
				ok(t, err)
				if v, err := slave.Unit(p, i); u.Physical >= from && (err != nil || v != u) {
					t.Fatalf("unit %s/%d@%d is %+v, %v, not %+v", topic, q.ID(), i, v, err, u)
				}
			}
		}
	}
}

// A copy is the same, in whatever pieces it comes, and stays so over a clean end and a crash.
func TestStore_AppendLog(t *testing.T) {
	for _, each := range []int{1, 2, 5, 1000} {
		master, slave, d := masterAndSlave(t)
		ends := starts(t, master)
		for i := 0; i+1 < len(ends); i += each {
			to := ends[min(i+each, len(ends)-1)]
			ok(t, slave.AppendLog(ends[i], pieceOf(t, master, ends[i], to)))
		}
		same(t, master, slave)
		if slave.LastRecord() != master.LastRecord() {
			t.Fatal(slave.LastRecord(), master.LastRecord())
		}
		same(t, master, crashStore(t, d.Kill(), tag7))
		ok(t, slave.Close())
		slave = crashStore(t, d, tag7)
		same(t, master, slave)
		send(t, master, "t0", 0, "more")
		ok(t, slave.AppendLog(ends[len(ends)-1], pieceOf(t, master, ends[len(ends)-1], master.MaxPhysical())))
		same(t, master, slave)
	}
}

// What is no piece of a log is refused, and nothing of it is there.
func TestStore_AppendLog_Foreign(t *testing.T) {
	master, slave, _ := masterAndSlave(t)
	ends := starts(t, master)
	all := pieceOf(t, master, 0, ends[len(ends)-1])
	change := func(at int, v byte) []byte {
		b := bytes.Clone(all)
		b[at] ^= v
		return b
	}
	blank := int(ends[1]) // the first blank follows
	for blank+4 < len(all) && !bytes.Equal(all[blank+4:blank+6], []byte{0xcb, 0xd4}) {
		size, _ := message.PeekSize(all[blank:])
		blank += int(size)
	}
	for name, c := range map[string]struct {
		at    int64
		piece []byte
	}{
		"not at the end":       {100, all[100:]},
		"cut short":            {0, all[:len(all)-1]},
		"seven bytes":          {0, all[:7]},
		"magic":                {0, change(4, 1)},
		"size":                 {0, change(3, 1)},
		"negative size":        {0, change(0, 0x80)},
		"huge size":            {0, change(0, 0x7f)},
		"position":             {0, change(35, 1)},
		"lengths inside":       {0, change(87, 1)},
		"blank of other files": {0, change(blank+2, 8)},
		"blank cut short":      {0, all[:blank+8]},
	} {
		if err := slave.AppendLog(c.at, c.piece); !errors.Is(err, ErrForeignLog) {
			t.Errorf("%s: %v", name, err)
		}
		if slave.MaxPhysical() != 0 || len(slave.Topics()) > 0 && slave.Queues("t0") != nil && slave.Queues("t0")[0].Max() > 0 {
			t.Fatalf("%s: something is there", name)
		}
	}
	ok(t, slave.RestartLog(2048))
	if err := slave.AppendLog(2048, nil); err != nil {
		t.Fatal(err)
	}
}

// A body that does not match its checksum is refused, and taken when it comes again: the other log has it so.
func TestStore_AppendLog_WrongChecksum(t *testing.T) {
	master, slave, _ := masterAndSlave(t)
	ends := starts(t, master)
	b := pieceOf(t, master, 0, ends[3])
	good := bytes.Clone(b)
	b[ends[1]+88] ^= 1 // first byte of the body
	if err := slave.AppendLog(0, b); !errors.Is(err, ErrForeignLog) || slave.MaxPhysical() != 0 {
		t.Fatal(err)
	}
	b[ends[1]+88] ^= 3
	if err := slave.AppendLog(0, b); !errors.Is(err, ErrForeignLog) {
		t.Fatal("other bytes are taken", err)
	}
	ok(t, slave.AppendLog(0, b))
	if d := slave.Damage(); len(d) != 1 || d[0].Physical != ends[1] {
		t.Fatal(d)
	}
	_, clean, _ := masterAndSlave(t)
	ok(t, clean.AppendLog(0, good))
	if clean.DamageCount() != 0 {
		t.Fatal(clean.Damage())
	}
}

// A slave whose end is not the master's cuts it, keeps it aside, and is the same then, at once and after a crash.
func TestStore_CutLog(t *testing.T) {
	master, _, _ := masterAndSlave(t)
	for _, from := range starts(t, master) {
		d := crashfs.New(crashfs.Options{})
		slave := crashStore(t, d, tag7)
		if from > 0 {
			ok(t, slave.AppendLog(0, pieceOf(t, master, 0, from)))
		}
		for i := range 30 { // what the master lost
			send(t, slave, fmt.Sprint("t", i%4), 0, "diverged "+fmt.Sprint(i))
		}
		if from%2 == 0 {
			ok(t, slave.look(true))
		}
		tail := pieceOf(t, slave, from, slave.MaxPhysical())
		ok(t, slave.CutLog(from))
		if slave.MaxPhysical() != from {
			t.Fatal(slave.MaxPhysical(), from)
		}
		kept, err := d.ReadDir("/data/store/rocketd-diverged")
		ok(t, err)
		if len(kept) != 1 {
			t.Fatal(kept)
		}
		if got, err := vfs.ReadFile(d, "/data/store/rocketd-diverged/"+kept[0].Name()); err != nil || !bytes.Equal(got, tail) {
			t.Fatalf("%d bytes are kept, not the %d that were cut: %v", len(got), len(tail), err)
		}
		for seed := range uint64(5) {
			again := crashStore(t, d.PowerCut(seed))
			if again.MaxPhysical() > from || again.DamageCount() > 0 {
				t.Fatal("what was cut is back", again.MaxPhysical(), from)
			}
		}
		if from < master.MaxPhysical() {
			ok(t, slave.AppendLog(from, pieceOf(t, master, from, master.MaxPhysical())))
		}
		same(t, master, slave)
		if q := slave.Find([]byte("t3"), 0); q != nil && q.Max() > q.Min() {
			t.Fatal("a queue of the cut part has messages", q.Min(), q.Max())
		}
		same(t, master, crashStore(t, d.Kill(), tag7))
		ok(t, slave.look(true))
		same(t, master, crashStore(t, d.PowerCut(1), tag7))
	}
}

func TestStore_CutLog_NoRecord(t *testing.T) {
	_, slave, d := masterAndSlave(t)
	send(t, slave, "t", 0, numbered(0, 3)...)
	end := slave.MaxPhysical()
	for _, at := range []int64{-1, 1, 100, end - 1, end + 1} {
		if slave.CutLog(at) == nil {
			t.Errorf("cut at %d", at)
		}
	}
	ok(t, slave.CutLog(end))
	if slave.MaxPhysical() != end || slave.Writable() != nil {
		t.Fatal(slave.MaxPhysical(), slave.Writable())
	}
	if _, err := d.Stat("/data/store/rocketd-diverged"); err == nil {
		t.Fatal("something was kept")
	}
}

// The end that is cut stays where there is no room to keep it.
func TestStore_CutLog_DiskFull(t *testing.T) {
	_, slave, d := masterAndSlave(t)
	send(t, slave, "t", 0, numbered(0, 30)...)
	end := slave.MaxPhysical()
	d.SetCapacity(d.Used())
	if err := slave.CutLog(0); err == nil || slave.MaxPhysical() != end {
		t.Fatal(err, slave.MaxPhysical())
	}
	d.SetCapacity(0)
	ok(t, slave.CutLog(0))
	if slave.MaxPhysical() != 0 || slave.Find([]byte("t"), 0).Max() != 0 {
		t.Fatal(slave.MaxPhysical(), slave.Find([]byte("t"), 0).Max())
	}
}

// A slave that is older than all that the master has begins anew there; its queues go on with their numbers.
func TestStore_RestartLog(t *testing.T) {
	master, slave, d := masterAndSlave(t)
	ends := starts(t, master)
	ok(t, slave.AppendLog(0, pieceOf(t, master, 0, ends[5])))
	only := slave.Queue("only here", 0)
	send(t, slave, "only here", 0, numbered(0, 7)...)
	ok(t, master.DropBefore(master.MaxPhysical()))
	from := master.MinPhysical()
	for _, at := range []int64{0, 512, from + 1} {
		if err := slave.RestartLog(at); !errors.Is(err, ErrForeignLog) {
			t.Fatal(at, err)
		}
	}
	ok(t, slave.RestartLog(from))
	if slave.MinPhysical() != from || slave.MaxPhysical() != from || only.Min() != 7 || only.Max() != 7 {
		t.Fatal(slave.MinPhysical(), slave.MaxPhysical(), only.Min(), only.Max())
	}
	if s := crashStore(t, d.PowerCut(1), tag7); s.MinPhysical() != from || s.MaxPhysical() != from || s.Queue("only here", 0).Max() != 7 {
		t.Fatal(s.MinPhysical(), s.MaxPhysical(), s.Queue("only here", 0).Max())
	}
	ok(t, slave.AppendLog(from, pieceOf(t, master, from, master.MaxPhysical())))
	same(t, master, slave)
	same(t, master, crashStore(t, d.Kill(), tag7))
}

func TestStore_RecordStart(t *testing.T) {
	master, _, _ := masterAndSlave(t)
	list := starts(t, master)
	for i, at := range list[:len(list)-1] {
		for p := at; p < list[i+1]; p++ {
			if got, err := master.RecordStart(p); err != nil || got != at {
				t.Fatalf("%d: %d, %v, want %d", p, got, err, at)
			}
		}
	}
	if _, err := master.RecordStart(master.MaxPhysical()); !errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
}

// A topic that was deleted on the master and used again begins its numbers anew on the slave, though nobody told it.
func TestStore_AppendLog_TopicUsedAgain(t *testing.T) {
	master, slave, d := masterAndSlave(t)
	copyOn := func() {
		t.Helper()
		ok(t, slave.AppendLog(slave.MaxPhysical(), pieceOf(t, master, slave.MaxPhysical(), master.MaxPhysical())))
	}
	copyOn()
	ok(t, master.DeleteTopic("t1"))
	send(t, master, "t1", 0, "new 0")
	copyOn()
	same(t, master, slave)
	send(t, master, "t1", 0, "new 1")
	copyOn()
	same(t, master, slave)
	if got := read(t, crashStore(t, d.Kill(), tag7), "t1"); got != "0 [new 0 new 1]" {
		t.Fatal(got)
	}
}

// What is asked and told about topics and queues.
func TestStore_AppendLog_Bells(t *testing.T) {
	master, _, _ := masterAndSlave(t)
	var learned, arrived []string
	slave := crashStore(t, crashfs.New(crashfs.Options{}), func(c *Config) {
		c.QueueKind = func(topic string) (consumequeue.Kind, bool) {
			return consumequeue.Batch, slices.Contains(learned, topic) && topic == "t2"
		}
		c.Learn = func(topic string) error { learned = append(learned, topic); return nil }
		c.Arrived = func(q *consumequeue.Queue, end int64) {
			arrived = append(arrived, fmt.Sprintf("%s/%d@%d", q.Topic(), q.ID(), end))
		}
	})
	ends := starts(t, master)
	ok(t, slave.AppendLog(0, pieceOf(t, master, 0, ends[3])))
	ok(t, slave.AppendLog(ends[3], pieceOf(t, master, ends[3], ends[6])))
	if got := fmt.Sprint(learned, arrived); got != fmt.Sprintf("[t0 t1 t2] [t0/0@%d t1/0@%d t2/0@%d]", ends[1], ends[3], ends[6]) {
		t.Error(got)
	}
}

// What kind of queues a topic has must be known before there are any: as long as nobody says it, nothing is appended.
func TestStore_AppendLog_UnknownTopic(t *testing.T) {
	master, _, _ := masterAndSlave(t)
	gone := errors.New("the master is gone")
	slave := crashStore(t, crashfs.New(crashfs.Options{}), tag7, func(c *Config) {
		c.QueueKind = func(string) (consumequeue.Kind, bool) { return 0, false }
		c.Learn = func(string) error { return gone }
	})
	piece := pieceOf(t, master, 0, master.MaxPhysical())
	if err := slave.AppendLog(0, piece); !errors.Is(err, gone) || slave.MaxPhysical() != 0 || len(slave.Topics()) != 0 {
		t.Fatal(err, slave.MaxPhysical(), slave.Topics())
	}
	slave.cfg.Learn = func(string) error { return nil } // nobody knows it: it is gone
	ok(t, slave.AppendLog(0, piece))
	same(t, master, slave)
}

// The further queues of a message get their bell on a slave too, in the order of the log.
func TestStore_AppendLog_FurtherBells(t *testing.T) {
	master := crashStore(t, crashfs.New(crashfs.Options{}), multiOn)
	sendMulti(t, master, "t", "%LMQ%1,%LMQ%2")
	first := master.MaxPhysical()
	sendMulti(t, master, "u", "")
	second := master.MaxPhysical()
	sendMulti(t, master, "t", "%LMQ%2")
	var arrived []string
	slave := crashStore(t, crashfs.New(crashfs.Options{}), multiOn, tag7, func(c *Config) {
		c.Arrived = func(q *consumequeue.Queue, end int64) {
			arrived = append(arrived, fmt.Sprintf("%s/%d@%d", q.Topic(), q.ID(), end))
		}
	})
	ok(t, slave.AppendLog(0, pieceOf(t, master, 0, master.MaxPhysical())))
	same(t, master, slave)
	want := fmt.Sprintf("[t/3@%d %%LMQ%%1/0@%[1]d %%LMQ%%2/0@%[1]d u/3@%d t/3@%d %%LMQ%%2/0@%[3]d]", first, second, master.MaxPhysical())
	if got := fmt.Sprint(arrived); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}
