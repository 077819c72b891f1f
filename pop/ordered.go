package pop

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rocketd/internal/durable"
	"rocketd/internal/laxjson"
	"rocketd/order"
	"rocketd/protocol"
	"rocketd/topic"
)

// orders is consumerOrderInfo.json as a whole.
type orders struct {
	path    string
	changes atomic.Int64
	saving  sync.Mutex // one write at a time, and guards:
	saved   int64
}

type orderFile struct {
	Table map[string]map[int32]*order.Entry `json:"table"` // by topic@group
}

// blocked tells whether a queue popped in order gives nothing now.
func (c *cursor) blocked(attempt string, nowMs int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Blocks(attempt, nowMs)
}

// ordered takes what was popped in order. The offset stays at its first message until that is acknowledged.
func (s *Service) ordered(r *reply, c *cursor, from int64, offsets []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order = order.Next(c.order, r.ask.attempt, r.ask.invisible, r.popMs, offsets)
	r.infos.countAll(c.order, c.shelf.retry, c.id)
	s.cfg.Offsets.Commit(c.shelf.group, c.shelf.topic, c.id, from)
	s.orderChanged(c)
}

// countAll appends how often the messages of a pop in order were consumed in vain. Clients before 5.0 know the number of the
// queue only: the least of all.
func (f *infos) countAll(o *order.Entry, retry byte, queue int32) {
	least := int32(0)
	if len(o.Consumed) == len(o.Offsets) {
		least = 1<<31 - 1
	}
	o.Counts(func(offset int64, times int32, known bool) {
		if known {
			f.count(retry, queue, offset, times)
			least = min(least, times)
		}
	})
	f.count(retry, queue, -1, least)
}

// orderChanged sets the alarm that wakes who waits for the queue. The caller holds c.mu.
func (s *Service) orderChanged(c *cursor) {
	s.orders.changes.Add(1)
	c.alarm.cursor = c
	if free := c.order.FreeAt(); free > 0 {
		s.schedule.move(&c.alarm, free)
	} else {
		s.schedule.remove(&c.alarm)
	}
}

// ackInOrder acknowledges a message that was popped in order. Source: Java AckMessageProcessor.ackOrderly.
func (s *Service) ackInOrder(c *protocol.Call, group, name []byte, queue int32, offset, end, popMs int64) error {
	if err := s.commitInOrder(group, name, queue, offset, end, popMs, c.Turn.Now.UnixMilli()); err != nil {
		return err
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", nil, nil)
	return nil
}

// commitInOrder acknowledges a message of a queue that ends at end, and commits what is consumed then.
func (s *Service) commitInOrder(group, name []byte, queue int32, offset, end, popMs, nowMs int64) error {
	x := s.shelf(group, name)
	c := x.cursor(queue)
	c.mu.Lock()
	committed, ok := s.cfg.Offsets.Get(group, name, queue)
	if !ok {
		committed = -1
	}
	if offset < committed {
		c.mu.Unlock()
		return nil
	}
	next := int64(-1)
	if offset < end {
		next = c.order.Ack(offset, popMs, committed)
	}
	if next >= 0 {
		s.cfg.Offsets.Commit(group, name, queue, next)
		if c.order != nil {
			s.orderChanged(c)
		}
	}
	free := next >= 0 && !c.order.Blocks("", nowMs)
	c.mu.Unlock()
	if next == -1 {
		return refuse(protocol.MessageIllegal, "offset is illegal, key:%s@%d, old:%d, commit:%d, next:%d", name, queue, offset, offset, next)
	}
	if free {
		s.ring(x.waits)
	}
	return nil
}

// changeInOrder says from when on a message popped in order may be popped again. Source: Java
// ChangeInvisibleTimeProcessor.processChangeInvisibleTimeForOrder.
func (s *Service) changeInOrder(c *protocol.Call, cur *cursor, k *Handle, offset, invisibleMs int64) error {
	now := c.Turn.Now.UnixMilli()
	var answer protocol.ChangeInvisibleTimeResponse
	cur.mu.Lock()
	if committed, ok := s.cfg.Offsets.Get(cur.shelf.group, cur.shelf.topic, cur.id); !ok || offset >= committed {
		if cur.order.Change(offset, k.PopMs, now+invisibleMs) {
			s.orderChanged(cur)
		}
		answer = protocol.ChangeInvisibleTimeResponse{PopTime: k.PopMs, InvisibleTime: now + invisibleMs - k.PopMs, ReviveQid: k.Revive}
	}
	cur.mu.Unlock()
	c.Ticket().Answer(c.Turn, protocol.Success, "", &answer, nil)
	return nil
}

// loadOrders reads consumerOrderInfo.json.
func (s *Service) loadOrders() error {
	s.orders.path = filepath.Join(s.cfg.Dir, "consumerOrderInfo.json")
	f, fallback, err := s.readOrders()
	if err != nil {
		return fmt.Errorf("cannot load the order of popped messages: %w", err)
	}
	if fallback != nil {
		s.cfg.Log.Warn("order of popped messages loaded from backup", "err", fallback)
	}
	for key, queues := range f.Table {
		name, group, ok := strings.Cut(key, "@")
		if !ok {
			s.cfg.Log.Warn("order of popped messages without a group ignored", "key", key)
			continue
		}
		for id, o := range queues {
			if o == nil || len(o.Offsets) == 0 || id < 0 || id >= topic.MaxQueues {
				continue
			}
			c := s.shelf([]byte(group), []byte(name)).cursor(id)
			c.mu.Lock()
			c.order = o
			s.orderChanged(c)
			c.mu.Unlock()
		}
	}
	return nil
}

func (s *Service) readOrders() (f orderFile, fallback, err error) {
	_, fallback, err = durable.Read(s.cfg.FS, s.orders.path, func(data []byte) error {
		f = orderFile{}
		return laxjson.Unmarshal(data, &f)
	})
	return f, fallback, err
}

// Persist writes consumerOrderInfo.json down if it has changed since the last time.
func (s *Service) Persist(now time.Time) error {
	s.orders.saving.Lock()
	defer s.orders.saving.Unlock()
	changes := s.orders.changes.Load()
	if changes == s.orders.saved {
		return nil
	}
	data, err := laxjson.MarshalIndent(s.orderTable(now))
	if err != nil {
		return err
	}
	if err := durable.Write(s.cfg.FS, s.orders.path, data); err != nil {
		return err
	}
	s.orders.saved = changes
	return nil
}

func (s *Service) orderTable(now time.Time) orderFile {
	f := orderFile{Table: make(map[string]map[int32]*order.Entry)}
	s.shelves.each(func(x *shelf) {
		for _, c := range x.all() {
			c.mu.Lock()
			if c.order != nil && now.UnixMilli()-c.order.LastMs > order.Life.Milliseconds() {
				c.order = nil
			}
			if c.order != nil {
				key := x.name + "@" + x.groupName
				if f.Table[key] == nil {
					f.Table[key] = make(map[int32]*order.Entry)
				}
				f.Table[key][c.id] = c.order.Clone()
			}
			c.mu.Unlock()
		}
	})
	return f
}

// RunOrders writes consumerOrderInfo.json every few seconds, until the context ends. A write that fails is logged and tried
// again.
func (s *Service) RunOrders(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if err := s.Persist(now); err != nil {
				s.cfg.Log.Warn("order of popped messages not saved", "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}
