package rpc

import (
	"context"
	"fmt"

	"rocketd/protocol"
)

// Broker calls brokers, as a client does. It keeps nothing; one value serves any number of them.
type Broker struct{ inv Invoker }

// NewBroker returns a Broker that calls through inv.
func NewBroker(inv Invoker) *Broker { return &Broker{inv} }

// Send stores one message (request 310). FlushDiskTimeout, FlushSlaveTimeout and SlaveNotAvailable are returned in
// code beside the answer: the message is stored all the same.
func (b *Broker) Send(ctx context.Context, addr string, req *protocol.SendMessageRequest, body []byte) (res *protocol.SendMessageResponse, code int32, err error) {
	h := protocol.SendMessageRequestV2(*req)
	c, err := request(protocol.SendMessageV2, &h, body)
	if err != nil {
		return nil, 0, err
	}
	r, err := invoke(ctx, b.inv, addr, c, protocol.FlushDiskTimeout, protocol.FlushSlaveTimeout, protocol.SlaveNotAvailable)
	if err != nil {
		return nil, 0, err
	}
	res = new(protocol.SendMessageResponse)
	if err := res.Decode(r.Fields); err != nil {
		return nil, 0, fmt.Errorf("answer of %s to a send: %w", addr, err)
	}
	return res, r.Code, nil
}

// Pulled is the answer to a pull.
type Pulled struct {
	Code    int32 // Success, PullNotFound, PullRetryImmediately or PullOffsetMoved
	Header  protocol.PullMessageResponse
	Records []byte // whole records one after the other, see package message
}

// Pull reads messages of one queue; the broker may hold the answer back for SuspendTimeoutMillis when the request
// allows it, so the context must be longer than that.
func (b *Broker) Pull(ctx context.Context, addr string, req *protocol.PullMessageRequest) (*Pulled, error) {
	c, err := request(protocol.PullMessage, req, nil)
	if err != nil {
		return nil, err
	}
	r, err := invoke(ctx, b.inv, addr, c, protocol.PullNotFound, protocol.PullRetryImmediately, protocol.PullOffsetMoved)
	if err != nil {
		return nil, err
	}
	p := &Pulled{Code: r.Code, Records: r.Body}
	if err := p.Header.Decode(r.Fields); err != nil {
		return nil, fmt.Errorf("answer of %s to a pull: %w", addr, err)
	}
	return p, nil
}

// Heartbeat registers a client's producer and consumer groups; without one each 30 s the broker forgets them.
func (b *Broker) Heartbeat(ctx context.Context, addr string, data *protocol.HeartbeatData) error {
	body, err := data.Marshal()
	if err != nil {
		return err
	}
	_, err = call(ctx, b.inv, addr, protocol.HeartBeat, nil, body, nil)
	return err
}

// Unregister takes a client out of a consumer group, so that the others share its queues at once.
func (b *Broker) Unregister(ctx context.Context, addr string, req *protocol.UnregisterClientRequest) error {
	_, err := call(ctx, b.inv, addr, protocol.UnregisterClient, req, nil, nil)
	return err
}

// Consumers returns the client IDs of a consumer group's live members.
func (b *Broker) Consumers(ctx context.Context, addr, group string) ([]string, error) {
	r, err := call(ctx, b.inv, addr, protocol.GetConsumerListByGroup, &protocol.GetConsumerListByGroupRequest{ConsumerGroup: group}, nil, nil)
	if err != nil {
		return nil, err
	}
	var list protocol.GetConsumerListByGroupResponseBody
	if err := list.Unmarshal(r.Body); err != nil {
		return nil, fmt.Errorf("members of %s from %s: %w", group, addr, err)
	}
	return list.ConsumerIDList, nil
}

// Offset returns where a group stands in a queue. A group that never committed there is a *protocol.Error with
// QueryNotFound.
func (b *Broker) Offset(ctx context.Context, addr, group, topic string, queue int32) (int64, error) {
	var out protocol.QueryConsumerOffsetResponse
	_, err := call(ctx, b.inv, addr, protocol.QueryConsumerOffset, &protocol.QueryConsumerOffsetRequest{
		ConsumerGroup: []byte(group), Topic: []byte(topic), QueueID: queue,
		SetZeroIfNotFound: protocol.Opt[bool]{V: false, Set: true},
	}, nil, &out)
	return out.Offset, err
}

// Commit stores where a group stands in a queue: the offset of the next message to read.
func (b *Broker) Commit(ctx context.Context, addr, group, topic string, queue int32, offset int64) error {
	_, err := call(ctx, b.inv, addr, protocol.UpdateConsumerOffset, &protocol.UpdateConsumerOffsetRequest{
		ConsumerGroup: []byte(group), Topic: []byte(topic), QueueID: queue, CommitOffset: offset,
	}, nil, nil)
	return err
}

// MaxOffset returns the offset that a queue's next message will get, 0 for an unknown queue.
func (b *Broker) MaxOffset(ctx context.Context, addr, topic string, queue int32) (int64, error) {
	var out protocol.GetMaxOffsetResponse
	_, err := call(ctx, b.inv, addr, protocol.GetMaxOffset, &protocol.GetMaxOffsetRequest{
		Topic: []byte(topic), QueueID: queue, Committed: true}, nil, &out)
	return out.Offset, err
}

// MinOffset returns the offset of a queue's oldest message, 0 for an unknown queue.
func (b *Broker) MinOffset(ctx context.Context, addr, topic string, queue int32) (int64, error) {
	var out protocol.GetMinOffsetResponse
	_, err := call(ctx, b.inv, addr, protocol.GetMinOffset, &protocol.GetMinOffsetRequest{
		Topic: []byte(topic), QueueID: queue}, nil, &out)
	return out.Offset, err
}
