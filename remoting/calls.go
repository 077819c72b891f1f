package remoting

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"rocketd/protocol"
)

// ErrClosed says that the connection is gone: a request over it was not answered, and may have been served or not.
var ErrClosed = errors.New("connection closed")

// errNotSent is an ErrClosed of a request that surely was not sent.
var errNotSent = fmt.Errorf("%w before the request was sent", ErrClosed)

// calls are the requests that we sent over a conn and that wait for their response. Our opaques and those of the peer
// have nothing to do with each other: the response bit tells which is meant.
type calls struct {
	opaque atomic.Int32

	mu      sync.Mutex
	waiting map[int32]chan *protocol.Command
	failed  bool
}

func (k *calls) nextOpaque() int32 { return k.opaque.Add(1) }

func (k *calls) add(opaque int32) (chan *protocol.Command, error) {
	answer := make(chan *protocol.Command, 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed {
		return nil, errNotSent
	}
	if k.waiting == nil {
		k.waiting = make(map[int32]chan *protocol.Command)
	}
	k.waiting[opaque] = answer
	return answer, nil
}

// take returns who waits for a response and forgets him; nil if nobody does, or no longer.
func (k *calls) take(opaque int32) chan *protocol.Command {
	k.mu.Lock()
	defer k.mu.Unlock()
	answer := k.waiting[opaque]
	delete(k.waiting, opaque)
	return answer
}

// deliver hands a response to whoever waits for it. One that nobody waits for is dropped.
func (k *calls) deliver(c *protocol.Command) {
	if answer := k.take(c.Opaque); answer != nil {
		answer <- c.Clone()
	}
}

func (k *calls) wait(ctx context.Context, opaque int32, answer chan *protocol.Command) (*protocol.Command, error) {
	select {
	case c, ok := <-answer:
		if !ok {
			return nil, ErrClosed
		}
		return c, nil
	case <-ctx.Done():
		k.take(opaque)
		return nil, ctx.Err()
	}
}

// fail ends all waiting, and every later call.
func (k *calls) fail() {
	k.mu.Lock()
	waiting := k.waiting
	k.waiting, k.failed = nil, true
	k.mu.Unlock()
	for _, answer := range waiting {
		close(answer)
	}
}
