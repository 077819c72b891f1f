package index

import (
	"context"
	"errors"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
)

// How many keys are put into a file together, and of how many records of the log they are collected.
const (
	keysAtOnce    = 256
	recordsAtOnce = 256
)

// buildLoop is the builder: it reads the log until it has what was put, then takes what is put.
func (x *Index) buildLoop(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := x.catchUp(ctx, true); err != nil || ctx.Err() != nil {
			return err
		}
		if err := x.follow(ctx); err != nil {
			return err
		}
	}
	return nil
}

// catchUp reads the log from x.pos on until it has all that was put; then, if it is to, it makes puts kept. It
// returns early, without an error, when ctx ends.
func (x *Index) catchUp(ctx context.Context, follow bool) error {
	src, began, records := x.cfg.Source, time.Now(), 0
	x.pos = max(x.pos, x.from, src.MinPhysical())
	start := x.pos
	var keys []key
	for {
		was := x.pos
		end := was // behind the last record whose keys are collected
		var failed error
		build := func() bool {
			if failed = x.build(ctx, keys); failed != nil || ctx.Err() != nil {
				return false
			}
			keys, x.pos = keys[:0], end
			return true
		}
		err := src.Each(x.pos, func(r *message.Record) bool {
			keys = collect(keys, r)
			end = max(end, r.Physical+int64(r.Size))
			records++
			return records%recordsAtOnce != 0 || build()
		})
		if failed == nil && ctx.Err() == nil {
			build()
		}
		if failed != nil || ctx.Err() != nil {
			return failed
		}
		if err != nil {
			x.leaveOut(src.MaxPhysical(), err)
		}
		behind, done := x.feed.start(x.pos, follow)
		if done {
			if took := time.Since(began); took > time.Second {
				x.cfg.Log.Info("index caught up with the log", "from", start, "physical", x.pos, "records", records, "took", took)
			}
			return nil
		}
		if x.pos == was {
			x.leaveOut(behind, errors.New("the log ends before what was appended"))
		}
	}
}

// leaveOut gives up the records up to end.
func (x *Index) leaveOut(end int64, err error) {
	x.cfg.Log.Error("records left out of the index", "from", x.pos, "physical", end, "err", err)
	x.pos = max(x.pos, end)
}

// follow builds what is put until there was too much of it, or ctx ends.
func (x *Index) follow(ctx context.Context) error {
	var keys []key
	rest := time.NewTimer(pace)
	defer rest.Stop()
	for {
		if len(keys) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-x.due:
			}
		}
		// Let some come together: waking up for each would cost more than building it.
		rest.Reset(pace)
		select {
		case <-ctx.Done():
			return nil
		case <-x.now:
		case <-rest.C:
		}
		var kept int64
		var settled chan struct{}
		var live bool
		keys, kept, settled, live = x.feed.take(keys)
		err := x.build(ctx, keys)
		if settled != nil {
			close(settled)
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
		if x.pos = max(x.pos, kept); !live {
			return nil
		}
	}
}

// collect appends the keys of one record of the log.
func collect(dst []key, r *message.Record) []key {
	if r.SysFlag&message.FlagRollback == message.FlagRollback {
		return dst
	}
	return appendKeys(dst, r.Topic, r.Properties, r.Physical, r.StoreMs)
}

// build puts keys into files that are not there yet; those of a record follow each other, and the records have the order
// of the log. If ctx ends, the rest is left for later.
func (x *Index) build(ctx context.Context, keys []key) error {
	for len(keys) > 0 && keys[0].physical < x.from {
		keys = keys[1:]
	}
	for n := x.have; n > 0 && len(keys) > 0 && keys[0].physical == x.from; n-- {
		keys = keys[1:]
	}
	for len(keys) > 0 && ctx.Err() == nil {
		n, err := x.put(keys[:min(len(keys), keysAtOnce)])
		for i := range keys[:n] {
			if at := keys[i].physical; at != x.from {
				x.from, x.have = at, 0
			}
			x.have++
		}
		keys = keys[n:]
		switch {
		case err == nil:
			continue
		case !vfs.IsFull(err):
			return err
		}
		x.cfg.Log.Warn("index waits for room on the disk", "physical", keys[0].physical, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
	return nil
}

// put puts some keys, at least one, into the newest file, or into a new one, and returns how many. After an error the
// rest was not put.
// Source: Java IndexService.putKey, getAndCreateLastIndexFile.
func (x *Index) put(keys []key) (int, error) {
	f := x.last()
	if f == nil || f.full() {
		if x.unsealed() > 1 { // the sealer cannot follow
			if err := x.sealFull(); err != nil {
				return 0, err
			}
		}
		next, err := x.create(f)
		if err != nil {
			return 0, err
		}
		x.add(next)
		ring(x.sealDue)
		f = next
	}
	return f.put(keys)
}

// sealLoop brings full files to the disk.
func (x *Index) sealLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-x.sealDue:
		}
		for err := x.sealFull(); err != nil; err = x.sealFull() {
			if !vfs.IsFull(err) {
				return err
			}
			x.cfg.Log.Warn("index waits for room on the disk", "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retryAfter):
			}
		}
	}
}

// unsealed is how many full files are not on the disk.
func (x *Index) unsealed() (n int) {
	for _, f := range *x.files.Load() {
		if f.full() && !f.sealed.Load() {
			n++
		}
	}
	return n
}

// sealFull brings all full files to the disk, oldest first.
func (x *Index) sealFull() error {
	x.sealing.Lock()
	defer x.sealing.Unlock()
	for _, f := range *x.files.Load() {
		if !f.full() || f.sealed.Load() || !f.acquire() { // the last means that it was deleted
			continue
		}
		if err := errors.Join(f.seal(), f.release()); err != nil {
			return err
		}
	}
	return nil
}

// finish builds what was put and not yet built when Run ended, from the log, as far as ctx lasts. The rest is built
// after the next start.
func (x *Index) finish(ctx context.Context) error {
	if err := x.catchUp(ctx, false); err != nil {
		return err
	}
	if ctx.Err() != nil {
		x.cfg.Log.Warn("index is behind the log; the next start goes on", "physical", x.pos)
	}
	return nil
}
