package namesrv

import (
	"context"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
)

// topicList makes the body of a list of topics.
func topicList(names []string, brokerAddr string) (*reply, error) {
	return bodyOf(&protocol.TopicList{TopicList: names, BrokerAddr: brokerAddr})
}

func errDisabled() error { return protocol.Errorf(protocol.SystemError, "disable") }

// allTopics answers GET_ALL_TOPIC_LIST_FROM_NAMESERVER.
func (s *Server) allTopics(context.Context, *protocol.Call) (*reply, error) {
	if !s.opts.Load().allTopicList {
		return nil, errDisabled()
	}
	return topicList(s.routes.Topics(), "")
}

// topicsOfCluster answers GET_TOPICS_BY_CLUSTER; an unknown cluster has none.
func (s *Server) topicsOfCluster(_ context.Context, c *protocol.Call) (*reply, error) {
	if !s.opts.Load().topicList {
		return nil, errDisabled()
	}
	h, err := decode[protocol.GetTopicsByClusterRequest](c)
	if err != nil {
		return nil, err
	}
	return topicList(s.routes.TopicsOf(h.Cluster), "")
}

// systemTopics answers GET_SYSTEM_TOPIC_LIST_FROM_NS: the names of clusters and brokers, and one broker to ask for more.
func (s *Server) systemTopics(context.Context, *protocol.Call) (*reply, error) {
	names, addr := s.routes.System()
	return topicList(names, addr)
}

// unitTopics answers the three lists that choose topics by their system flag.
func (s *Server) unitTopics(accept func(sysFlag int32) bool) func(context.Context, *protocol.Call) (*reply, error) {
	return func(context.Context, *protocol.Call) (*reply, error) {
		if !s.opts.Load().topicList {
			return nil, errDisabled()
		}
		return topicList(s.routes.TopicsWith(accept), "")
	}
}

// deleteTopic answers DELETE_TOPIC_IN_NAMESRV. Fields: topic, clusterName (optional).
func (s *Server) deleteTopic(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.DeleteTopicFromNamesrvRequest](c)
	if err != nil {
		return nil, err
	}
	s.routes.DeleteTopic(h.Topic, h.ClusterName)
	s.log.Info("topic deleted", "topic", h.Topic, "cluster", h.ClusterName, "client", c.Peer.RemoteAddr())
	return nil, nil
}

// registerTopic answers REGISTER_TOPIC_IN_NAMESRV: the queues of one topic, as a TopicRouteData, of brokers that are
// registered.
func (s *Server) registerTopic(_ context.Context, c *protocol.Call) (*reply, error) {
	h, err := decode[protocol.RegisterTopicRequest](c)
	if err != nil {
		return nil, err
	}
	var r protocol.TopicRouteData
	if err := laxjson.Unmarshal(c.Body, &r); err != nil {
		return nil, protocol.Errorf(protocol.SystemError, "cannot read the route of topic %s: %v", h.Topic, err)
	}
	s.routes.AddTopic(h.Topic, r.QueueDatas)
	return nil, nil
}
