package rpc

import (
	"context"
	"fmt"
	"hash/crc32"

	"rocketd/protocol"
)

// Namesrv calls name servers. It keeps nothing; one value serves any number of them.
type Namesrv struct{ inv Invoker }

// NewNamesrv returns a Namesrv that calls through inv.
func NewNamesrv(inv Invoker) *Namesrv { return &Namesrv{inv} }

// Registered is a name server's answer to a registration.
type Registered struct {
	HaServerAddr string            // of the set's master; empty for the master itself
	MasterAddr   string            // of the set's master; empty for the master itself
	OrderTopics  map[string]string // topic → "broker-a:8;broker-b:8", nil when the name server keeps none
}

// Register announces a broker and its topics. The body is a RegisterBrokerBody in JSON, or compressed as
// req.Compressed says; its checksum is filled in here. A name server refuses (SystemError) a new broker whose body
// holds exactly one topic. Source: Java BrokerOuterAPI.registerBroker, RouteInfoManager.
func (n *Namesrv) Register(ctx context.Context, addr string, req *protocol.RegisterBrokerRequest, body []byte) (*Registered, error) {
	h := *req
	h.BodyCrc32 = checksum(body)
	var out protocol.RegisterBrokerResponse
	r, err := call(ctx, n.inv, addr, protocol.RegisterBroker, &h, body, &out)
	if err != nil {
		return nil, err
	}
	reg := &Registered{HaServerAddr: out.HaServerAddr, MasterAddr: out.MasterAddr}
	if len(r.Body) > 0 {
		var kv protocol.KVTable
		if err := kv.Unmarshal(r.Body); err != nil {
			return nil, fmt.Errorf("order topics from %s: %w", addr, err)
		}
		reg.OrderTopics = kv.Table
	}
	return reg, nil
}

// Unregister takes a broker out of the routes.
func (n *Namesrv) Unregister(ctx context.Context, addr string, req *protocol.UnRegisterBrokerRequest) error {
	_, err := call(ctx, n.inv, addr, protocol.UnregisterBroker, req, nil, nil)
	return err
}

// DataVersion asks whether the name server's copy of a broker's topics differs from v. To the name server it is
// a sign of life too.
func (n *Namesrv) DataVersion(ctx context.Context, addr string, req *protocol.QueryDataVersionRequest, v protocol.DataVersion) (changed bool, err error) {
	body, err := v.Marshal()
	if err != nil {
		return false, err
	}
	var out protocol.QueryDataVersionResponse
	_, err = call(ctx, n.inv, addr, protocol.QueryDataVersion, req, body, &out)
	return out.Changed, err
}

// Route returns where a topic lives. A topic without a route is a *protocol.Error with TopicNotExist.
func (n *Namesrv) Route(ctx context.Context, addr, topic string) (*protocol.TopicRouteData, error) {
	r, err := call(ctx, n.inv, addr, protocol.GetRouteinfoByTopic, &protocol.GetRouteInfoRequest{Topic: []byte(topic)}, nil, nil)
	if err != nil {
		return nil, err
	}
	var route protocol.TopicRouteData
	if err := route.Unmarshal(r.Body); err != nil {
		return nil, fmt.Errorf("route of %s from %s: %w", topic, addr, err)
	}
	return &route, nil
}

// checksum is the CRC of a body as headers carry it: CRC-32 (IEEE) without its sign, 0 for none.
func checksum(body []byte) int32 { return int32(crc32.ChecksumIEEE(body) & 0x7FFFFFFF) }
