package rpc

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"rocketd/protocol"
	"rocketd/topic"
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
	// Objection is what a name server of ours says when another process has, or claims, the same name and id.
	Objection string
}

// zoned is a registration with the zone of its broker, which is no field of the header in Java either.
type zoned struct {
	*protocol.RegisterBrokerRequest
	zone string
}

func (z zoned) AppendFields(w *protocol.FrameWriter) {
	z.RegisterBrokerRequest.AppendFields(w)
	if z.zone != "" {
		w.Str("__ZONE_NAME", z.zone)
	}
}

// Register announces a broker and its topics. The body is a RegisterBrokerBody in JSON, or compressed as
// req.Compressed says; its checksum is filled in here. zone may be empty. A name server refuses (SystemError) a new
// broker whose body holds exactly one topic. Source: Java BrokerOuterAPI.registerBroker, RouteInfoManager.
func (n *Namesrv) Register(ctx context.Context, addr string, req *protocol.RegisterBrokerRequest, zone string, body []byte) (*Registered, error) {
	h := *req
	h.BodyCrc32 = checksum(body)
	var out protocol.RegisterBrokerResponse
	r, err := call(ctx, n.inv, addr, protocol.RegisterBroker, zoned{&h, zone}, body, &out)
	if err != nil {
		return nil, err
	}
	reg := &Registered{HaServerAddr: out.HaServerAddr, MasterAddr: out.MasterAddr, Objection: r.Remark}
	if len(r.Body) > 0 {
		var kv protocol.KVTable
		if err := kv.Unmarshal(r.Body); err != nil {
			return nil, fmt.Errorf("order topics from %s: %w", addr, err)
		}
		reg.OrderTopics = kv.Table
	}
	return reg, nil
}

// RegisterTopic announces the queues that a broker has of one topic. A name server that does not know the broker passes it over.
func (n *Namesrv) RegisterTopic(ctx context.Context, addr, topic string, queues protocol.QueueData) error {
	body, err := (&protocol.TopicRouteData{QueueDatas: []protocol.QueueData{queues}}).Marshal()
	if err != nil {
		return err
	}
	_, err = call(ctx, n.inv, addr, protocol.RegisterTopicInNamesrv, &protocol.RegisterTopicRequest{Topic: topic}, body, nil)
	return err
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

// Heartbeat is a sign of life (request 904), which name servers from 5.0 on know. One from a broker that is not
// registered is passed over.
func (n *Namesrv) Heartbeat(ctx context.Context, addr string, req *protocol.BrokerHeartbeatRequest) error {
	_, err := call(ctx, n.inv, addr, protocol.BrokerHeartbeat, req, nil, nil)
	return err
}

// Members returns the addresses of a broker set by broker id, none if it is not known. A name server before 5.0, which
// does not know the question, is asked for the route of the topic that each set has for this. Source: Java
// BrokerOuterAPI.syncBrokerMemberGroup.
func (n *Namesrv) Members(ctx context.Context, addr, cluster, name string) (map[int64]string, error) {
	r, err := call(ctx, n.inv, addr, protocol.GetBrokerMemberGroup, &protocol.GetBrokerMemberGroupRequest{ClusterName: cluster, BrokerName: name}, nil, nil)
	var known *protocol.Error
	switch {
	case err == nil:
		var out protocol.GetBrokerMemberGroupResponseBody
		if err := out.Unmarshal(r.Body); err != nil {
			return nil, fmt.Errorf("members of %s from %s: %w", name, addr, err)
		}
		if out.BrokerMemberGroup == nil {
			return nil, nil
		}
		return out.BrokerMemberGroup.BrokerAddrs, nil
	case !errors.As(err, &known) || known.Code != protocol.RequestCodeNotSupported:
		return nil, err
	}
	route, err := n.Route(ctx, addr, topic.SyncMemberPrefix+name)
	if errors.As(err, &known) && known.Code == protocol.TopicNotExist {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, b := range route.BrokerDatas {
		if b.BrokerName == name && b.Cluster == cluster {
			return b.BrokerAddrs, nil
		}
	}
	return nil, nil
}

// SetWritable takes the write permission of all topics of a broker set away, or gives it back, until the set's master
// registers as a new one or with other topics.
func (n *Namesrv) SetWritable(ctx context.Context, addr, name string, writable bool) error {
	if writable {
		_, err := call(ctx, n.inv, addr, protocol.AddWritePermOfBroker, &protocol.AddWritePermOfBrokerRequest{BrokerName: name}, nil, nil)
		return err
	}
	_, err := call(ctx, n.inv, addr, protocol.WipeWritePermOfBroker, &protocol.WipeWritePermOfBrokerRequest{BrokerName: name}, nil, nil)
	return err
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
