// Package stats counts what goes through a broker and answers with rates: the broker's own totals (the numbers of
// GET_BROKER_RUNTIME_INFO) and items by name and key (VIEW_BROKER_STATS_DATA). Counting is an atomic add.
package stats

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// The item names that this broker counts. Source: Java Stats, BrokerStatsManager; remoting.md 3.4.3.
const (
	TopicPutNums  = "TOPIC_PUT_NUMS"    // key topic
	TopicPutSize  = "TOPIC_PUT_SIZE"    // key topic, bytes
	GroupGetNums  = "GROUP_GET_NUMS"    // key topic@group
	GroupGetSize  = "GROUP_GET_SIZE"    // key topic@group, bytes
	BrokerPutNums = "BROKER_PUT_NUMS"   // key cluster name
	BrokerGetNums = "BROKER_GET_NUMS"   // key cluster name
	SendBackNums  = "SNDBCK_PUT_NUMS"   // key topic@group
	GetLatency    = "GROUP_GET_LATENCY" // key topic@group, ms
)

// Totals are the broker's counters since its start.
type Totals struct {
	Put         atomic.Int64 // messages stored
	PutBytes    atomic.Int64
	PutFailed   atomic.Int64
	GetFound    atomic.Int64 // pulls that found something
	GetMiss     atomic.Int64 // pulls that found nothing
	GetMessages atomic.Int64 // messages handed to consumers
	GetBytes    atomic.Int64
}

// window is a row of samples of one counter, ten seconds apart, an hour and a bit of them in sparse form.
type window struct {
	at    [61]sample // ring of 10-second samples: ten minutes
	n     int
	hours [25]sample // ring of hourly samples
	h     int
}

type sample struct {
	when  time.Time
	value int64
	times int64
}

// Item is a counter with its history. Sum counts units, Times counts calls of Add.
type Item struct {
	sum, times atomic.Int64
	mu         sync.Mutex
	win        window // guarded by mu
}

// Add counts n.
func (i *Item) Add(n int64) {
	i.sum.Add(n)
	i.times.Add(1)
}

// Board holds the totals and all items.
type Board struct {
	Totals
	mu    sync.RWMutex
	items map[string]map[string]*Item // name → key
	rates map[*atomic.Int64]*Item     // history of the totals
	// the totals at the last two midnights, for the "this morning" figures
	morning, yesterday struct{ put, get int64 }
}

// NewBoard makes an empty board.
func NewBoard(now time.Time) *Board {
	b := &Board{items: make(map[string]map[string]*Item), rates: make(map[*atomic.Int64]*Item)}
	for _, c := range []*atomic.Int64{&b.Put, &b.GetFound, &b.GetMiss, &b.GetMessages} {
		b.rates[c] = new(Item)
	}
	b.Sample(now)
	return b
}

// Item returns the counter of name and key, making it when it is not there.
func (b *Board) Item(name, key string) *Item {
	b.mu.RLock()
	i := b.items[name][key]
	b.mu.RUnlock()
	if i != nil {
		return i
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.items[name] == nil {
		b.items[name] = make(map[string]*Item)
	}
	if i = b.items[name][key]; i == nil {
		i = new(Item)
		b.items[name][key] = i
	}
	return i
}

// Find returns the counter of name and key, or nil.
func (b *Board) Find(name, key string) *Item {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.items[name][key]
}

// Forget drops the counters whose key belongs to a deleted topic or group.
func (b *Board) Forget(belongs func(key string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, keys := range b.items {
		for key := range keys {
			if belongs(key) {
				delete(keys, key)
			}
		}
	}
}

// Run samples every ten seconds, and turns the page at midnight, until the context ends.
func (b *Board) Run(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	day := time.Now().YearDay()
	for {
		select {
		case now := <-tick.C:
			b.Sample(now)
			if now.YearDay() != day {
				day = now.YearDay()
				b.Midnight()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Sample takes one sample of every counter.
func (b *Board) Sample(now time.Time) {
	for c, i := range b.rates {
		i.sum.Store(c.Load())
		i.sample(now)
	}
	b.mu.RLock()
	for _, keys := range b.items {
		for _, i := range keys {
			i.sample(now)
		}
	}
	b.mu.RUnlock()
}

func (i *Item) sample(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := sample{now, i.sum.Load(), i.times.Load()}
	w := &i.win
	w.at[w.n%len(w.at)] = s
	w.n++
	if w.h == 0 || now.Sub(w.hours[(w.h-1)%len(w.hours)].when) >= time.Hour {
		w.hours[w.h%len(w.hours)] = s
		w.h++
	}
}

// Span is the sum of a counter over a time, its rate per second and its average per call.
type Span struct {
	Sum       int64
	PerSecond float64
	PerCall   float64
}

// Over returns the span between now and the oldest sample that is at most d old.
func (i *Item) Over(now time.Time, d time.Duration) Span {
	i.mu.Lock()
	defer i.mu.Unlock()
	from, found := sample{when: now}, false
	oldest := func(ring []sample, n int) {
		for k := max(0, n-len(ring)); k < n; k++ {
			if s := ring[k%len(ring)]; now.Sub(s.when) <= d+time.Second {
				if !found || s.when.Before(from.when) {
					from, found = s, true
				}
				return
			}
		}
	}
	oldest(i.win.at[:], i.win.n)
	if d > 10*time.Minute {
		oldest(i.win.hours[:], i.win.h)
	}
	out := Span{Sum: i.sum.Load() - from.value}
	if !found {
		out.Sum = i.sum.Load()
		return out
	}
	if s := now.Sub(from.when).Seconds(); s > 0 {
		out.PerSecond = float64(out.Sum) / s
	}
	if n := i.times.Load() - from.times; n > 0 {
		out.PerCall = float64(out.Sum) / float64(n)
	}
	return out
}

// Rates returns the rate per second of one of the totals over ten seconds, a minute and ten minutes, as the text
// that GET_BROKER_RUNTIME_INFO carries.
func (b *Board) Rates(now time.Time, c *atomic.Int64) string {
	i := b.rates[c]
	i.sum.Store(c.Load())
	return fmt.Sprintf("%s %s %s", rate(i, now, 10*time.Second), rate(i, now, time.Minute), rate(i, now, 10*time.Minute))
}

func rate(i *Item, now time.Time, d time.Duration) string {
	return fmt.Sprintf("%.2f", i.Over(now, d).PerSecond)
}

// Midnight turns the page of the "morning" figures: the totals as they were when the day began.
func (b *Board) Midnight() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.yesterday = b.morning
	b.morning.put, b.morning.get = b.Put.Load(), b.GetMessages.Load()
}

// Mornings returns the totals at yesterday's and today's begin: put, get.
func (b *Board) Mornings() (yesterdayPut, yesterdayGet, todayPut, todayGet int64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.yesterday.put, b.yesterday.get, b.morning.put, b.morning.get
}
