package lite

import (
	"context"
	"time"

	"rocketd/order"
)

// Run gives out what was not acknowledged in time, moves events on from clients that do not ask, forgets clients that are gone and
// deletes lite topics that have expired, until the context ends. An error of the disk ends it.
func (s *Service) Run(ctx context.Context) error {
	began := s.cfg.Now()
	scan, clients, expire := began, began, began
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.bell:
		case <-ctx.Done():
			return nil
		}
		now := s.cfg.Now()
		s.Release(now)
		if now.Sub(scan) >= s.cfg.EventInterval() {
			scan = now
			s.Scan(now)
		}
		if now.Sub(clients) >= s.cfg.ClientInterval() {
			clients = now
			s.Forget(now)
		}
		if now.Sub(began) >= s.cfg.MinLife() && now.Sub(expire) >= s.cfg.ExpireInterval() {
			expire = now
			if err := s.Expire(now); err != nil {
				return err
			}
		}
		wait := min(scan.Add(s.cfg.EventInterval()).Sub(now), clients.Add(s.cfg.ClientInterval()).Sub(now), time.Minute)
		timer.Reset(max(s.sleep(now, wait), time.Millisecond))
	}
}

// sleep notes when Run looks again, and returns how long that is: wait, or until the first lease ends.
func (s *Service) sleep(now time.Time, wait time.Duration) time.Duration {
	s.on(func(b *board) {
		s.wakeMs = min(now.Add(wait).UnixMilli(), b.lines.first())
		wait = min(wait, time.UnixMilli(s.wakeMs).Sub(now))
	})
	return wait
}

// lease runs fn, which changes leases, on the board, and has Run look if one ends before it would.
func (s *Service) lease(fn func(b *board)) {
	early := false
	s.on(func(b *board) {
		fn(b)
		early = b.lines.first() < s.wakeMs
	})
	if early {
		select {
		case s.bell <- struct{}{}:
		default:
		}
	}
}

// Release gives groups the events of queues whose messages they did not acknowledge in time.
func (s *Service) Release(now time.Time) {
	var wake []string
	s.on(func(b *board) {
		for {
			x := b.lines.due(now.UnixMilli())
			if x == nil {
				return
			}
			wake = append(wake, b.dispatch(x.queue, x.group, nil, now.UnixMilli())...)
		}
	})
	s.wake(nil, wake)
}

// Scan looks at all clients.
func (s *Service) Scan(now time.Time) {
	var wake []string
	var looks []look
	s.on(func(b *board) { wake, looks = b.scan(now.UnixMilli()) })
	s.wake(nil, wake)
	s.lookAt(looks)
}

// Forget drops clients that have not said for long that they are there, and what was popped long ago.
func (s *Service) Forget(now time.Time) {
	var ids []string
	s.on(func(b *board) {
		ids = b.expired(now.UnixMilli(), s.cfg.ClientTimeout().Milliseconds())
		b.lines.forgetIf(func(x *line) bool {
			return x.entry == nil || x.at < 0 && now.UnixMilli()-x.entry.LastMs > order.Life.Milliseconds()
		})
	})
	if len(ids) > 0 {
		s.leave(ids)
		s.cfg.Log.Info("clients of lite topics forgotten, they have not subscribed for long", "clients", len(ids))
	}
}
