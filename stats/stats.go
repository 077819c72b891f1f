// Package stats counts what goes through a broker and answers with rates: the broker's own totals (the numbers of
// GET_BROKER_RUNTIME_INFO) and items by name and key (VIEW_BROKER_STATS_DATA). Counting is an atomic add.
package stats

import (
	"context"
	"fmt"
	"strings"
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
	items map[itemKey]*Item
	rates map[*atomic.Int64]*Item // history of the totals
	// the totals at the last two midnights, for the "this morning" figures
	morning, yesterday struct{ put, get int64 }
}

// NewBoard makes an empty board.
func NewBoard(now time.Time) *Board {
	b := &Board{items: make(map[itemKey]*Item), rates: make(map[*atomic.Int64]*Item)}
	for _, c := range []*atomic.Int64{&b.Put, &b.GetFound, &b.GetMiss, &b.GetMessages} {
		b.rates[c] = new(Item)
	}
	b.Sample(now)
	return b
}

type itemKey struct{ name, topic, group string }

// Item returns the counter of a name, a topic and, for the GROUP items, a group; it makes it when it is not there.
// For the BROKER items the cluster stands in the place of the topic. A known one costs no allocation.
func (b *Board) Item(name, topic, group string) *Item {
	k := itemKey{name, topic, group}
	b.mu.RLock()
	i := b.items[k]
	b.mu.RUnlock()
	if i != nil {
		return i
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i = b.items[k]; i == nil {
		i = new(Item)
		b.items[k] = i
	}
	return i
}

// Find returns the counter of a name and a key as VIEW_BROKER_STATS_DATA writes it, "topic" or "topic@group"; nil
// if nothing was counted.
func (b *Board) Find(name, key string) *Item {
	topic, group, _ := strings.Cut(key, "@")
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.items[itemKey{name, topic, group}]
}

// Forget drops the counters of deleted topics or groups.
func (b *Board) Forget(belongs func(topic, group string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.items {
		if belongs(k.topic, k.group) {
			delete(b.items, k)
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
	for _, i := range b.items {
		i.sample(now)
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
