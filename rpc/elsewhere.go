package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"rocketd/protocol"
)

// Elsewhere asks brokers, by their names, about physical queues of theirs: stretches of a static topic that another broker
// leads, messages that were popped there. The requests say that they mean the physical queue (lo is false), so that nobody looks for the leader again. Source:
// Java RpcClientImpl and who uses it in the broker.
type Elsewhere struct {
	brokers Broker
	addr    func(ctx context.Context, broker string) (string, error)
	timeout func() time.Duration

	mu   sync.Mutex      // guards deaf
	deaf map[string]bool // the brokers that did not answer in time; true while one is asked whether it does again
}

// NewElsewhere makes one. addr finds the master of a name, timeout is how long one question may take (forwardTimeout).
func NewElsewhere(inv Invoker, addr func(ctx context.Context, broker string) (string, error), timeout func() time.Duration) *Elsewhere {
	return &Elsewhere{brokers: Broker{inv}, addr: addr, timeout: timeout, deaf: make(map[string]bool)}
}

// errDeaf is the answer to all but one who ask a broker that does not answer.
var errDeaf = errors.New("it does not answer; another request waits for it")

// ask has do ask the master of a name.
func (e *Elsewhere) ask(ctx context.Context, broker string, do func(ctx context.Context, addr string, mark protocol.RPC) error) error {
	err := errDeaf
	if e.enter(broker) {
		ctx, cancel := context.WithTimeout(ctx, e.timeout())
		defer cancel()
		var addr string
		if addr, err = e.addr(ctx, broker); err == nil {
			err = do(ctx, addr, protocol.RPC{Broker: []byte(broker), Logical: protocol.Some(false)})
		}
		e.leave(broker, err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded))
	}
	if err != nil {
		return fmt.Errorf("broker %s, which has a part of the queue: %w", broker, err)
	}
	return nil
}

// enter tells whether a broker may be asked. One that did not answer in time is asked by one at a time until it does: who waits
// for it would keep those from being served who ask another.
func (e *Elsewhere) enter(broker string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	asked, deaf := e.deaf[broker]
	if deaf {
		e.deaf[broker] = true
	}
	return !asked
}

func (e *Elsewhere) leave(broker string, late bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if late {
		e.deaf[broker] = false
	} else {
		delete(e.deaf, broker)
	}
}

// call asks with a header that h makes.
func (e *Elsewhere) call(ctx context.Context, broker string, code int32, h func(mark protocol.RPC) protocol.Fielder, out header) (body []byte, err error) {
	err = e.ask(ctx, broker, func(ctx context.Context, addr string, mark protocol.RPC) error {
		r, err := call(ctx, e.brokers.inv, addr, code, h(mark), nil, out)
		if err == nil {
			body = r.Body
		}
		return err
	})
	return body, err
}

// Pull reads messages, see Broker.Pull.
func (e *Elsewhere) Pull(ctx context.Context, broker string, req protocol.PullMessageRequest) (p *Pulled, err error) {
	err = e.ask(ctx, broker, func(ctx context.Context, addr string, mark protocol.RPC) (err error) {
		req.RPC = mark
		p, err = e.brokers.Pull(ctx, addr, &req)
		return err
	})
	return p, err
}

// Offset returns where a group stands; one that never committed there is a *protocol.Error with QueryNotFound.
func (e *Elsewhere) Offset(ctx context.Context, broker, group, topic string, queue int32) (int64, error) {
	var out protocol.QueryConsumerOffsetResponse
	_, err := e.call(ctx, broker, protocol.QueryConsumerOffset, func(mark protocol.RPC) protocol.Fielder {
		return &protocol.QueryConsumerOffsetRequest{ConsumerGroup: []byte(group), Topic: []byte(topic), QueueID: queue,
			SetZeroIfNotFound: protocol.Some(false), RPC: mark}
	}, &out)
	return out.Offset, err
}

// Commit stores where a group stands.
func (e *Elsewhere) Commit(ctx context.Context, broker, group, topic string, queue int32, offset int64) error {
	_, err := e.call(ctx, broker, protocol.UpdateConsumerOffset, func(mark protocol.RPC) protocol.Fielder {
		return &protocol.UpdateConsumerOffsetRequest{ConsumerGroup: []byte(group), Topic: []byte(topic), QueueID: queue, CommitOffset: offset, RPC: mark}
	}, nil)
	return err
}

// MaxOffset returns the offset behind the last message; committed is that of GetMaxOffsetRequest.
func (e *Elsewhere) MaxOffset(ctx context.Context, broker, topic string, queue int32, committed bool) (int64, error) {
	var out protocol.GetMaxOffsetResponse
	_, err := e.call(ctx, broker, protocol.GetMaxOffset, func(mark protocol.RPC) protocol.Fielder {
		return &protocol.GetMaxOffsetRequest{Topic: []byte(topic), QueueID: queue, Committed: committed, RPC: mark}
	}, &out)
	return out.Offset, err
}

// MinOffset returns the offset of the oldest message.
func (e *Elsewhere) MinOffset(ctx context.Context, broker, topic string, queue int32) (int64, error) {
	var out protocol.GetMinOffsetResponse
	_, err := e.call(ctx, broker, protocol.GetMinOffset, func(mark protocol.RPC) protocol.Fielder {
		return &protocol.GetMinOffsetRequest{Topic: []byte(topic), QueueID: queue, RPC: mark}
	}, &out)
	return out.Offset, err
}

// OffsetByTime returns the offset of a message by its store time, ms.
func (e *Elsewhere) OffsetByTime(ctx context.Context, broker, topic string, queue int32, ms int64, b protocol.Boundary) (int64, error) {
	var out protocol.SearchOffsetResponse
	_, err := e.call(ctx, broker, protocol.SearchOffsetByTimestamp, func(mark protocol.RPC) protocol.Fielder {
		return &protocol.SearchOffsetRequest{Topic: topic, QueueID: queue, Timestamp: ms, BoundaryType: b, RPC: mark}
	}, &out)
	return out.Offset, err
}

// EarliestTime returns when the oldest message was stored, ms; -1 for none.
func (e *Elsewhere) EarliestTime(ctx context.Context, broker, topic string, queue int32) (int64, error) {
	var out protocol.GetEarliestMsgStoretimeResponse
	_, err := e.call(ctx, broker, protocol.GetEarliestMsgStoretime, func(mark protocol.RPC) protocol.Fielder {
		return &protocol.GetEarliestMsgStoretimeRequest{Topic: topic, QueueID: queue, RPC: mark}
	}, &out)
	return out.Timestamp, err
}
