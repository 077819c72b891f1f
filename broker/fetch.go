package broker

import (
	"context"
	"fmt"

	"rocketd/protocol"
)

// fetchGroup is whom another set takes the reader of its messages for: every broker has it.
const fetchGroup = "TOOLS_CONSUMER"

// fetch reads one message of another set, from its master or who acts for it; nil if it is nowhere any more. Source: Java
// EscapeBridge.getMessageFromRemote.
func (b *Broker) fetch(ctx context.Context, set, name string, queue int32, offset int64) ([]byte, error) {
	p, err := b.sets.Pull(ctx, set, protocol.PullMessageRequest{
		ConsumerGroup: []byte(fetchGroup), Topic: []byte(name), QueueID: queue, QueueOffset: offset, MaxMsgNums: 1,
		SysFlag: pullWithExpression, Subscription: []byte("*"),
	})
	switch {
	case err != nil:
		return nil, err
	case p.Code == protocol.Success && p.Header.NextBeginOffset > offset:
		return p.Records, nil
	case p.Code == protocol.PullOffsetMoved && offset < p.Header.MinOffset:
		return nil, nil
	}
	return nil, fmt.Errorf("set %s has no message at %d of queue %d of topic %s now (code %d, %d to %d)", set, offset, queue, name, p.Code, p.Header.MinOffset, p.Header.MaxOffset)
}

// pullWithExpression is the flag of a pull that brings its own expression. Source: Java PullSysFlag.
const pullWithExpression = 1 << 2

// lends tells whether this slave pops for its master.
func (b *Broker) lends() bool { return b.onDuty.Load() && b.cfg.Settings.Bool("enableRemoteEscape") }
