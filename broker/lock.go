package broker

import (
	"context"
	"sync"
	"time"

	"rocketd/protocol"
)

// lockPatience is how long another member may take to lock queues. Source: Java AdminBrokerProcessor.lockBatchMQ.
const lockPatience = time.Second

// others are the other brokers of this one's name: the member.Set of a Broker.
type others struct{ b *Broker }

// Quorum implements member.Set.
func (s others) Quorum() int {
	if !s.b.live.strictLock.Load() {
		return 1
	}
	return int(s.b.live.totalReplicas.Load())/2 + 1
}

// Lock implements member.Set.
func (s others) Lock(ctx context.Context, d *protocol.LockBatchRequestBody, locked func([]protocol.MessageQueue)) {
	var mu sync.Mutex
	s.each(ctx, func(ctx context.Context, addr string) error {
		queues, err := s.b.brokers.Lock(ctx, addr, d)
		mu.Lock()
		defer mu.Unlock()
		locked(queues)
		return err
	})
}

// Unlock implements member.Set.
func (s others) Unlock(ctx context.Context, d *protocol.UnlockBatchRequestBody) {
	s.each(ctx, func(ctx context.Context, addr string) error { return s.b.brokers.Unlock(ctx, addr, d) })
}

// each does something at all other members of the set at once.
func (s others) each(ctx context.Context, do func(ctx context.Context, addr string) error) {
	members, _ := s.b.registrar.members(time.Now())
	delete(members, s.b.id.id)
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	var wg sync.WaitGroup
	for _, addr := range members {
		wg.Go(func() {
			if err := do(ctx, addr); err != nil {
				s.b.log.Debug("a member of the set has not taken a queue lock", "addr", addr, "err", err)
			}
		})
	}
	wg.Wait()
}
