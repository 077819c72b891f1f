package namesrv

import (
	"context"
	"fmt"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/namesrv/route"
	"rocketd/protocol"
)

// registerBroker answers REGISTER_BROKER: the address of the master for a slave, and the order configuration of all
// topics. Two processes with one name and id read in the remark of the other; Java says nothing there. Errors:
// SYSTEM_ERROR for a wrong checksum, an unreadable body, one topic from an unknown broker, and the name of a set of
// another cluster.
func (s *Server) registerBroker(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.RegisterBrokerRequest](c)
	if err != nil {
		return nil, err
	}
	s.registering <- struct{}{}
	defer func() { <-s.registering }()
	topics, filters, err := route.DecodeBody(c.Body, c.Version, h.Compressed, h.BodyCrc32)
	if err != nil {
		s.log.Warn("registration refused", "broker", h.BrokerName, "id", h.BrokerID, "addr", h.BrokerAddr, "err", err)
		return nil, err
	}
	zone, _ := c.Get("__ZONE_NAME")
	done, err := s.routes.Register(time.Now(), &route.Registration{
		Broker:  route.Broker{Cluster: h.ClusterName, Name: h.BrokerName, Addr: h.BrokerAddr, ID: h.BrokerID},
		HaAddr:  h.HaServerAddr,
		Zone:    string(zone),
		Timeout: time.Duration(h.HeartbeatTimeoutMillis.V) * time.Millisecond,
		Acting:  h.EnableActingMaster,
		Peer:    c.Peer,
		Topics:  topics,
		Filters: filters,
	})
	if err != nil {
		s.log.Warn("registration refused", "broker", h.BrokerName, "id", h.BrokerID, "addr", h.BrokerAddr, "topics", len(topics.TopicConfigTable), "err", err)
		return nil, err
	}
	remark := ""
	switch {
	case done.Holder != "":
		remark = fmt.Sprintf("ignored: %s is registered as broker %s with id %d", done.Holder, h.BrokerName, h.BrokerID)
		s.log.Warn("registration ignored, another broker has that name and id", "broker", h.BrokerName, "id", h.BrokerID, "addr", h.BrokerAddr, "holder", done.Holder)
	case done.Rival != "":
		remark = fmt.Sprintf("%s claims to be broker %s with id %d, too", done.Rival, h.BrokerName, h.BrokerID)
	case done.New:
		s.log.Info("broker registered", "cluster", h.ClusterName, "broker", h.BrokerName, "id", h.BrokerID, "addr", h.BrokerAddr, "topics", len(topics.TopicConfigTable), "replaced", done.Replaced)
	}
	s.notify(done.Notices)
	if c.Peer.Closed() {
		s.closed(c.Peer) // it hung up while the pool was at work, and nobody will tell again
	}
	r := &reply{}
	if keys := s.kv.namespace(orderNamespace); keys != nil && s.opts.Load().orderToBroker {
		if r, err = bodyOf(&protocol.KVTable{Table: keys}); err != nil {
			return nil, err
		}
	}
	r.Remark = remark
	r.Header = &protocol.RegisterBrokerResponse{HaServerAddr: done.HaServerAddr, MasterAddr: done.MasterAddr}
	return r, nil
}

// unregisterBroker answers UNREGISTER_BROKER; a broker that is not known is as welcome to leave.
func (s *Server) unregisterBroker(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.UnRegisterBrokerRequest](c)
	if err != nil {
		return nil, err
	}
	s.log.Info("broker unregistered", "cluster", h.ClusterName, "broker", h.BrokerName, "id", h.BrokerID, "addr", h.BrokerAddr)
	s.notify(s.routes.Unregister(route.Broker{Cluster: h.ClusterName, Name: h.BrokerName, Addr: h.BrokerAddr, ID: h.BrokerID}))
	return nil, nil
}

// heartbeat answers BROKER_HEARTBEAT. A broker that is not known is not told so: it registers again by itself.
func (s *Server) heartbeat(c *protocol.Call) error {
	var h protocol.BrokerHeartbeatRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	s.routes.Heartbeat(c.Turn.Now, h.ClusterName, h.BrokerAddr)
	c.Ticket().Answer(c.Turn, protocol.Success, "", nil, nil)
	return nil
}

// queryDataVersion answers QUERY_DATA_VERSION: whether the version in the body differs from the one that the broker
// registered with, and that one. It is a sign of life, too.
func (s *Server) queryDataVersion(c *protocol.Call) error {
	var h protocol.QueryDataVersionRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	var asked protocol.DataVersion
	if len(c.Body) > 0 {
		if err := laxjson.Unmarshal(c.Body, &asked); err != nil {
			return protocol.Errorf(protocol.SystemError, "cannot read the data version: %v", err)
		}
	}
	known, ok, changed := s.routes.QueryVersion(c.Turn.Now, h.ClusterName, h.BrokerAddr, asked)
	var body []byte
	if ok {
		var err error
		if body, err = laxjson.Marshal(&known); err != nil {
			return err
		}
	}
	c.Ticket().Answer(c.Turn, protocol.Success, "", &protocol.QueryDataVersionResponse{Changed: changed}, body)
	return nil
}
