package metasync

import (
	"context"
	"errors"
	"time"

	"rocketd/offset"
	"rocketd/protocol"
)

// syncOffsets makes the consumer offsets those of the master.
func (f *follower) syncOffsets(ctx context.Context) (time.Duration, error) {
	if f.boot == "" {
		boot, err := f.bootTime(ctx)
		if err != nil {
			return 0, err
		}
		f.boot = boot
	}
	w, err := within(ctx, longCall, func(ctx context.Context) (*protocol.ConsumerOffsetSerializeWrapper, error) {
		return f.cfg.Master.AllOffsets(ctx, f.addr)
	})
	if err != nil {
		return 0, err
	}
	now := offset.Whole(w.OffsetTable, w.LmqOffsetTable)
	if f.shown != nil && f.shown.TookBack(now) {
		boot, err := f.bootTime(ctx)
		if err != nil {
			return 0, err
		}
		if boot != f.boot {
			f.cfg.Log.Info("the master was started anew; offsets that it has forgotten stay", "addr", f.addr)
			f.boot, f.shown = boot, nil
		}
	}
	version := f.cfg.Offsets.Version()
	if w.DataVersion != nil { // masters before 5.0 have none
		version = *w.DataVersion
	}
	f.cfg.Offsets.Follow(now, f.shown, version)
	f.shown = now
	if err := f.cfg.Offsets.Persist(); err != nil { // both brokers may be killed soon, one after the other
		return 0, err
	}
	offsets := 0
	for _, queues := range now {
		offsets += len(queues)
	}
	if offsets > small {
		return long, nil
	}
	return short, nil
}

// bootTime is when the master was started; "?" if it does not tell.
func (f *follower) bootTime(ctx context.Context) (string, error) {
	info, err := within(ctx, shortCall, func(ctx context.Context) (map[string]string, error) {
		return f.cfg.Master.RuntimeInfo(ctx, f.addr)
	})
	if noAnswer := new(noAnswer); errors.As(err, &noAnswer) {
		return "", err
	}
	if boot := info["bootTimestamp"]; boot != "" {
		return boot, nil
	}
	return "?", nil
}
