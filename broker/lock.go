package broker

import (
	"context"
	"sync"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
)

// lockPatience is how long another member may take to lock queues. Source: Java AdminBrokerProcessor.lockBatchMQ.
const lockPatience = time.Second

// lock serves LOCK_BATCH_MQ. With lockInStrictMode a queue is locked when more than half of the set have locked it, so
// that the lock outlives the master: then the other members are asked on the pool.
func (b *Broker) lock(c *protocol.Call) error {
	quorum, err := b.quorum(c)
	if err != nil || quorum <= 1 {
		return orServe(err, c, b.member.Lock)
	}
	b.offload(c, func(ctx context.Context, c *protocol.Call) error {
		var d protocol.LockBatchRequestBody
		if err := laxjson.Unmarshal(c.Body, &d); err != nil {
			return err
		}
		d.OnlyThisBroker = true
		d.MQSet = b.clients.Locks.Lock(time.Now(), d.ConsumerGroup, d.ClientID, c.Peer, d.MQSet)
		votes := make(map[protocol.MessageQueue]int)
		for _, q := range d.MQSet {
			votes[q]++
		}
		var mu sync.Mutex
		b.others(ctx, func(ctx context.Context, addr string) error {
			locked, err := b.brokers.Lock(ctx, addr, &d)
			mu.Lock()
			defer mu.Unlock()
			for _, q := range locked {
				votes[q]++
			}
			return err
		})
		var own []protocol.MessageQueue
		for _, q := range d.MQSet {
			if votes[q] >= quorum {
				own = append(own, q)
			}
		}
		body, err := laxjson.Marshal(protocol.LockBatchResponseBody{LockOKMQSet: own})
		if err != nil {
			return err
		}
		c.Ticket().Answer(c.Turn, protocol.Success, "", nil, body)
		return nil
	})
	return nil
}

// unlock serves UNLOCK_BATCH_MQ, which with lockInStrictMode goes to the other members too.
func (b *Broker) unlock(c *protocol.Call) error {
	quorum, err := b.quorum(c)
	if err != nil || quorum <= 1 {
		return orServe(err, c, b.member.Unlock)
	}
	b.offload(c, func(ctx context.Context, c *protocol.Call) error {
		var d protocol.UnlockBatchRequestBody
		if err := laxjson.Unmarshal(c.Body, &d); err != nil {
			return err
		}
		d.OnlyThisBroker = true
		b.clients.Locks.Unlock(d.ConsumerGroup, d.ClientID, d.MQSet)
		b.others(ctx, func(ctx context.Context, addr string) error { return b.brokers.Unlock(ctx, addr, &d) })
		c.Ticket().Answer(c.Turn, protocol.Success, "", nil, nil)
		return nil
	})
	return nil
}

func orServe(err error, c *protocol.Call, serve func(*protocol.Call) error) error {
	if err != nil {
		return err
	}
	return serve(c)
}

// quorum is how many members must lock a queue; 1 is this broker alone.
func (b *Broker) quorum(c *protocol.Call) (int, error) {
	if !b.live.strictLock.Load() {
		return 1, nil
	}
	var d struct {
		OnlyThisBroker bool `json:"onlyThisBroker"`
	}
	if err := laxjson.Unmarshal(c.Body, &d); err != nil {
		return 0, protocol.Errorf(protocol.SystemError, "cannot read the body: %v", err)
	}
	if d.OnlyThisBroker {
		return 1, nil
	}
	return int(b.live.totalReplicas.Load())/2 + 1, nil
}

// others does something at all other members of the set at once.
func (b *Broker) others(ctx context.Context, do func(ctx context.Context, addr string) error) {
	members, _ := b.registrar.members(time.Now())
	delete(members, b.id.id)
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	var wg sync.WaitGroup
	for _, addr := range members {
		wg.Go(func() {
			if err := do(ctx, addr); err != nil {
				b.log.Debug("a member of the set has not taken a queue lock", "addr", addr, "err", err)
			}
		})
	}
	wg.Wait()
}
