package lite

import (
	"strconv"
	"time"

	"rocketd/topic"
)

// doubts is after how many looks in a row a lite topic is deleted that has no messages, or of whose last one the time cannot be read.
// Source: Java AbstractLiteLifecycleManager.
const doubts = 5

// expiry decides which lite topics have expired. It is a state without I/O.
type expiry struct {
	doubted map[string]int // looks in a row, by queue
}

func newExpiry() expiry { return expiry{doubted: make(map[string]int)} }

// expired tells whether a lite topic is to be deleted: nothing was sent to it for longer than minutes, if that is above 0, and than
// minLife. What a group has not consumed does not keep it. lastMs is when its last message was stored; 0 or less: unknown.
func (e *expiry) expired(queue string, end, lastMs, nowMs int64, minutes int, minLife time.Duration) bool {
	if end <= 0 || lastMs <= 0 {
		e.doubted[queue]++
		return e.doubted[queue] > doubts
	}
	delete(e.doubted, queue)
	idle := time.Duration(nowMs-lastMs) * time.Millisecond
	return minutes > 0 && idle >= minLife && idle > time.Duration(minutes)*time.Minute
}

// keep forgets the doubts about queues that are not there any more.
func (e *expiry) keep(there func(queue string) bool) {
	for queue := range e.doubted {
		if !there(queue) {
			delete(e.doubted, queue)
		}
	}
}

// expirations returns the minutes of expiration by parent topic.
func (s *Service) expirations() map[string]int {
	minutes := make(map[string]int)
	all, _ := s.cfg.Topics.All()
	for name, cfg := range all {
		if cfg.Attributes[topic.AttrMessageType] == topic.Lite {
			minutes[name] = expirationOf(cfg)
		}
	}
	return minutes
}

func expirationOf(cfg *topic.Config) int {
	n, err := strconv.Atoi(cfg.Attributes[topic.AttrLiteExpiration])
	if err != nil {
		return -1
	}
	return n
}

// Expire deletes the lite topics that have expired. It waits for the disk.
func (s *Service) Expire(now time.Time) error {
	minutes, minLife := s.expirations(), s.cfg.MinLife()
	for _, queue := range s.cfg.Store.Topics() {
		parent, _, ok := topic.SplitLite(queue)
		q := s.queue(queue)
		if !ok || q == nil {
			continue
		}
		last := int64(0)
		n := q.Max()
		if n > 0 {
			last = s.cfg.Store.StoreTime(q, n-1)
		}
		if !s.expiry.expired(queue, n, last, now.UnixMilli(), minutes[parent], minLife) || q.Max() != n {
			continue
		}
		if err := s.remove(queue); err != nil {
			return err
		}
		s.cfg.Log.Info("lite topic deleted, it has expired", "topic", queue, "messages", n)
	}
	s.expiry.keep(func(queue string) bool { return s.queue(queue) != nil })
	return nil
}

// remove deletes a lite topic: its queue, the offsets of all groups in it, and who subscribes to it, who is not told.
func (s *Service) remove(queue string) error {
	s.cfg.Offsets.RemoveTopic(queue)
	if err := s.cfg.Store.DeleteTopic(queue); err != nil {
		return err
	}
	s.on(func(b *board) { b.forget(queue) })
	return nil
}

// Deleting deletes all lite topics of topics that are about to be deleted. It waits for the disk.
func (s *Service) Deleting(parents ...string) error {
	lite := make(map[string]bool)
	for _, name := range parents {
		if cfg := s.cfg.Topics.Get([]byte(name)); cfg != nil && cfg.Attributes[topic.AttrMessageType] == topic.Lite {
			lite[name] = true
		}
	}
	if len(lite) == 0 {
		return nil
	}
	for _, queue := range s.cfg.Store.Topics() {
		if parent, _, ok := topic.SplitLite(queue); ok && lite[parent] {
			if err := s.remove(queue); err != nil {
				return err
			}
		}
	}
	return nil
}
