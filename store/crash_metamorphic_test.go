package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"rocketd/internal/crashfs"
)

// content is all that can be read from the queues of a store, one line a message.
func content(t *testing.T, s *Store) []string {
	t.Helper()
	topics := s.Topics()
	slices.Sort(topics)
	var list []string
	for _, topic := range topics {
		for _, q := range s.Queues(topic) {
			for i, body := range bodies(t, s, q) {
				list = append(list, fmt.Sprintf("%s/%d@%d %s", topic, q.ID(), q.Min()+int64(i), body))
			}
		}
	}
	return list
}

// The same things done to stores with other settings, with or without ends between them, make the same content.
func TestCrash_Metamorphic(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 5
	}
	for seed := range uint64(rounds) {
		var first []string
		var firstPlan plan
		for n := range uint64(6) {
			rng := rand.New(rand.NewPCG(seed, n+100))
			pick := func(n ...int64) int64 { return n[rng.IntN(len(n))] }
			p := plan{opt: crashfs.Options{Seed: seed, Map: rng.IntN(2) == 0, Ordered: rng.IntN(2) == 0},
				cfg: Config{Dir: "/data/store", FileSize: pick(1024, 1500, 4096, 1<<16), QueueFileSize: pick(20, 60, 200, 1000, 20000),
					SyncFlush: rng.IntN(2) == 0, OpenFiles: int(pick(1, 3, 100)), HotBytes: pick(1, 1<<20)}}
			got := sameSteps(t, seed, p, rng)
			if n == 0 {
				first, firstPlan = got, p
			} else if !slices.Equal(got, first) {
				t.Fatalf("seed %d: %+v and %+v differ:\n%q\n%q", seed, firstPlan, p, first, got)
			}
		}
		if len(first) < 20 {
			t.Fatal("no content", seed, first)
		}
	}
}

// sameSteps appends what seed says, and does in between what rng says and what must not matter.
func sameSteps(t *testing.T, seed uint64, p plan, rng *rand.Rand) []string {
	t.Helper()
	w := worldOf(seed, p, rng)
	w.quiet = true
	w.disk.Before = nil
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("seed %d, %+v: %v", seed, p, err)
		}
	}
	s, err := w.open(w.disk)
	must(err)
	data := rand.New(rand.NewPCG(seed, 7))
	for range 60 {
		var b Batch
		for range 1 + data.IntN(4) {
			topic, id := w.topic(data)
			w.written++
			body := fmt.Sprintf("%d.%0*d", w.written, data.IntN(100), 0)
			b.Add(s.Queue(topic, id), draft(topic, id, body), 0)
		}
		must(s.Append(&b, w.now))
		switch rng.IntN(10) {
		case 0:
			must(s.flush())
		case 1:
			must(s.look(rng.IntN(2) == 0))
		case 2:
			must(s.log.Prepare())
		case 3:
			s.pages = append(s.pages, s.dirty...)
			must(s.writePages())
		case 4:
			must(s.Close())
			if rng.IntN(2) == 0 {
				w.disk = w.disk.PowerCut(rng.Uint64())
			}
			s, err = w.open(w.disk)
			must(err)
		case 5:
			if rng.IntN(2) == 0 {
				w.disk = w.disk.Kill()
			} else {
				must(s.flush())
				w.disk = w.disk.PowerCut(rng.Uint64())
			}
			s, err = w.open(w.disk)
			must(err)
		}
	}
	must(s.flush())
	return content(t, s)
}
