package rpc

import (
	"context"
	"errors"
	"fmt"

	"rocketd/protocol"
	"rocketd/topic"
)

// ErrAnswer is in the error of a call whose answer came, with a code that is allowed, and cannot be read.
var ErrAnswer = errors.New("answer cannot be read")

// What a slave asks its master for. The addresses are those of brokers.

// AllTopics returns the topic table of a broker, or with enableSplitMetadata a page of it: at most MaxTopicNum entries
// from place TopicSeq on, in the order of names. total is the number of all; a broker older than 5.3 has no pages and
// does not tell. A page behind the first that is asked for with another version than the table's begins at 0. With a nil
// req the whole table is asked for.
func (b *Broker) AllTopics(ctx context.Context, addr string, req *protocol.GetAllTopicConfigRequest) (w *protocol.TopicConfigAndMappingSerializeWrapper, total protocol.Opt[int32], err error) {
	var in protocol.Fielder
	if req != nil {
		in = req
	}
	r, err := call(ctx, b.inv, addr, protocol.GetAllTopicConfig, in, nil, nil)
	if err != nil {
		return nil, total, err
	}
	var h protocol.GetAllTopicConfigResponse
	w = new(protocol.TopicConfigAndMappingSerializeWrapper)
	if err := errors.Join(h.Decode(r.Fields), w.Unmarshal(r.Body)); err != nil {
		return nil, total, unreadable("topics", addr, err)
	}
	return w, h.TotalTopicNum, nil
}

// AllGroups returns the group table of a broker, whole or as a page, as AllTopics does. A page has the forbidden topics of
// its groups only.
func (b *Broker) AllGroups(ctx context.Context, addr string, req *protocol.GetAllSubscriptionGroupRequest) (w *protocol.SubscriptionGroupWrapper, total protocol.Opt[int32], err error) {
	var in protocol.Fielder
	if req != nil {
		in = req
	}
	r, err := call(ctx, b.inv, addr, protocol.GetAllSubscriptiongroupConfig, in, nil, nil)
	if err != nil {
		return nil, total, err
	}
	w = new(protocol.SubscriptionGroupWrapper)
	err = w.Unmarshal(r.Body)
	if len(r.Fields) > 0 { // old brokers have none
		var h protocol.GetAllSubscriptionGroupResponse
		err = errors.Join(err, h.Decode(r.Fields))
		total = protocol.Some(h.TotalGroupNum)
	}
	if err != nil {
		return nil, total, unreadable("groups", addr, err)
	}
	return w, total, nil
}

// AllOffsets returns the committed offsets of all groups of a broker.
func (b *Broker) AllOffsets(ctx context.Context, addr string) (*protocol.ConsumerOffsetSerializeWrapper, error) {
	r, err := call(ctx, b.inv, addr, protocol.GetAllConsumerOffset, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	w := new(protocol.ConsumerOffsetSerializeWrapper)
	if err := w.Unmarshal(r.Body); err != nil {
		return nil, unreadable("consumer offsets", addr, err)
	}
	return w, nil
}

// DelayOffsets returns the offsets of the delay levels as JSON, see protocol.DelayOffsetSerializeWrapper.
func (b *Broker) DelayOffsets(ctx context.Context, addr string) ([]byte, error) {
	return b.body(ctx, addr, protocol.GetAllDelayOffset)
}

// RequestModes returns which groups pop and which pull, as JSON. Brokers before 5.0 do not know the request.
func (b *Broker) RequestModes(ctx context.Context, addr string) ([]byte, error) {
	return b.body(ctx, addr, protocol.GetAllMessageRequestMode)
}

// TimerCheckpoint returns how far timed messages have come: seven int64. A broker without timers answers with SystemError,
// one before 5.0 does not know the request, as with TimerMetrics.
func (b *Broker) TimerCheckpoint(ctx context.Context, addr string) ([]byte, error) {
	return b.body(ctx, addr, protocol.GetTimerCheckPoint)
}

// TimerMetrics returns how many timed messages wait, by topic, as JSON.
func (b *Broker) TimerMetrics(ctx context.Context, addr string) ([]byte, error) {
	return b.body(ctx, addr, protocol.GetTimerMetrics)
}

func (b *Broker) body(ctx context.Context, addr string, code int32) ([]byte, error) {
	r, err := call(ctx, b.inv, addr, code, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}

// TopicConfig returns the configuration of one topic. One that the broker does not have is a *protocol.Error with
// TopicNotExist; brokers before 5.0 do not know the request.
func (b *Broker) TopicConfig(ctx context.Context, addr, name string) (*topic.Config, error) {
	r, err := call(ctx, b.inv, addr, protocol.GetTopicConfig, &protocol.GetTopicConfigRequest{Topic: name}, nil, nil)
	if err != nil {
		return nil, err
	}
	var w protocol.TopicConfigAndQueueMapping
	if err := w.Unmarshal(r.Body); err != nil {
		return nil, unreadable("configuration of topic "+name, addr, err)
	}
	return &w.Config, nil
}

// RuntimeInfo returns what a broker tells about itself, such as bootTimestamp and commitLogMinOffset.
func (b *Broker) RuntimeInfo(ctx context.Context, addr string) (map[string]string, error) {
	r, err := call(ctx, b.inv, addr, protocol.GetBrokerRuntimeInfo, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	var kv protocol.KVTable
	if err := kv.Unmarshal(r.Body); err != nil {
		return nil, unreadable("runtime information", addr, err)
	}
	return kv.Table, nil
}

func unreadable(what, addr string, err error) error {
	return fmt.Errorf("%s of %s: %w: %w", what, addr, ErrAnswer, err)
}
