package delay

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
	"rocketd/meta"
	"rocketd/protocol"
	"rocketd/put"
	"rocketd/store"
	"rocketd/store/consumequeue"
	"rocketd/topic"
)

// life runs a store and a service on a disk for some time, while messages of two levels come that are called after it. It ends
// as a process does, in order, if the disk lets it. It returns the bodies that were taken.
func life(t *testing.T, disk *crashfs.Disk, name string, messages int, syncFlush bool, lasts time.Duration) (taken []string) {
	levels, _ := message.ParseDelayLevels("1s 2s")
	quiet := slog.New(slog.DiscardHandler)
	s, err := store.Open(store.Config{FS: disk, Dir: "/store", FileSize: 2048, QueueFileSize: 200, SyncFlush: syncFlush, Tag: levels.Tag, Log: quiet,
		QueueKind: func(string) (consumequeue.Kind, bool) { return consumequeue.Simple, true }})
	if err != nil {
		return nil
	}
	defer func() { _ = s.Close() }()
	carried, err := meta.OpenCarried(meta.Config{FS: disk, Dir: "/store/config", Log: quiet})
	if err != nil {
		return nil
	}
	p := put.New(put.Config{Log: s, SyncFlush: syncFlush, Grew: func(*protocol.Turn, *consumequeue.Queue) {}, Stored: func(*consumequeue.Queue, int, int) {}})
	svc := New(Config{Store: s, Levels: levels, Progress: carried.DelayOffsets, NewCourier: func() Courier { return p.NewCourier() }, Interval: 700 * time.Millisecond, Log: quiet})
	ctx, cancel := context.WithCancel(t.Context())
	below, end := context.WithCancel(t.Context())
	done, ended := make(chan struct{}), make(chan struct{}, 2)
	go func() { _ = s.Run(below); ended <- struct{}{} }()
	go func() { _ = p.Run(below); ended <- struct{}{} }()
	go func() { _ = svc.Run(ctx); close(done) }()
	c := p.NewCourier()
	for i := range messages {
		body := fmt.Sprint(name, i)
		d := draft("T", body)
		tag, _ := levels.Divert(&d, int32(1+i%2), nil)
		c.Stage(s.Queue(topic.Schedule, d.QueueID), &d, tag)
		if _, err := c.Commit(below, time.Now()); err == nil {
			taken = append(taken, body)
		}
		time.Sleep(300 * time.Millisecond)
	}
	time.Sleep(lasts)
	cancel()
	<-done
	end()
	<-ended
	<-ended
	return taken
}

// bodies are those of all messages in a queue.
func bodies(t *testing.T, disk *crashfs.Disk, name string, ids ...int32) (all []string) {
	s, err := store.Open(store.Config{FS: disk, Dir: "/store", FileSize: 2048, QueueFileSize: 200, Log: slog.New(slog.DiscardHandler),
		QueueKind: func(string) (consumequeue.Kind, bool) { return consumequeue.Simple, true }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, id := range ids {
		q := s.Find([]byte(name), id)
		for at := int64(0); q != nil && at < q.Max(); at++ {
			raw, _ := s.Get(q, store.Read{From: at, Max: 1}, nil)
			r, err := message.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(r.Body))
		}
	}
	slices.Sort(all)
	return all
}

// Wherever the process or the power ends, after the next start each message that waits in the log has arrived, once, and so has
// each that was taken, as far as the mode promises.
func TestService_Run_Crash(t *testing.T) {
	stops := 260
	if testing.Short() {
		stops = 60
	}
	for stop := 5; stop < stops; stop++ {
		syncFlush := stop%2 == 0
		synctest.Test(t, func(t *testing.T) {
			var left atomic.Int64
			left.Store(int64(stop))
			d := crashfs.New(crashfs.Options{Seed: uint64(stop)})
			d.Before = func(vfs.Op, string) error {
				if left.Add(-1) < 0 {
					d.Stop()
					return crashfs.ErrStopped
				}
				return nil
			}
			taken := life(t, d, "a", 8, syncFlush, 5*time.Second)
			for name, after := range map[string]*crashfs.Disk{"power cut": d.PowerCut(uint64(stop)), "kill": d.Kill()} {
				more := life(t, after, "b", 2, syncFlush, 10*time.Second)
				waited, arrived := bodies(t, after, topic.Schedule, 0, 1), bodies(t, after, "T", 2)
				if !slices.Equal(waited, arrived) {
					t.Errorf("%s after %d operations, sync %t: of\n\t%v\narrived\n\t%v", name, stop, syncFlush, waited, arrived)
				}
				promised := more
				if name == "kill" || syncFlush {
					promised = append(promised, taken...)
				}
				for _, body := range promised {
					if !slices.Contains(arrived, body) {
						t.Errorf("%s after %d operations, sync %t: %s was taken and did not arrive", name, stop, syncFlush, body)
					}
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}
