package namesrv

import (
	"context"
	"strings"

	"rocketd/namesrv/route"
	"rocketd/protocol"
	"rocketd/topic"
)

const (
	// versionStandardJSON is the first client (V4_9_4) that reads routes with quoted map keys.
	versionStandardJSON = 401
)

// routeByTopic answers GET_ROUTEINFO_BY_TOPIC: TopicRouteData, or TOPIC_NOT_EXIST. Fields: topic,
// acceptStandardJsonOnly; __ZONE_MODE and __ZONE_NAME choose brokers by zone.
func (s *Server) routeByTopic(c *protocol.Call) error {
	var h protocol.GetRouteInfoRequest
	if err := h.Decode(c.Fields); err != nil {
		return err
	}
	opts := s.opts.Load()
	if opts.waitForService > 0 && c.Turn.Now.Sub(s.began) < opts.waitForService {
		return protocol.Errorf(protocol.SystemError, "name server not ready")
	}
	standard := c.Version >= versionStandardJSON || h.AcceptStandardJsonOnly.V
	zone := zoneOf(c)
	var order string
	if opts.orderMessages {
		order, _ = s.kv.get(orderNamespace, string(h.Topic))
	}
	var body []byte
	if zone == "" && order == "" {
		body = s.routes.Body(h.Topic, standard)
	} else {
		body = s.specialRoute(string(h.Topic), order, zone, standard)
	}
	if body == nil {
		return protocol.Errorf(protocol.TopicNotExist, "No topic route info in name server for the topic: %s"+topic.RouteFAQ, h.Topic)
	}
	k := c.Ticket()
	if k.Oneway {
		return nil
	}
	w := k.Open(protocol.Success, "")
	w.Body()
	w.Append(body)
	w.Send(c.Turn)
	return nil
}

// zoneOf returns the zone that the sender wants to stay in, "" if it does not care.
func zoneOf(c *protocol.Call) string {
	if mode, _ := c.Get("__ZONE_MODE"); !strings.EqualFold(string(mode), "true") {
		return ""
	}
	zone, _ := c.Get("__ZONE_NAME")
	return strings.TrimSpace(string(zone))
}

// specialRoute makes a route that is not the same for everybody. Java writes the routes of a zone in its own
// dialect, whatever the client asked for.
func (s *Server) specialRoute(name, order, zone string, standard bool) []byte {
	r := s.routes.Route(name)
	if r == nil {
		return nil
	}
	r.OrderTopicConf = order
	if zone != "" {
		route.KeepZone(r, zone)
		standard = false
	}
	return route.EncodeRoute(r, standard)
}

// clusterInfo answers GET_BROKER_CLUSTER_INFO: ClusterInfo.
func (s *Server) clusterInfo(context.Context, *protocol.Call) (*reply, error) {
	return bodyOf(s.routes.Cluster())
}

// memberGroup answers GET_BROKER_MEMBER_GROUP: the addresses of a broker set, none if it is not known.
func (s *Server) memberGroup(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.GetBrokerMemberGroupRequest](c)
	if err != nil {
		return nil, err
	}
	return bodyOf(&protocol.GetBrokerMemberGroupResponseBody{BrokerMemberGroup: s.routes.Members(h.ClusterName, h.BrokerName)})
}

// wipeWritePerm answers WIPE_WRITE_PERM_OF_BROKER, addWritePerm ADD_WRITE_PERM_OF_BROKER: how many topics it was.
func (s *Server) wipeWritePerm(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.WipeWritePermOfBrokerRequest](c)
	if err != nil {
		return nil, err
	}
	n := s.routes.SetWritable(h.BrokerName, false)
	s.log.Info("write permission wiped", "broker", h.BrokerName, "topics", n, "client", c.Peer.RemoteAddr())
	return &reply{Header: &protocol.WipeWritePermOfBrokerResponse{WipeTopicCount: int32(n)}}, nil
}

func (s *Server) addWritePerm(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.AddWritePermOfBrokerRequest](c)
	if err != nil {
		return nil, err
	}
	n := s.routes.SetWritable(h.BrokerName, true)
	s.log.Info("write permission added", "broker", h.BrokerName, "topics", n, "client", c.Peer.RemoteAddr())
	return &reply{Header: &protocol.AddWritePermOfBrokerResponse{AddTopicCount: int32(n)}}, nil
}
