package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
)

// keyed does things to a store with a compaction topic until the disk stops, and knows what must be there then.
type keyed struct {
	s      *Store
	rng    *rand.Rand
	bodies []string // of the messages by offset; the keys are those of keyOf
	at     []int64  // and their positions in the commit log
	taken  int64    // messages that were taken
	synced int64    // and that are on the disk
	doubt  bool     // messages from synced on are being cut off
}

func keyOf(offset int) string { return fmt.Sprint("k", offset%7) }

func (k *keyed) send() error {
	b := new(Batch)
	q := k.s.Queue("c", 0)
	first := len(k.bodies)
	var bodies []string
	for i := range 1 + k.rng.IntN(9) {
		bodies = append(bodies, fmt.Sprintf("%d %d", first+i, k.rng.IntN(1000)))
		d := draft("c", 0, bodies[i])
		d.Properties = message.AppendProperty(nil, message.PropKeys, []byte(keyOf(first+i)))
		b.Add(q, d, 0)
	}
	k.bodies = append(k.bodies, bodies...) // perhaps they are there also after an error
	if err := k.s.Append(b, time.UnixMilli(1000+k.s.MaxPhysical())); err != nil {
		return err
	}
	k.taken = int64(len(k.bodies))
	for i := range bodies {
		k.at = append(k.at, b.At(i).Physical)
	}
	return nil
}

// cut cuts the log, as a slave does, behind all that was compacted.
func (k *keyed) cut() error {
	from := max(k.s.Find([]byte("c"), 0).Min(), 0)
	if l := k.s.compactLog(k.s.Find([]byte("c"), 0)); l != nil {
		from = max(from, l.Position()+1)
	}
	if from >= int64(len(k.bodies)) {
		return nil
	}
	n := max(from, int64(len(k.bodies)-1-k.rng.IntN(12)))
	k.synced, k.doubt = min(k.synced, n), true
	if err := k.s.CutLog(k.at[n]); err != nil {
		return err
	}
	k.bodies, k.at, k.taken, k.synced, k.doubt = k.bodies[:n], k.at[:n], n, n, false
	return nil
}

func (k *keyed) act(t *testing.T, steps int) error {
	err := k.send()
	for ; steps > 0 && err == nil; steps-- {
		switch n := len(k.bodies); k.rng.IntN(8) {
		case 0, 1:
			err = k.send()
		case 2:
			if err = k.s.flush(); err == nil {
				k.synced = int64(n)
			}
		case 3:
			if err = k.s.copyCompacted(true); err == nil {
				err = k.s.syncCompacted()
			}
		case 4:
			k.s.compactAll(t.Context(), nil)
		case 5:
			err = k.s.DropBefore(k.s.MaxPhysical())
		case 6:
			err = k.cut()
		case 7:
			err = k.s.look(true)
		}
	}
	return err
}

// check says what is wrong with the table: of each key there must be the last of the first least messages, or a later one.
func (k *keyed) check(got []string, least int64) error {
	last := map[string]int{}
	for _, m := range got {
		var offset, salt int
		var key string
		if _, err := fmt.Sscanf(strings.Replace(m, "=", " ", 1), "%d %s %d %d", new(int), &key, &offset, &salt); err != nil {
			return err
		}
		if offset >= len(k.bodies) || m != fmt.Sprintf("%d %s=%s", offset, keyOf(offset), k.bodies[offset]) {
			return fmt.Errorf("%q was never sent", m)
		}
		last[key] = offset
	}
	for i := max(0, int(least)-7); i < int(least); i++ {
		if offset, ok := last[keyOf(i)]; !ok || offset < i {
			return fmt.Errorf("%s, the last of its key, is not there", k.bodies[i])
		}
	}
	return nil
}

// Wherever the process or the power ends, and whatever was copied, compacted, dropped or cut then, the last message of each key is
// there that was taken, or after a power cut was on the disk; and what comes is kept like that.
func TestCrash_Compacted(t *testing.T) {
	compact := func(c *Config) {
		c.Compaction = Compaction{Of: func(topic string) bool { return topic == "c" }, FileSize: 920, UnitFileSize: 460}
	}
	states := 0
	for seed := range uint64(12) {
		for stop, ended := int(seed), false; !ended; stop += 11 {
			disk := crashfs.New(crashfs.Options{Seed: seed, Ordered: seed%2 == 0})
			k := &keyed{s: crashStore(t, disk, compact), rng: rand.New(rand.NewPCG(seed, 4))}
			left := stop
			disk.Before = func(vfs.Op, string) error {
				if left--; left < 0 {
					disk.Stop()
					return crashfs.ErrStopped
				}
				return nil
			}
			_ = k.act(t, 40)
			ended = left >= 0
			for i, after := range []*crashfs.Disk{disk.Kill(), disk.PowerCut(seed), disk.PowerCut(seed + 1000)} {
				states++
				least := k.synced
				if i == 0 && !k.doubt {
					least = k.taken
				}
				s := crashStore(t, after, compact)
				if err := k.check(table(t, s), least); err != nil {
					t.Fatalf("seed %d, after %d changes, crash %d: %v in %q", seed, stop, i, err, table(t, s))
				}
				next := keyed{s: s, rng: k.rng, bodies: slices.Clone(k.bodies)}
				if q := s.Find([]byte("c"), 0); q == nil {
					next.bodies = nil
				} else if q.Max() < int64(len(next.bodies)) {
					next.bodies = next.bodies[:q.Max()]
				}
				ok(t, next.send())
				for range 2 {
					copyAll(t, s)
					if err := next.check(table(t, s), next.taken); err != nil {
						t.Fatalf("seed %d, after %d changes, crash %d, gone on: %v in %q", seed, stop, i, err, table(t, s))
					}
					ok(t, s.DropBefore(s.MaxPhysical()))
				}
				ok(t, s.Close())
			}
		}
	}
	t.Log(states, "crashes")
}
