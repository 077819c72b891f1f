package manage

import (
	"context"
	"errors"
	"time"

	"rocketd/internal/laxjson"
	"rocketd/message"
	"rocketd/protocol"
)

// ConsumerStatus serves INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223): it asks the connected clients of a group, or one
// of them, for the offsets that they hold of a topic. Clients that do not answer within 5 s are left out.
// Source: Java Broker2Client.getConsumeStatus.
func (s *Service) ConsumerStatus(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetConsumerStatusRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	clients := s.cfg.Clients.Consumers.Clients(h.Group)
	if len(clients) == 0 {
		return nil, nil, protocol.Errorf(protocol.ConsumerNotOnline, "No Any Consumer online in the consumer group: [%s]", h.Group)
	}
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	all := protocol.GetConsumerStatusBody{ConsumerTable: make(map[string]map[protocol.MessageQueue]int64)}
	for _, client := range clients {
		if h.ClientAddr != "" && h.ClientAddr != client.ID {
			continue
		}
		ask := &protocol.Command{Code: protocol.GetConsumerStatusFromClient}
		ask.Set("topic", h.Topic)
		ask.Set("group", h.Group)
		ask.Set("clientAddr", h.ClientAddr)
		answer, err := client.Peer.Invoke(ctx, ask)
		if err != nil || answer.Code != protocol.Success {
			continue
		}
		var one protocol.GetConsumerStatusBody
		if err := laxjson.Unmarshal(answer.Body, &one); err == nil {
			all.ConsumerTable[client.ID] = one.MessageQueueTable
		}
	}
	return body(all)
}

// versionAsk is the first version whose clients can be asked about themselves, V3_1_8_SNAPSHOT.
const versionAsk = 62

// RunningInfo serves GET_CONSUMER_RUNNING_INFO (307): the request goes on to the client that it names, and the
// client's answer comes back.
func (s *Service) RunningInfo(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.GetConsumerRunningInfoRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	return s.forward(ctx, &c.Command, h.ConsumerGroup, h.ClientID)
}

// ConsumeDirectly serves CONSUME_MESSAGE_DIRECTLY (309): a client gets a stored message to consume now, outside of
// the order and without an effect on offsets, and its verdict comes back.
func (s *Service) ConsumeDirectly(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.ConsumeMessageDirectlyResultRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	_, physical, err := message.ParseOffsetID(h.MsgID)
	if err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "msgId [%s] cannot be read: %v", h.MsgID, err)
	}
	c.Set("brokerName", s.cfg.Broker)
	if config := s.cfg.Topics.Get([]byte(h.Topic)); config != nil {
		c.Set("topicSysFlag", number(int64(config.SysFlag)))
	}
	if config := s.cfg.Groups.Get([]byte(h.ConsumerGroup)); config != nil {
		c.Set("groupSysFlag", number(int64(config.SysFlag)))
	}
	if c.Body, err = s.cfg.Store.Record(physical, nil); err != nil {
		return nil, nil, protocol.Errorf(protocol.SystemError, "there is no message at %d: %v", physical, err)
	}
	return s.forward(ctx, &c.Command, h.ConsumerGroup, h.ClientID)
}

// forward asks a connected client what the broker was asked, and waits for 10 s.
// Source: Java AdminBrokerProcessor.callConsumer.
func (s *Service) forward(ctx context.Context, c *protocol.Command, group, id string) (protocol.Fielder, []byte, error) {
	client, ok := s.cfg.Clients.Consumers.Find(group, id)
	if !ok {
		return nil, nil, protocol.Errorf(protocol.SystemError, "The Consumer <%s> <%s> not online", group, id)
	}
	if client.Version < versionAsk {
		return nil, nil, protocol.Errorf(protocol.SystemError,
			"The Consumer <%s> Version <%d> too low to finish, please upgrade it to V3_1_8_SNAPSHOT", id, client.Version)
	}
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	answer, err := client.Peer.Invoke(ctx, &protocol.Command{Code: c.Code, Fields: c.Fields, Body: c.Body})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, nil, protocol.Errorf(protocol.ConsumeMsgTimeout, "consumer <%s> <%s> Timeout: %v", group, id, err)
	case err != nil:
		return nil, nil, protocol.Errorf(protocol.SystemError, "invoke consumer <%s> <%s> Exception: %v", group, id, err)
	case answer.Code != protocol.Success:
		return nil, nil, &protocol.Error{Code: answer.Code, Remark: answer.Remark}
	}
	return nil, answer.Body, nil
}
