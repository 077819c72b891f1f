package member

import (
	"context"

	"rocketd/clientmgr"
	"rocketd/protocol"
	"rocketd/topic"
)

// Heartbeat serves HEART_BEAT: it registers the client in its producer and consumer groups. A consumer group that is
// unknown, and its retry topic, are made first where the broker may; where it may not, the group is passed over
// without a word. The answer says in IS_SUB_CHANGE whether the next heartbeat should bring the subscriptions, which a
// client may leave out in version 2. Source: Java ClientManageProcessor.
func (s *Service) Heartbeat(c *protocol.Call) error {
	d := new(protocol.HeartbeatData)
	if err := read(c, d); err != nil {
		return err
	}
	if s.complete(d) {
		return s.register(c, d)
	}
	s.cfg.Offload(c, func(ctx context.Context, c *protocol.Call) error {
		if err := s.create(ctx, d); err != nil {
			return err
		}
		s.cfg.Resume(c, func(c *protocol.Call) error { return s.register(c, d) })
		return nil
	})
	return nil
}

// complete tells whether all groups and retry topics exist.
func (s *Service) complete(d *protocol.HeartbeatData) bool {
	for i := range d.ConsumerDataSet {
		g := &d.ConsumerDataSet[i]
		if s.wanted(g) && (s.cfg.Groups.Get([]byte(g.GroupName)) == nil || s.cfg.Topics.Get([]byte(topic.RetryTopic(g.GroupName))) == nil) {
			return false
		}
	}
	return true
}

// create makes the groups and retry topics that are missing.
func (s *Service) create(ctx context.Context, d *protocol.HeartbeatData) error {
	var retry []*topic.Config
	for i := range d.ConsumerDataSet {
		g := &d.ConsumerDataSet[i]
		if !s.wanted(g) {
			continue
		}
		group, err := s.group(ctx, g.GroupName)
		if err != nil {
			return err
		}
		if group != nil && s.cfg.Topics.Get([]byte(topic.RetryTopic(g.GroupName))) == nil {
			cfg := topic.NewConfig(topic.RetryTopic(g.GroupName), group.RetryQueueNums)
			cfg.Order = s.ordered(g)
			if g.UnitMode {
				cfg.SysFlag = topic.FlagUnitSub
			}
			retry = append(retry, cfg)
		}
	}
	if len(retry) == 0 {
		return nil
	}
	return s.cfg.Topics.Ensure(retry...)
}

// group returns a group, made if it has to be; nil where that may not be. It may block.
func (s *Service) group(ctx context.Context, name string) (*topic.GroupConfig, error) {
	if g := s.cfg.Groups.Get([]byte(name)); g != nil || topic.CheckGroup(name) != nil {
		return g, nil
	}
	return s.cfg.Groups.Create(ctx, name)
}

// register enters the client into its groups and answers.
func (s *Service) register(c *protocol.Call, d *protocol.HeartbeatData) error {
	client := clientmgr.Client{ID: d.ClientID, Peer: c.Peer, Language: c.Language, Version: c.Version}
	resend := d.HeartbeatFingerprint == 0
	for i := range d.ConsumerDataSet {
		g := &d.ConsumerDataSet[i]
		if !s.wanted(g) {
			continue
		}
		group := s.cfg.Groups.Get([]byte(g.GroupName))
		if group == nil {
			continue
		}
		r := s.cfg.Clients.Consumers.Register(c.Turn, c.Turn.Now, &clientmgr.Heartbeat{
			Group: g.GroupName, Client: client, Type: g.ConsumeType, Model: g.MessageModel, From: g.ConsumeFromWhere,
			Subscriptions: g.SubscriptionDataSet,
			WithoutSub:    d.WithoutSub && d.HeartbeatFingerprint != 0, // version 1 does not know it
			Fingerprint:   d.HeartbeatFingerprint,
			Quiet:         !group.NotifyConsumerIDsChangedEnable,
		})
		if r.TooMany {
			return tooMany(c)
		}
		resend = resend || r.Resend
	}
	for _, p := range d.ProducerDataSet {
		if p.GroupName != "" && !s.cfg.Clients.Producers.Register(c.Turn.Now, p.GroupName, client) {
			return tooMany(c)
		}
	}
	if c.IsOneway() {
		return nil
	}
	w := c.Ticket().Open(protocol.Success, "")
	w.Bool("IS_SUPPORT_HEART_BEAT_V2", true)
	w.Bool("IS_SUB_CHANGE", resend)
	w.Body()
	w.Send(c.Turn)
	return nil
}

// wanted tells whether a consumer group of a heartbeat counts.
func (s *Service) wanted(g *protocol.ConsumerData) bool {
	return g.GroupName != "" && !(g.ConsumeType == protocol.ConsumeActively && s.cfg.RejectPull())
}

// ordered tells whether the group subscribes a topic whose messages are in a global order.
func (s *Service) ordered(g *protocol.ConsumerData) bool {
	for i := range g.SubscriptionDataSet {
		if t := s.cfg.Topics.Get([]byte(g.SubscriptionDataSet[i].Topic)); t != nil && t.Order {
			return true
		}
	}
	return false
}

func tooMany(c *protocol.Call) error {
	return protocol.Errorf(protocol.SystemError, "the client %s is in too many groups", c.Peer.RemoteAddr())
}
