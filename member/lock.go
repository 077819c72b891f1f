package member

import (
	"context"

	"rocketd/protocol"
)

// Set is the other brokers of this broker's name, as far as they lock queues.
type Set interface {
	// Quorum is how many brokers, this one counted, must have locked a queue: with lockInStrictMode more than half of the set,
	// so that a lock outlives the master; else 1, this one alone.
	Quorum() int
	// Lock has all others lock queues at once, and calls locked with what each has locked, one after the other. Unlock has
	// them unlock queues. What one does not answer soon is left out.
	Lock(ctx context.Context, d *protocol.LockBatchRequestBody, locked func([]protocol.MessageQueue))
	Unlock(ctx context.Context, d *protocol.UnlockBatchRequestBody)
}

// alone is the Set of a broker that asks nobody.
type alone struct{}

func (alone) Quorum() int                                                                         { return 1 }
func (alone) Lock(context.Context, *protocol.LockBatchRequestBody, func([]protocol.MessageQueue)) {}
func (alone) Unlock(context.Context, *protocol.UnlockBatchRequestBody)                            {}

// Lock serves LOCK_BATCH_MQ: it answers which of the queues the client may now consume in order, for 60 s. Where others have
// to lock them too, they are asked on the pool; who is asked by another member (onlyThisBroker) speaks for itself. Source:
// Java AdminBrokerProcessor.lockBatchMQ.
func (s *Service) Lock(c *protocol.Call) error {
	var d protocol.LockBatchRequestBody
	if err := read(c, &d); err != nil {
		return err
	}
	quorum := s.cfg.Set.Quorum()
	own := s.cfg.Clients.Locks.Lock(c.Turn.Now, d.ConsumerGroup, d.ClientID, c.Peer, d.MQSet)
	if quorum <= 1 || d.OnlyThisBroker {
		return answer(c, protocol.LockBatchResponseBody{LockOKMQSet: own})
	}
	d.MQSet, d.OnlyThisBroker = own, true
	s.cfg.Offload(c, func(ctx context.Context, c *protocol.Call) error {
		votes := make(map[protocol.MessageQueue]int)
		count := func(queues []protocol.MessageQueue) {
			for _, q := range queues {
				votes[q]++
			}
		}
		count(own)
		s.cfg.Set.Lock(ctx, &d, count)
		var locked []protocol.MessageQueue
		for _, q := range own {
			if votes[q] >= quorum {
				locked = append(locked, q)
			}
		}
		return answer(c, protocol.LockBatchResponseBody{LockOKMQSet: locked})
	})
	return nil
}

// Unlock serves UNLOCK_BATCH_MQ, usually one-way.
func (s *Service) Unlock(c *protocol.Call) error {
	var d protocol.UnlockBatchRequestBody
	if err := read(c, &d); err != nil {
		return err
	}
	s.cfg.Clients.Locks.Unlock(d.ConsumerGroup, d.ClientID, d.MQSet)
	if s.cfg.Set.Quorum() <= 1 || d.OnlyThisBroker {
		return answer(c, nil)
	}
	d.OnlyThisBroker = true
	s.cfg.Offload(c, func(ctx context.Context, c *protocol.Call) error {
		s.cfg.Set.Unlock(ctx, &d)
		return answer(c, nil)
	})
	return nil
}
