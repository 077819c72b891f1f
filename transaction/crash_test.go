package transaction

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

// deal is what is known of one transaction.
type deal struct {
	places []place // of its copies, as far as its producer knows them
	said   int32   // the outcome that was confirmed
	tried  bool    // an outcome was asked for and not confirmed
}

// gamble does steps at random until the disk stops at the write it was told to, or the steps are over.
type gamble struct {
	*world
	rng   *rand.Rand
	deals map[string]*deal
	names []string
}

func (g *gamble) step() {
	switch g.rng.IntN(10) {
	case 0, 1, 2:
		uniq := "u" + strconv.Itoa(len(g.names))
		d := &deal{}
		g.deals[uniq], g.names = d, append(g.names, uniq)
		if at, ok := g.prepare(uniq, "T"); ok {
			d.places = append(d.places, at)
		}
	case 3, 4, 5:
		g.endSome()
	case 6:
		g.now = g.now.Add(time.Duration(g.rng.IntN(20)) * 100 * time.Millisecond) // a store that is open syncs within 10 s
		g.peer.asked = nil
		_ = g.svc.check(g.t.Context(), g.now)
		for i, at := range g.asked() {
			r, err := message.Decode(g.peer.asked[i].Body)
			if err != nil {
				g.t.Fatal(err)
			}
			uniq, _ := message.Property(r.Properties, message.PropUniqKey)
			g.deals[string(uniq)].places = append(g.deals[string(uniq)].places, at)
		}
	case 7:
		g.save()
	}
}

// endSome asks for the outcome of a few transactions in one turn, by any copy.
func (g *gamble) endSome() {
	type asked struct {
		d       *deal
		outcome int32
	}
	var list []asked
	var reqs []*protocol.Command
	for range 1 + g.rng.IntN(4) {
		if len(g.names) == 0 {
			return
		}
		d := g.deals[g.names[g.rng.IntN(len(g.names))]]
		if len(d.places) == 0 {
			continue
		}
		outcome := []int32{commit, rollback}[g.rng.IntN(2)]
		list = append(list, asked{d, outcome})
		reqs = append(reqs, request(d.places[g.rng.IntN(len(d.places))], outcome))
	}
	if len(reqs) == 0 {
		return
	}
	for i, said := range g.ends(reqs...) {
		switch {
		case said != "0":
			list[i].d.tried = true
		case list[i].d.said != 0:
			g.t.Fatalf("two outcomes: %d and %d", list[i].d.said, list[i].outcome)
		default:
			list[i].d.said = list[i].outcome
		}
	}
}

// verify compares what is known with the log that the crash has left: nothing twice, nothing against what was confirmed.
func (g *gamble) verify(lossless bool) {
	g.t.Helper()
	committed, discarded, open, halves := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	count := func(m map[string]int, name string, only func(r *message.Record) bool) {
		g.each(name, func(r *message.Record) {
			uniq, _ := message.Property(r.Properties, message.PropUniqKey)
			if only(r) {
				m[string(uniq)]++
			}
		})
	}
	all := func(*message.Record) bool { return true }
	count(committed, "T", all)
	count(discarded, topic.TransCheckMax, all)
	count(halves, topic.TransHalf, all)
	count(open, topic.TransHalf, func(r *message.Record) bool { return g.svc.ledger.open(r.QueueOffset) })
	for uniq, d := range g.deals {
		c, x, o := committed[uniq], discarded[uniq], open[uniq]
		sum := c + x + o
		switch {
		case sum > 1:
			g.t.Fatalf("%s: committed %d, discarded %d, open %d", uniq, c, x, o)
		case lossless && d.said == commit && c != 1, lossless && d.said == rollback && sum != 0:
			g.t.Fatalf("%s: outcome %d was confirmed; committed %d, discarded %d, open %d", uniq, d.said, c, x, o)
		case d.said == rollback && c != 0:
			g.t.Fatalf("%s: rolled back, and committed", uniq)
		case sum == 0 && halves[uniq] > 0 && d.said != rollback && !d.tried:
			g.t.Fatalf("%s: lost (confirmed: %d)", uniq, d.said)
		case lossless && sum == 0 && len(d.places) > 0 && d.said == 0 && !d.tried:
			g.t.Fatalf("%s: lost", uniq)
		}
	}
}

// The process may be killed or the power cut at each write that transactions make, and again while the next process reads
// what that left: each transaction has one outcome, the one that was confirmed, or is open.
func TestCrash(t *testing.T) {
	runs := 300
	if n, err := strconv.Atoi(os.Getenv("CRASH_RUNS")); err == nil {
		runs = n
	} else if testing.Short() {
		runs = 60
	}
	first, _ := strconv.ParseUint(os.Getenv("CRASH_SEED"), 10, 64)
	for seed := first; seed < first+uint64(runs); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			g := &gamble{world: newWorld(t), rng: rng, deals: map[string]*deal{}}
			g.rules.Timeout = 500 * time.Millisecond
			for range 3 { // lives
				var stopAt atomic.Int64
				stopAt.Store(1 + rng.Int64N(120))
				g.disk.Before = func(op vfs.Op, _ string) error {
					if stopAt.Add(-1) <= 0 {
						return errors.New("the end")
					}
					return nil
				}
				for range 60 {
					if stopAt.Load() <= 0 {
						break
					}
					g.step()
					if rng.IntN(20) == 0 && stopAt.Load() > 0 {
						g.flush()
					}
				}
				g.disk.Before = nil
				kill := rng.IntN(2) == 0
				if kill {
					g.crash(g.disk.Kill())
				} else {
					g.crash(g.disk.PowerCut(seed))
					for uniq, d := range g.deals { // places that the log may have lost
						d.places = slices.DeleteFunc(d.places, func(place) bool { return uniq != "" })
					}
				}
				g.open()
				g.verify(kill)
				if !kill {
					return // what was confirmed may be lost, and its offsets are others' now
				}
			}
			for range 5 { // in the end, all are over
				g.check(time.Minute)
			}
			if got := g.opened(); got != "" {
				t.Errorf("open for ever: %s", got)
			}
			g.verify(true)
		})
	}
}
