package compaction

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rocketd/internal/crashfs"
	"rocketd/internal/vfs"
	"rocketd/message"
)

// ledger is all messages that a queue ever had, which is what its compaction log is fed from.
type ledger struct {
	msgs []Message
	keys []string
	body []bool
}

func (l *ledger) add(key string, body string) {
	offset := int64(len(l.msgs))
	d := &message.Draft{Topic: []byte("T"), Body: []byte(body), QueueID: 3, Properties: message.AppendProperty(nil, message.PropKeys, []byte(key))}
	rec := message.AppendRecord(nil, d)
	message.Patch(rec, offset, 1_000_000+offset, 5000+offset)
	l.msgs = append(l.msgs, Message{Record: rec, Offset: offset, Tag: 7, StoreMs: 5000 + offset})
	l.keys, l.body = append(l.keys, key), append(l.body, body != "")
}

func (l *ledger) random(rng *rand.Rand) {
	l.add(fmt.Sprint("k", rng.IntN(6)), strings.Repeat("b", rng.IntN(4)*rng.IntN(60)))
}

// check says what is wrong with a log that had got messages up to least: it has more or less than what was given, or not the
// last of a key.
func (l *ledger) check(log *Log, least int64) error {
	var got []int64
	var failed error
	err := log.Each(0, false, func(e Entry) bool {
		rec := make([]byte, e.Size)
		if failed = e.Read(rec); failed != nil {
			return false
		}
		if e.Base >= int64(len(l.msgs)) {
			failed = fmt.Errorf("offset %d was never given", e.Base)
			return false
		}
		want := slices.Clone(l.msgs[e.Base].Record)
		message.Patch(want, e.Base, e.Physical, l.msgs[e.Base].StoreMs)
		if !slices.Equal(rec, want) || e.Tag != 7 && e.Tag != 0 || e.StoreMs != l.msgs[e.Base].StoreMs {
			failed = fmt.Errorf("offset %d is another message", e.Base)
			return false
		}
		got = append(got, e.Base)
		return true
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		return fmt.Errorf("not in order: %v", got)
	}
	if len(got) > 0 && (got[len(got)-1]+1 != log.Max() || got[0] != log.Min()) {
		return fmt.Errorf("[%d, %d) says what has %v", log.Min(), log.Max(), got)
	}
	last := map[string]int64{}
	end := max(log.Max(), least) // the last messages may have been deleted
	for i := range end {
		last[l.keys[i]] = i
	}
	for key, offset := range last {
		if slices.Contains(l.keys[end:], key) { // what comes decides
			continue
		}
		if has := slices.Contains(got, offset); !has && l.body[offset] {
			return fmt.Errorf("the last of %s, %d, is not there: %v", key, offset, got)
		} else if !has && slices.ContainsFunc(got, func(o int64) bool { return l.keys[o] == key }) {
			return fmt.Errorf("%s, deleted by %d, is back: %v", key, offset, got)
		}
	}
	return nil
}

func config(f vfs.FS, clean bool) Config {
	return Config{LogDir: "/s/compactionLog/T/3", UnitDir: "/s/compactionCq/T/3", Topic: "T", Queue: 3, FileSize: 900, UnitFileSize: 5 * unitSize,
		Clean: clean, Position: -1, Tag: func(*message.Record) int64 { return 0 }, FS: f, Log: slog.New(slog.DiscardHandler)}
}

func mustOpen(t *testing.T, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What is appended is read; a compaction keeps the last of each key, the offsets stay, and so after a new start.
func TestLog(t *testing.T) {
	disk := crashfs.New(crashfs.Options{})
	var led ledger
	rng := rand.New(rand.NewPCG(1, 1))
	position := int64(-1)
	for round := range 20 {
		cfg := config(disk, true)
		cfg.Position = position
		l := mustOpen(t, cfg)
		if err := led.check(l, int64(len(led.msgs))); err != nil {
			t.Fatal(round, err)
		}
		for range rng.IntN(20) {
			led.random(rng)
		}
		if err := l.Append(led.msgs); err != nil {
			t.Fatal(err)
		}
		res, err := l.Compact(t.Context(), Round{Memory: 1 << 20})
		if err != nil || res.More {
			t.Fatal(res, err)
		}
		position = l.Position()
		if err := errors.Join(led.check(l, int64(len(led.msgs))), l.Close(), l.Close()); err != nil {
			t.Fatal(round, err)
		}
	}
	l := mustOpen(t, config(disk, true))
	n := 0
	_ = l.Each(0, false, func(Entry) bool { n++; return true })
	if files, _ := names(disk, "/s/compactionLog/T/3"); n > 20 || len(files) > 6 || len(led.msgs) < 100 {
		t.Errorf("%d messages in %v of %d", n, files, len(led.msgs))
	}
	if err := errors.Join(l.Delete()); err != nil {
		t.Fatal(err)
	}
	if all, err := disk.ReadDir("/s/compactionCq/T"); len(all) > 0 || err != nil {
		t.Error(all, err)
	}
}

// A table without room for all keys takes several rounds, and comes to the same.
func TestLog_Compact_Rounds(t *testing.T) {
	disk := crashfs.New(crashfs.Options{})
	l := mustOpen(t, config(disk, true))
	defer l.Close()
	var led ledger
	for i := range 900 {
		led.add(fmt.Sprint("k", i%300), "body")
	}
	if err := l.Append(led.msgs); err != nil {
		t.Fatal(err)
	}
	rounds := 0
	for position, more := int64(-1), true; more; rounds++ {
		res, err := l.Compact(t.Context(), Round{Memory: 100 * slotBytes})
		if err != nil || l.Position() <= position {
			t.Fatal(res, err)
		}
		if err := led.check(l, 900); err != nil {
			t.Fatal(err)
		}
		position, more = l.Position(), res.More
	}
	n := 0
	_ = l.Each(0, false, func(Entry) bool { n++; return true })
	if n < 300 || n > 305 || rounds != 9 {
		t.Errorf("%d messages after %d rounds", n, rounds)
	}
}

// Wherever the process or the power ends, the last of each key that was on the disk is there, in order and nothing else;
// and the log can be filled and compacted on.
func TestLog_Crash(t *testing.T) {
	states := 0
	for seed := range uint64(6) {
		for stop := 0; ; stop += 1 + int(seed%7) {
			disk := crashfs.New(crashfs.Options{Seed: seed, Ordered: seed%2 == 0})
			led, synced, position, ended := act(t, disk, seed, stop)
			for i, after := range []*crashfs.Disk{disk.Kill(), disk.PowerCut(seed), disk.PowerCut(seed + 1000)} {
				states++
				if err := takeUp(after, led, synced, synced*int64(i)/2, position); err != nil {
					t.Fatalf("seed %d, after %d changes, crash %d: %v", seed, stop, i, err)
				}
			}
			if ended {
				break
			}
		}
	}
	t.Log(states, "crashes")
}

// act does things to a log until so many changes were made to the disk.
func act(t *testing.T, disk *crashfs.Disk, seed uint64, stop int) (led *ledger, synced, position int64, ended bool) {
	disk.Before = func(vfs.Op, string) error {
		if stop--; stop < 0 {
			disk.Stop()
			return crashfs.ErrStopped
		}
		return nil
	}
	led = new(ledger)
	rng := rand.New(rand.NewPCG(seed, 2))
	position = -1
	for range 4 {
		cfg := config(disk, true)
		cfg.Position = position
		l, err := Open(cfg)
		if err != nil {
			return led, synced, position, false
		}
		for range 6 {
			for range rng.IntN(8) {
				led.random(rng)
			}
			if err = l.Append(led.msgs); err == nil && rng.IntN(2) == 0 {
				if err = l.Sync(); err == nil {
					synced = l.Max()
				}
			}
			if err == nil && rng.IntN(3) == 0 {
				if _, err = l.Compact(context.Background(), Round{Memory: int64(rng.IntN(2)) << 20}); err == nil {
					position = l.Position()
				}
			}
			if err != nil {
				if !errors.Is(err, crashfs.ErrStopped) {
					t.Fatal(err)
				}
				return led, synced, position, false
			}
		}
		if l.Close() != nil {
			return led, synced, position, false
		}
		synced = l.Max()
	}
	return led, synced, position, true
}

// takeUp opens the log after a crash, and goes on with it. Messages from again on can be appended again; those before are
// on the disk.
func takeUp(disk *crashfs.Disk, led *ledger, synced, again, position int64) error {
	cfg := config(disk, false)
	cfg.Again, cfg.Position = again, position
	l, err := Open(cfg)
	if err != nil {
		return err
	}
	if err := led.check(l, min(synced, again)); err != nil {
		return err
	}
	for range 2 {
		if err := l.Append(led.msgs[again:]); err != nil {
			return err
		}
		if err := led.check(l, int64(len(led.msgs))); err != nil {
			return fmt.Errorf("after the rest was appended: %w", err)
		}
		if _, err := l.Compact(context.Background(), Round{Memory: 1 << 20}); err != nil {
			return err
		}
		if err := led.check(l, int64(len(led.msgs))); err != nil {
			return fmt.Errorf("after it was compacted: %w", err)
		}
		if err := l.Close(); err != nil {
			return err
		}
		cfg.Clean, cfg.Position = true, l.Position()
		if l, err = Open(cfg); err != nil {
			return err
		}
	}
	return errors.Join(led.check(l, int64(len(led.msgs))), l.Close())
}

// What is cut off is gone, also after a crash, and what comes in its place is there.
func TestLog_Cut(t *testing.T) {
	for offset := range int64(40) {
		disk := crashfs.New(crashfs.Options{})
		l := mustOpen(t, config(disk, true))
		var led ledger
		for i := range 40 {
			led.add(fmt.Sprint("k", i), "body")
		}
		if err := errors.Join(l.Append(led.msgs), l.Cut(offset)); err != nil {
			t.Fatal(err)
		}
		if l.Max() != offset {
			t.Errorf("cut at %d, ends at %d", offset, l.Max())
		}
		led.msgs, led.keys, led.body = led.msgs[:offset], led.keys[:offset], led.body[:offset]
		cfg := config(disk.PowerCut(uint64(offset)), false)
		cfg.Again = offset
		after := mustOpen(t, cfg)
		if err := led.check(after, offset); err != nil || after.Max() != offset {
			t.Fatal(offset, after.Max(), err)
		}
		for i := range 9 {
			led.add(fmt.Sprint("other", i), "another body")
		}
		for _, l := range []*Log{l, after} {
			if err := errors.Join(l.Append(led.msgs), led.check(l, int64(len(led.msgs))), l.Close()); err != nil {
				t.Fatal(offset, err)
			}
		}
	}
}

// A compaction whose log is cut meanwhile leaves all as it is.
func TestLog_Compact_Cut(t *testing.T) {
	disk := crashfs.New(crashfs.Options{})
	l := mustOpen(t, config(disk, true))
	defer l.Close()
	var led ledger
	for i := range 60 {
		led.add(fmt.Sprint("k", i%5), "body")
	}
	if err := l.Append(led.msgs); err != nil {
		t.Fatal(err)
	}
	disk.Before = func(_ vfs.Op, name string) error {
		if strings.Contains(name, compactingDir) && l.Max() == 60 {
			return l.Cut(50)
		}
		return nil
	}
	res, err := l.Compact(t.Context(), Round{Memory: 1 << 20})
	if err != nil || l.Position() != -1 || l.Max() != 50 {
		t.Fatal(res, err, l.Max())
	}
	if left, _ := disk.ReadDir(filepath.Join(l.cfg.LogDir, compactingDir)); len(left) > 0 {
		t.Error(left)
	}
	if err := led.check(l, 50); err != nil {
		t.Fatal(err)
	}
}

// A compaction whose plan is written, but perhaps not on the disk, is given up; wherever that ends, no message is missing.
func TestLog_Compact_GivenUp(t *testing.T) {
	for stop := 0; ; stop++ {
		disk := crashfs.New(crashfs.Options{})
		l := mustOpen(t, config(disk, true))
		var led ledger
		for i := range 60 {
			led.add(fmt.Sprint("k", i%20), "body")
		}
		if err := errors.Join(l.Append(led.msgs), l.Sync()); err != nil {
			t.Fatal(err)
		}
		left, planned := stop, false
		disk.Before = func(op vfs.Op, name string) error {
			switch {
			case planned && left == 0:
				disk.Stop()
				return crashfs.ErrStopped
			case planned:
				left--
			case op == vfs.OpSync && filepath.Base(name) == compactingDir:
				if _, err := disk.Stat(filepath.Join(name, planName)); err == nil {
					planned = true
					return errors.New("no sync")
				}
			}
			return nil
		}
		if res, err := l.Compact(t.Context(), Round{Memory: 1 << 20}); err == nil {
			t.Fatal(res)
		}
		for i, after := range []*crashfs.Disk{disk.Kill(), disk.PowerCut(uint64(stop)), disk.PowerCut(uint64(stop) + 1000)} {
			if err := takeUp(after, &led, 60, 60, -1); err != nil {
				t.Fatalf("after %d changes, crash %d: %v", stop, i, err)
			}
		}
		if left > 0 {
			return
		}
	}
}

// A full disk is waited for: what did not fit is appended later.
func TestLog_Append_Full(t *testing.T) {
	disk := crashfs.New(crashfs.Options{Capacity: 4096})
	l := mustOpen(t, config(disk, true))
	defer l.Close()
	var led ledger
	for i := range 40 {
		led.add(fmt.Sprint("k", i), strings.Repeat("body", 30))
	}
	if err := l.Append(led.msgs); !vfs.IsFull(err) {
		t.Fatal(err)
	}
	had := l.Max()
	disk.SetCapacity(1 << 20)
	if err := errors.Join(l.Append(led.msgs), led.check(l, 40)); err != nil || had >= 40 {
		t.Fatal(had, err)
	}
}
