package namesrv

import (
	"rocketd/dispatch"
	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// rows is the request table. What reads the body of a registration, walks over all topics or writes a file runs on
// the pool.
func (s *Server) rows() []dispatch.Row {
	return []dispatch.Row{
		{Code: protocol.GetRouteinfoByTopic, InTurn: s.routeByTopic},
		{Code: protocol.BrokerHeartbeat, InTurn: s.heartbeat},
		{Code: protocol.QueryDataVersion, InTurn: s.queryDataVersion},
		{Code: protocol.RegisterBroker, Pooled: s.registerBroker},
		{Code: protocol.UnregisterBroker, Pooled: s.unregisterBroker},
		{Code: protocol.GetBrokerClusterInfo, Pooled: s.clusterInfo},
		{Code: protocol.GetBrokerMemberGroup, Pooled: s.memberGroup},
		{Code: protocol.WipeWritePermOfBroker, Pooled: s.wipeWritePerm},
		{Code: protocol.AddWritePermOfBroker, Pooled: s.addWritePerm},
		{Code: protocol.GetAllTopicListFromNameserver, Pooled: s.allTopics},
		{Code: protocol.GetTopicsByCluster, Pooled: s.topicsOfCluster},
		{Code: protocol.GetSystemTopicListFromNs, Pooled: s.systemTopics},
		{Code: protocol.GetUnitTopicList, Pooled: s.unitTopics(func(f int32) bool { return f&topic.FlagUnit != 0 })},
		{Code: protocol.GetHasUnitSubTopicList, Pooled: s.unitTopics(func(f int32) bool { return f&topic.FlagUnitSub != 0 })},
		{Code: protocol.GetHasUnitSubUnunitTopicList, Pooled: s.unitTopics(func(f int32) bool { return f&(topic.FlagUnit|topic.FlagUnitSub) == topic.FlagUnitSub })},
		{Code: protocol.DeleteTopicInNamesrv, Pooled: s.deleteTopic},
		{Code: protocol.RegisterTopicInNamesrv, Pooled: s.registerTopic},
		{Code: protocol.PutKvConfig, Pooled: s.putKV},
		{Code: protocol.GetKvConfig, Pooled: s.getKV},
		{Code: protocol.DeleteKvConfig, Pooled: s.deleteKV},
		{Code: protocol.GetKvlistByNamespace, Pooled: s.listKV},
		{Code: protocol.UpdateNamesrvConfig, Pooled: s.updateConfig},
		{Code: protocol.GetNamesrvConfig, Pooled: s.getConfig},
	}
}

// reply is how the handlers of this package answer.
type reply = dispatch.Reply

// decode reads the header of a pooled call.
func decode[H any, P interface {
	*H
	Decode([]protocol.Field) error
}](c *protocol.Call) (H, error) {
	var h H
	err := P(&h).Decode(c.Fields)
	return h, err
}

// bodyOf answers with a body alone.
func bodyOf(v any) (*reply, error) {
	body, err := laxjson.Marshal(v)
	return &reply{Body: body}, err
}
