package rpc

import (
	"context"

	"rocketd/internal/properties"
	"rocketd/protocol"
)

// What the members of a broker set ask each other for.

// ExchangeHAInfo (request 906) asks a master, with an empty request, where slaves get its log; or tells a slave, with the
// addresses of its master, where to get it from. Source: Java AdminBrokerProcessor.exchangeBrokerHaInfo.
func (b *Broker) ExchangeHAInfo(ctx context.Context, addr string, req *protocol.ExchangeHAInfoRequest) (*protocol.ExchangeHAInfoResponse, error) {
	out := new(protocol.ExchangeHAInfoResponse)
	_, err := call(ctx, b.inv, addr, protocol.ExchangeBrokerHaInfo, req, nil, out)
	return out, err
}

// Config returns the configuration of a broker by key.
func (b *Broker) Config(ctx context.Context, addr string) (map[string]string, error) {
	r, err := call(ctx, b.inv, addr, protocol.GetBrokerConfig, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	keys, err := properties.Parse(r.Body)
	if err != nil {
		return nil, unreadable("configuration", addr, err)
	}
	return keys, nil
}

// Lock asks for queues for a client of a group, and returns those that it holds now.
func (b *Broker) Lock(ctx context.Context, addr string, req *protocol.LockBatchRequestBody) ([]protocol.MessageQueue, error) {
	body, err := req.Marshal()
	if err != nil {
		return nil, err
	}
	r, err := call(ctx, b.inv, addr, protocol.LockBatchMq, nil, body, nil)
	if err != nil {
		return nil, err
	}
	var out protocol.LockBatchResponseBody
	if err := out.Unmarshal(r.Body); err != nil {
		return nil, unreadable("locked queues", addr, err)
	}
	return out.LockOKMQSet, nil
}

// Unlock gives queues of a client back.
func (b *Broker) Unlock(ctx context.Context, addr string, req *protocol.UnlockBatchRequestBody) error {
	body, err := req.Marshal()
	if err != nil {
		return err
	}
	_, err = call(ctx, b.inv, addr, protocol.UnlockBatchMq, nil, body, nil)
	return err
}
