package compaction

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rocketd/message"
	"rocketd/store/consumequeue"
)

// windowBytes is how much of the log a compaction reads at once; it rests after each as Pace says.
const windowBytes = 1 << 20

// errCut says that messages were taken off while a compaction was at work.
var errCut = errors.New("the compaction log was cut meanwhile")

// Round is what a compaction is told.
type Round struct {
	// Memory is how much the table of keys may take, bytes. What has more keys takes several rounds.
	Memory int64
	// Pace, if set, is called after each piece of work with the time that it took.
	Pace func(ctx context.Context, took time.Duration)
}

// Result is what a compaction did.
type Result struct {
	More bool  // not all keys had room: a further round is due
	Had  int64 // messages in the files that were compacted, 0: there was nothing to do
	Kept int64 // of them
}

// Compact looks at the keys of the messages behind the position, in all files but the last, and takes out of these files what
// is not the last of its key any more. There must be something new in them; else nothing is done. When ctx ends, or the
// log is cut or closed, it gives up, and all is as before.
// Source: Java CompactionLog.doCompaction.
func (l *Log) Compact(ctx context.Context, r Round) (Result, error) {
	l.work.Lock()
	defer l.work.Unlock()
	c := &compacting{log: l, ctx: ctx, round: r}
	old := c.take()
	defer func() {
		for _, p := range old {
			_ = p.release()
		}
	}()
	var res Result
	fresh := int64(0)
	for _, p := range old {
		if p.last.Load() > c.position {
			fresh += p.count.Load()
		}
		res.Had += p.count.Load()
	}
	if fresh == 0 {
		return Result{}, nil
	}
	k, more, err := c.learn(old, int(min(fresh, max(r.Memory/slotBytes*4/5, 100))))
	if err != nil {
		return Result{}, c.outcome(err)
	}
	var made []*pair
	made, res.Kept, err = c.write(old, k)
	if err == nil {
		err = c.replace(old, made, res.Kept < res.Had, k.last)
	}
	if err != nil {
		for _, p := range made {
			_ = p.release()
		}
		return Result{}, errors.Join(c.outcome(err), l.discardUnplanned())
	}
	res.More = more
	return res, nil
}

// compacting is a compaction at work.
type compacting struct {
	log      *Log
	ctx      context.Context
	round    Round
	cuts     int64
	position int64
	began    time.Time
	buf      []byte
	at       int64 // buf holds the log of p from here on
	p        *pair
}

// outcome leaves out that nobody wants it any more.
func (c *compacting) outcome(err error) error {
	if errors.Is(err, errCut) || c.ctx.Err() != nil || c.log.cuts.Load() != c.cuts {
		return nil
	}
	return err
}

// take returns all pairs but the last, with references.
func (c *compacting) take() (pairs []*pair) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	all := *c.log.pairs.Load()
	c.cuts, c.position = c.log.cuts.Load(), c.log.position
	if c.log.usable() != nil || len(all) < 2 {
		return nil
	}
	for _, p := range all[:len(all)-1] {
		if p.acquire() {
			pairs = append(pairs, p)
		}
	}
	return pairs
}

// learn puts the keys behind the position into a table with room for n of them; more says that there were more.
func (c *compacting) learn(pairs []*pair, n int) (k *keys, more bool, err error) {
	k = newKeys(n)
	for _, p := range pairs {
		if p.last.Load() <= c.position {
			continue
		}
		err = c.each(p, func(u consumequeue.Unit, rec []byte) error {
			if u.Base <= c.position {
				return nil
			}
			r, err := message.Decode(rec)
			if err != nil {
				return fmt.Errorf("%w: offset %d: %w", ErrDamaged, u.Base, err)
			}
			key, _ := message.Property(r.Properties, message.PropKeys)
			if !blank(key) && !k.put(key, u.Base) {
				more = true
				return errFull
			}
			return nil
		})
		if errors.Is(err, errFull) {
			return k, more, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return k, false, nil
}

// errFull ends the look at the keys: the table has no more room.
var errFull = errors.New("the table of keys is full")

// write copies what stays to new pairs in compacting, durably.
func (c *compacting) write(old []*pair, k *keys) (made []*pair, kept int64, err error) {
	t := tail{pl: c.log.pl.in(compactingDir), made: func(p *pair) { made = append(made, p) }}
	for _, p := range old {
		err = c.each(p, func(u consumequeue.Unit, rec []byte) error {
			r, err := message.Decode(rec)
			if err != nil {
				return fmt.Errorf("%w: offset %d: %w", ErrDamaged, u.Base, err)
			}
			key, _ := message.Property(r.Properties, message.PropKeys)
			if !k.keeps(key, u.Base, len(r.Body) > 0) {
				return nil
			}
			kept++
			return t.add(Message{Record: rec, Offset: u.Base, Tag: u.Tag, StoreMs: u.StoreMs})
		})
		if err != nil {
			return made, kept, err
		}
	}
	if err = t.flush(); err == nil && t.p != nil {
		err = t.p.sync()
	}
	return made, kept, err
}

// each calls fn for the messages of a pair, whose bytes are valid until it returns, and rests now and then.
func (c *compacting) each(p *pair, fn func(u consumequeue.Unit, rec []byte) error) error {
	count := p.count.Load()
	for n := int64(0); n < count; {
		var units [64 * unitSize]byte
		b := units[:min(count-n, 64)*unitSize]
		if err := readAt(p.units, b, n*unitSize, false); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[unitSize:] {
			u := consumequeue.ParseBatchUnit(b)
			rec, err := c.record(p, u)
			if err != nil {
				return err
			}
			if err := fn(u, rec); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

// record returns the bytes of a record, from a window that moves over the file.
func (c *compacting) record(p *pair, u consumequeue.Unit) ([]byte, error) {
	at := u.Physical - p.start
	if !c.log.pl.sound(p, u) || at+int64(u.Size) > p.end.Load() {
		return nil, fmt.Errorf("%w: offset %d at %d", ErrDamaged, u.Base, u.Physical)
	}
	if c.p != p || at < c.at || at+int64(u.Size) > c.at+int64(len(c.buf)) {
		if err := c.rest(); err != nil {
			return nil, err
		}
		if err := c.window(p, at, max(min(windowBytes, p.end.Load()-at), int64(u.Size))); err != nil {
			return nil, err
		}
	}
	return c.buf[at-c.at:][:u.Size], nil
}

// window reads n bytes of a pair's log from at on.
func (c *compacting) window(p *pair, at, n int64) error {
	if int64(cap(c.buf)) < n {
		c.buf = make([]byte, n)
	}
	c.p, c.at, c.buf = p, at, c.buf[:n]
	err := readAt(p.log, c.buf, at, false)
	if err != nil {
		c.p = nil
	}
	return err
}

// rest is between two windows: others work meanwhile, and may have ended it all.
func (c *compacting) rest() error {
	if c.round.Pace != nil && !c.began.IsZero() {
		c.round.Pace(c.ctx, time.Since(c.began))
	}
	c.began = time.Now()
	if c.log.cuts.Load() != c.cuts {
		return errCut
	}
	return c.ctx.Err()
}

// replace has new pairs take the place of old ones, which are the first of the log. If nothing has changed, the old ones
// may as well stay. Keys were looked at up to position.
func (c *compacting) replace(old, made []*pair, changed bool, position int64) error {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.usable() != nil:
		return l.usable()
	case l.cuts.Load() != c.cuts:
		return errCut
	case !changed:
		l.position = max(l.position, position)
		for _, p := range made {
			_ = p.release()
		}
		return l.pl.discard(compactingDir)
	}
	if err := l.pl.commit(plan{From: namesOf(old), To: namesOf(made)}); err != nil {
		return err
	}
	pairs := append(made[:len(made):len(made)], (*l.pairs.Load())[len(old):]...)
	if err := l.pl.fulfil(plan{From: namesOf(old), To: namesOf(made)}); err != nil {
		l.failed = fmt.Errorf("cannot replace the files of a compaction log: %w", err)
		return l.failed // the next Open does the rest
	}
	l.pairs.Store(&pairs)
	l.position = max(l.position, position)
	var errs []error
	for _, p := range old {
		errs = append(errs, p.release())
	}
	return errors.Join(errs...)
}

// discardUnplanned removes what a compaction that failed has left, unless it counts already.
func (l *Log) discardUnplanned() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return nil
	}
	return l.pl.discard(compactingDir)
}
