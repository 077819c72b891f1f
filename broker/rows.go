package broker

import (
	"context"

	"rocketd/dispatch"
	"rocketd/manage"
	"rocketd/protocol"
)

// rows is the request table of a broker, the same on both ports: reading it is reading the product. A code that is
// missing here is answered REQUEST_CODE_NOT_SUPPORTED.
func (b *Broker) rows() []dispatch.Row {
	turn := func(code int32, run dispatch.TurnHandler) dispatch.Row { return dispatch.Row{Code: code, InTurn: run} }
	pool := func(code int32, run manage.Handler) dispatch.Row {
		return dispatch.Row{Code: code, Pooled: func(ctx context.Context, c *protocol.Call) (*dispatch.Reply, error) {
			header, body, err := run(ctx, c)
			return &dispatch.Reply{Header: header, Body: body}, err
		}}
	}
	return []dispatch.Row{
		turn(protocol.SendMessage, b.take),
		turn(protocol.SendMessageV2, b.take),
		turn(protocol.SendBatchMessage, b.take),
		turn(protocol.RecallMessage, b.send.Recall),
		turn(protocol.SendReplyMessage, b.takeReply),
		turn(protocol.SendReplyMessageV2, b.takeReply),
		turn(protocol.ConsumerSendMsgBack, b.takeBack),

		turn(protocol.EndTransaction, b.transactions.End),
		pool(protocol.ResumeCheckHalfMessage, b.transactions.Resume),

		turn(protocol.PullMessage, b.pull.Pull),
		turn(protocol.LitePullMessage, b.pull.Pull),

		turn(protocol.PopMessage, b.pop.Pop),
		turn(protocol.AckMessage, b.ack),
		turn(protocol.BatchAckMessage, b.pop.BatchAck),
		turn(protocol.ChangeMessageInvisibletime, b.change),
		turn(protocol.Notification, b.notification),
		turn(protocol.PollingInfo, b.pop.Polling),
		pool(protocol.PeekMessage, b.pop.Peek),

		turn(protocol.PopLiteMessage, b.lite.Pop),
		pool(protocol.LiteSubscriptionCtl, b.lite.Control),
		pool(protocol.GetBrokerLiteInfo, b.lite.BrokerInfo),
		pool(protocol.GetParentTopicInfo, b.lite.ParentInfo),
		pool(protocol.GetLiteTopicInfo, b.lite.TopicInfo),
		pool(protocol.GetLiteClientInfo, b.lite.ClientInfo),
		pool(protocol.GetLiteGroupInfo, b.lite.GroupInfo),
		pool(protocol.TriggerLiteDispatch, b.lite.Trigger),

		turn(protocol.HeartBeat, b.member.Heartbeat),
		turn(protocol.UnregisterClient, b.member.Unregister),
		turn(protocol.CheckClientConfig, b.member.Check),
		turn(protocol.GetConsumerListByGroup, b.member.List),
		turn(protocol.LockBatchMq, b.member.Lock),
		turn(protocol.UnlockBatchMq, b.member.Unlock),
		turn(protocol.QueryAssignment, b.member.Assignment),
		pool(protocol.SetMessageRequestMode, b.member.SetMode),

		turn(protocol.QueryConsumerOffset, b.query.Committed),
		turn(protocol.UpdateConsumerOffset, b.query.Commit),
		turn(protocol.GetMaxOffset, b.query.Max),
		turn(protocol.GetMinOffset, b.query.Min),
		turn(protocol.SearchOffsetByTimestamp, b.query.ByTime),
		turn(protocol.GetEarliestMsgStoretime, b.query.Earliest),
		pool(protocol.ViewMessageById, b.query.ByID),
		turn(protocol.QueryMessage, b.byKey),

		pool(protocol.UpdateAndCreateTopic, b.manage.UpdateTopic),
		pool(protocol.UpdateAndCreateTopicList, b.manage.UpdateTopics),
		pool(protocol.UpdateAndCreateStaticTopic, b.manage.UpdateStaticTopic),
		pool(protocol.DeleteTopicInBroker, b.manage.DeleteTopic),
		pool(protocol.DeleteTopicInBrokerList, b.manage.DeleteTopics),
		pool(protocol.GetTopicConfig, b.manage.Topic),
		pool(protocol.GetAllTopicConfig, b.manage.Topics),
		pool(protocol.GetSystemTopicListFromBroker, b.manage.SystemTopics),
		pool(protocol.CleanUnusedTopic, b.manage.CleanUnusedTopics),
		pool(protocol.CleanExpiredConsumequeue, b.manage.CleanExpiredQueues),
		pool(protocol.DeleteExpiredCommitlog, b.manage.DeleteExpired),
		pool(protocol.UpdateAndCreateSubscriptiongroup, b.manage.UpdateGroup),
		pool(protocol.UpdateAndCreateSubscriptiongroupList, b.manage.UpdateGroups),
		pool(protocol.DeleteSubscriptiongroup, b.manage.DeleteGroup),
		pool(protocol.DeleteSubscriptionGroupList, b.manage.DeleteGroups),
		pool(protocol.GetSubscriptiongroupConfig, b.manage.Group),
		pool(protocol.GetAllSubscriptiongroupConfig, b.manage.Groups),
		pool(protocol.UpdateAndGetGroupForbidden, b.manage.Forbidden),

		pool(protocol.GetTopicStatsInfo, b.manage.TopicStats),
		pool(protocol.GetConsumeStats, b.manage.ConsumeStats),
		pool(protocol.GetBrokerConsumeStats, b.manage.BrokerConsumeStats),
		pool(protocol.QueryConsumeTimeSpan, b.manage.TimeSpans),
		pool(protocol.QueryConsumeQueue, b.manage.QueueUnits),
		pool(protocol.GetConsumerConnectionList, b.manage.ConsumerConnections),
		pool(protocol.GetProducerConnectionList, b.manage.ProducerConnections),
		pool(protocol.GetAllProducerInfo, b.manage.Producers),
		pool(protocol.QueryTopicConsumeByWho, b.manage.ConsumersOfTopic),
		pool(protocol.QueryTopicsByConsumer, b.manage.TopicsOfGroup),
		pool(protocol.QuerySubscriptionByConsumer, b.manage.Subscription),
		pool(protocol.GetConsumerRunningInfo, b.manage.RunningInfo),
		pool(protocol.ConsumeMessageDirectly, b.manage.ConsumeDirectly),
		pool(protocol.ViewBrokerStatsData, b.manage.Stats),
		pool(protocol.GetBrokerRuntimeInfo, b.manage.RuntimeInfo),

		pool(protocol.InvokeBrokerToResetOffset, b.manage.ResetOffset),
		pool(protocol.InvokeBrokerToGetConsumerStatus, b.manage.ConsumerStatus),
		pool(protocol.CloneGroupOffset, b.manage.CloneOffsets),
		pool(protocol.QueryCorrectionOffset, b.manage.CorrectionOffsets),
		pool(protocol.GetAllConsumerOffset, b.manage.AllOffsets),

		pool(protocol.GetAllDelayOffset, b.manage.DelayOffsets),
		pool(protocol.GetAllMessageRequestMode, b.manage.RequestModes),
		pool(protocol.GetTimerCheckPoint, b.manage.TimerCheckpoint),
		pool(protocol.GetTimerMetrics, b.manage.TimerMetrics),
		pool(protocol.ExchangeBrokerHaInfo, b.exchange),
		pool(protocol.NotifyMinBrokerIdChange, b.minBroker),
		pool(protocol.GetBrokerHaStatus, b.manage.HAStatus),
		pool(protocol.ResetMasterFlushOffset, b.resetFlushOffset),

		pool(protocol.UpdateColdDataFlowCtrConfig, b.manage.SetColdThresholds),
		pool(protocol.RemoveColdDataFlowCtrConfig, b.manage.RemoveColdThreshold),
		pool(protocol.GetColdDataFlowCtrInfo, b.manage.ColdReads),
		{Code: protocol.SetCommitlogReadMode, Pooled: b.readAheadMode},

		pool(protocol.UpdateBrokerConfig, b.manage.UpdateConfig),
		pool(protocol.GetBrokerConfig, b.manage.Config),
	}
}

// take serves sends, but by a master that is not ready yet, or is leaving: a producer then tries another broker.
func (b *Broker) take(c *protocol.Call) error {
	if err := b.away(); err != nil {
		return err
	}
	return b.send.Send(c)
}

// takeBack is take for what consumers send back.
func (b *Broker) takeBack(c *protocol.Call) error {
	if err := b.away(); err != nil {
		return err
	}
	return b.send.SendBack(c)
}

// takeReply is take for replies.
func (b *Broker) takeReply(c *protocol.Call) error {
	if err := b.away(); err != nil {
		return err
	}
	return b.send.Reply(c)
}

// away refuses messages while none are taken.
func (b *Broker) away() error {
	if !b.taking.Load() && !b.isSlave() {
		return protocol.Errorf(protocol.ServiceNotAvailable, "service not available now: this broker is starting or stopping")
	}
	return nil
}
