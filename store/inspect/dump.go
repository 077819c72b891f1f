package inspect

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"rocketd/message"
	"rocketd/segment"
)

// Selection says which messages Each shows.
type Selection struct {
	Topic    string // empty: all
	Queue    int32  // -1: all
	From     int64  // first offset in each queue, or position in the log
	Limit    int64  // how many; 0: all
	Physical bool   // in the order of the log, with those that are in no queue; else queue by queue, in order
}

// Message is a message as Each shows it. It is valid until the function returns.
type Message struct {
	Topic  string // of the queue through which it was reached: an LMQ's differs from the record's
	Queue  int32
	Offset int64
	Record *message.Record
	Raw    []byte // the record as stored
}

// Each calls fn for the selected messages, in order. Each that cannot be read is told to bad, and passed over. An
// error of fn ends it and is returned.
func (s *Store) Each(ctx context.Context, sel Selection, bad func(Finding), fn func(m *Message) error) error {
	left := sel.Limit
	if left <= 0 {
		left = -1
	}
	each := func(m *Message) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(m); err != nil {
			return err
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	}
	err := s.each(ctx, sel, bad, each)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

var errEnough = errors.New("enough")

func (s *Store) each(ctx context.Context, sel Selection, bad func(Finding), fn func(m *Message) error) error {
	if sel.Physical {
		return s.eachPhysical(ctx, sel, bad, fn)
	}
	if s.rocks {
		return errors.New("the queues of this store are in RocksDB, where they cannot be read; --physical shows the messages in the order of the log")
	}
	known := false
	p := peeker{s: s}
	defer p.close()
	for _, q := range s.queues {
		if sel.Topic != "" && q.topic != sel.Topic || sel.Queue >= 0 && q.id != sel.Queue {
			continue
		}
		known = true
		if err := s.eachInQueue(q, &p, sel.From, bad, fn); err != nil {
			return err
		}
	}
	if sel.Topic != "" && !known {
		return fmt.Errorf("topic %s has no such queue in %s", sel.Topic, s.cfg.Dir)
	}
	return nil
}

func (s *Store) eachPhysical(ctx context.Context, sel Selection, bad func(Finding), fn func(m *Message) error) error {
	v := verifier{s: s, report: &Report{Counts: make(map[Level]int64)}}
	from := max(sel.From, s.minPhysical())
	_, err := s.scan(ctx, from, visit{
		record: func(r *message.Record, raw []byte) error {
			if sel.Topic != "" && string(r.Topic) != sel.Topic || sel.Queue >= 0 && r.QueueID != sel.Queue {
				return nil
			}
			return fn(&Message{string(r.Topic), r.QueueID, r.QueueOffset, r, raw})
		},
		gap: v.gap,
	})
	for _, f := range v.report.Findings {
		bad(f)
	}
	return err
}

func (s *Store) eachInQueue(files *queueFiles, p *peeker, from int64, bad func(Finding), fn func(m *Message) error) error {
	v := verifier{s: s, report: &Report{Counts: make(map[Level]int64)}, unitsAtOnce: manyUnits}
	q := newQueue(files)
	i := q.first()
	if !q.batch {
		i = max(i, from)
	}
	for ; i < q.end(); i++ {
		u, ok, err := v.unit(q, i)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		offset := i
		if q.batch {
			offset = u.base
		}
		if u.Filler() || u.Physical < s.minPhysical() || offset < from {
			continue
		}
		r, raw, err := p.record(u.Physical)
		if err != nil {
			start, _ := q.file(i * q.unitSize())
			at := i*q.unitSize() - start
			bad(Finding{Level: Damage, Kind: KindQueue, File: s.relative(filepath.Join(q.dir, segment.Name(start))), At: &at,
				Physical: &u.Physical, Topic: q.topic, Queue: &q.id, Offset: &offset, Text: err.Error()})
			continue
		}
		if err := fn(&Message{q.topic, q.id, offset, &r, raw}); err != nil {
			return err
		}
	}
	return nil
}

// Topics returns the names of topics that have queues, sorted.
func (s *Store) Topics() []string {
	var all []string
	for _, q := range s.queues {
		all = append(all, q.topic)
	}
	return slices.Compact(all)
}
