package timer

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
)

// moment is what a crash left: a disk, when that was, and what had been promised by then.
type moment struct {
	what string
	disk *crashfs.Disk
	at   time.Time
	want map[string]expected
}

// crasher takes moments between two operations on a disk.
type crasher struct {
	mu    sync.Mutex
	rng   *rand.Rand
	share float64
	left  int  // operations that are looked at
	cut   bool // power cuts, or else kills
	want  map[string]expected
	found []moment
}

func (c *crasher) before(disk *crashfs.Disk, op vfs.Op, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left < 0 || c.rng.Float64() >= c.share || len(c.found) >= 60 {
		return
	}
	m := moment{what: fmt.Sprintf("crash %d before %s %s", len(c.found), op, name), at: time.Now(), want: maps.Clone(c.want)}
	if c.cut {
		m.disk = disk.PowerCut(c.rng.Uint64())
	} else {
		m.disk = disk.Kill()
	}
	c.found = append(c.found, m)
}

func (c *crasher) promise(key string, e expected) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want[key] = e
}

// Whenever the process or the power ends: each message whose send was answered comes once, none comes early, none twice,
// and recalls hold.
func TestService_Crash(t *testing.T) {
	for seed := range uint64(8) {
		cut := seed%2 == 1
		c := &crasher{rng: newRand(seed), share: 0.02, left: math.MaxInt, cut: cut, want: make(map[string]expected)}
		o := options{window: 30, sync: cut, fileLen: 400 + int64(seed)*100}
		var again []moment
		synctest.Test(t, func(t *testing.T) {
			disk := newDisk(seed)
			disk.Before = func(op vfs.Op, name string) error { c.before(disk, op, name); return nil }
			w := open(t, disk, o)
			rng := newRand(seed + 100)
			for i := range 300 {
				key, at := keyOf(i), time.Now().UnixMilli()+1+rng.Int64N(int64(1000+59_000*(i%2)))
				c.promise(key, expected{deliverMs: at})
				must(t, w.timed(key, at))
				c.promise(key, expected{deliverMs: at, sure: true})
				if i%10 == 0 && at > time.Now().UnixMilli()+500 {
					c.promise(key, expected{deliverMs: at}) // from here on it may come or not
					must(t, w.timed("recall of "+key, at, message.PropTimerDelUniqkey, key))
					c.promise(key, expected{deliverMs: at, sure: true, recalled: true})
				}
				time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
			}
			time.Sleep(70 * time.Second)
			check(t, "without a crash", c.want, w.arrivals(), 20)
		})
		for i, m := range c.found {
			again = append(again, m)
			if i%3 == 0 { // and a crash of what comes up again
				again = append(again, crashAgain(t, o, m, seed*1000+uint64(i), cut)...)
			}
		}
		for _, m := range again {
			recovers(t, fmt.Sprintf("seed %d, %s", seed, m.what), o, m)
		}
		t.Logf("seed %d: %d crashes", seed, len(again))
	}
}

// until sleeps to a time of another bubble.
func until(at time.Time) { time.Sleep(time.Until(at)) }

func recovers(t *testing.T, what string, o options, m moment) {
	synctest.Test(t, func(t *testing.T) {
		until(m.at)
		w := open(t, m.disk, o)
		key := "LATER"
		at := time.Now().UnixMilli() + 1234
		want := maps.Clone(m.want)
		want[key] = expected{at, true, false}
		must(t, w.timed(key, at))
		time.Sleep(75 * time.Second)
		check(t, what, want, w.arrivals(), 1000)
		w.stop()
	})
}

func crashAgain(t *testing.T, o options, m moment, seed uint64, cut bool) []moment {
	c := &crasher{rng: newRand(seed), share: 0.05, left: 200, cut: cut, want: m.want}
	synctest.Test(t, func(t *testing.T) {
		until(m.at)
		disk := m.disk.Kill() // a copy
		disk.Before = func(op vfs.Op, name string) error { c.before(disk, op, name); return nil }
		open(t, disk, o)
		time.Sleep(2 * time.Second)
	})
	for i := range c.found {
		c.found[i].what = m.what + ", then " + c.found[i].what
	}
	return c.found[:min(len(c.found), 3)]
}
