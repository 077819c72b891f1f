package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"rocketd/protocol"
)

// fetchGroup is whom another set takes the reader of its messages for: every broker has it.
const fetchGroup = "TOOLS_CONSUMER"

// fetch reads one message of another set, from its master or who acts for it, else from any of its brokers; nil if it is nowhere
// any more. Source: Java EscapeBridge.getMessageFromRemote.
func (b *Broker) fetch(ctx context.Context, set, name string, queue int32, offset int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, escapeTimeout)
	defer cancel()
	route, err := b.registrar.route(ctx, name)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("no broker of set %s has topic %s now", set, name)
	for _, d := range route.BrokerDatas {
		if d.BrokerName != set {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(d.BrokerAddrs)) {
			p, e := b.brokers.Pull(ctx, d.BrokerAddrs[id], &protocol.PullMessageRequest{
				ConsumerGroup: []byte(fetchGroup), Topic: []byte(name), QueueID: queue, QueueOffset: offset, MaxMsgNums: 1,
				SysFlag: pullWithExpression, Subscription: []byte("*"),
			})
			switch {
			case e != nil:
				err = errors.Join(err, e)
			case p.Code == protocol.Success && p.Header.NextBeginOffset > offset:
				return p.Records, nil
			case p.Code == protocol.PullOffsetMoved && offset < p.Header.MinOffset:
				return nil, nil
			default:
				err = errors.Join(err, fmt.Errorf("%s has no message at %d of queue %d now (code %d, %d to %d)", d.BrokerAddrs[id], offset, queue, p.Code, p.Header.MinOffset, p.Header.MaxOffset))
			}
		}
	}
	return nil, err
}

// pullWithExpression is the flag of a pull that brings its own expression. Source: Java PullSysFlag.
const pullWithExpression = 1 << 2

// lends tells whether this slave pops for its master.
func (b *Broker) lends() bool { return b.onDuty.Load() && b.cfg.Settings.Bool("enableRemoteEscape") }
