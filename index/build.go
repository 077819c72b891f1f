package index

import (
	"context"
	"errors"
	"time"

	"rocketd/internal/vfs"
	"rocketd/message"
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
	for {
		was := x.pos
		var failed error
		err := src.Each(x.pos, func(r *message.Record) bool {
			if failed = x.record(ctx, r); failed != nil || ctx.Err() != nil {
				return false
			}
			x.pos = max(x.pos, r.Physical+int64(r.Size))
			records++
			return true
		})
		if failed != nil || ctx.Err() != nil {
			return failed
		}
		if err != nil {
			x.leaveOut(src.MaxPhysical(), err)
		}
		end, done := x.feed.start(x.pos, follow)
		if done {
			if took := time.Since(began); took > time.Second {
				x.cfg.Log.Info("index caught up with the log", "from", start, "physical", x.pos, "records", records, "took", took)
			}
			return nil
		}
		if x.pos == was {
			x.leaveOut(end, errors.New("the log ends before what was appended"))
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
	var b batch
	rest := time.NewTimer(pace)
	defer rest.Stop()
	for {
		if len(b.items) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-x.due:
			case <-x.now:
			}
		} else { // let some come together: waking up for each would cost more than building it
			rest.Reset(pace)
			select {
			case <-ctx.Done():
				return nil
			case <-x.now:
			case <-rest.C:
			}
		}
		var settled chan struct{}
		var live bool
		b, settled, live = x.feed.take(b)
		err := x.batch(ctx, b)
		if settled != nil {
			close(settled)
		}
		if err != nil || ctx.Err() != nil || !live {
			return err
		}
	}
}

// batch builds one batch.
func (x *Index) batch(ctx context.Context, b batch) error {
	text := b.text
	for _, it := range b.items {
		topic, rest := text[:it.topic], text[it.topic+2:]
		props := rest[:it.props]
		text = rest[it.props:]
		if err := x.message(ctx, it.physical, it.storeMs, topic, props); err != nil || ctx.Err() != nil {
			return err
		}
	}
	x.pos = max(x.pos, b.kept)
	return nil
}

// record builds one record of the log.
func (x *Index) record(ctx context.Context, r *message.Record) error {
	if r.SysFlag&message.FlagRollback == message.FlagRollback {
		return nil
	}
	return x.message(ctx, r.Physical, r.StoreMs, r.Topic, r.Properties)
}

// message puts the keys of a message that are not in the files yet. If ctx ends while a full disk is waited for, the
// rest is left for later.
func (x *Index) message(ctx context.Context, physical, storeMs int64, topic, props []byte) error {
	if physical < x.from {
		return nil
	}
	if physical > x.from {
		x.from, x.have = physical, 0
	}
	var room [16]int32
	hashes := appendHashes(room[:0], topic, props)
	for x.have < len(hashes) {
		err := x.key(hashes[x.have], physical, storeMs)
		switch {
		case err == nil:
			x.have++
			continue
		case !vfs.IsFull(err):
			return err
		}
		x.cfg.Log.Warn("index waits for room on the disk", "physical", physical, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
	return nil
}

// key puts one key into the newest file, or into a new one. After an error nothing has changed.
// Source: Java IndexService.putKey, getAndCreateLastIndexFile.
func (x *Index) key(hash int32, physical, storeMs int64) error {
	f := x.last()
	if f == nil || f.full() {
		if x.unsealed() > 1 { // the sealer cannot follow
			if err := x.sealFull(); err != nil {
				return err
			}
		}
		next, err := x.create(f)
		if err != nil {
			return err
		}
		x.add(next)
		ring(x.sealDue)
		f = next
	}
	return f.put(hash, physical, storeMs)
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
