package lite

import (
	"context"
	"strings"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// maxName bounds the names that a client may make this broker keep; nothing that has messages has a longer one.
const maxName = topic.MaxRetryLength

// Control serves LITE_SUBSCRIPTION_CTL (200071): which lite topics clients subscribe to. It runs on the pool. Entries without a
// client, group or topic are passed over; after the first one that is refused none is looked at. Body:
// LiteSubscriptionCtlRequestBody. Source: Java LiteSubscriptionCtlProcessor, LiteSubscriptionRegistryImpl.
func (s *Service) Control(ctx context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	if len(c.Body) == 0 {
		return nil, nil, refuse(protocol.IllegalOperation, "Request body is null.")
	}
	var body protocol.LiteSubscriptionCtlRequestBody
	if err := laxjson.Unmarshal(c.Body, &body); err != nil {
		return nil, nil, refuse(protocol.SystemError, "the body cannot be read: %v", err)
	}
	if len(body.SubscriptionSet) == 0 {
		return nil, nil, refuse(protocol.IllegalOperation, "LiteSubscriptionCtlRequestBody is empty.")
	}
	for _, e := range body.SubscriptionSet {
		if e == nil || blank(e.ClientID) || blank(e.Group) || blank(e.Topic) {
			continue
		}
		if err := s.control(ctx, c.Peer, e); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, nil
}

func blank(text string) bool { return strings.TrimSpace(text) == "" }

func (s *Service) control(ctx context.Context, peer protocol.Peer, e *protocol.LiteSubscription) error {
	switch e.Action {
	case protocol.LitePartialAdd, protocol.LiteCompleteAdd:
		return s.subscribe(ctx, peer, e)
	case protocol.LitePartialRemove:
		s.unsubscribe(e)
	case protocol.LiteCompleteRemove:
		s.leave([]string{e.ClientID})
	default:
		return refuse(protocol.SystemError, "action of client %.100q is none", e.ClientID)
	}
	return nil
}

// subscribe serves the actions that add.
func (s *Service) subscribe(ctx context.Context, peer protocol.Peer, e *protocol.LiteSubscription) error {
	g := s.cfg.Groups.Get([]byte(e.Group))
	if g == nil || !g.ConsumeEnable {
		return refuse(protocol.IllegalOperation, "Consumer group is not allowed to consume.")
	}
	if len(e.ClientID) > maxName || len(e.Topic) > topic.MaxLength {
		return refuse(protocol.IllegalOperation, "clientId or topic is too long: %d, %d", len(e.ClientID), len(e.Topic))
	}
	r := s.rulesOf(g)
	partial := e.Action == protocol.LitePartialAdd
	if partial && r.wild {
		return refuse(protocol.IllegalOperation, "subscribe lite operation is not supported for this group")
	}
	var names []string
	if r.wild {
		names = []string{wildName(e.Topic, e.Group)}
	} else {
		shards := s.shards(ctx, e.Topic)
		for _, lite := range e.LiteTopics {
			if lite == "" || len(topic.LiteQueue(e.Topic, lite)) > maxName {
				return refuse(protocol.IllegalOperation, "liteTopicSet has a name that no lite topic can have: %.100q", lite)
			}
			// It is one of this broker if its messages are sent here, or were.
			if name := topic.LiteQueue(e.Topic, lite); shards.here(s.cfg.Name, lite) || end(s.queue(name)) > 0 {
				names = append(names, name)
			}
		}
	}
	if partial {
		return s.addSome(peer, e, r, names)
	}
	return s.addAll(peer, e, r, names)
}

// full tells whether n more subscriptions are too many. Those that clients have lost and do not know of count too. A client counts
// as one, so that those that subscribe to nothing are bounded too.
func (s *Service) full(b *board, id string, n int) bool {
	most := s.cfg.MaxSubscriptions()
	return b.refs+b.losses+n > most || b.clients[id] == nil && len(b.clients) >= most
}

func (s *Service) quota() error {
	return refuse(protocol.LiteSubscriptionQuotaExceeded, "lite subscription quota exceeded %d", s.cfg.MaxSubscriptions())
}

// addSome adds lite topics to what a client subscribes to. In an exclusive group they are taken from whoever has them.
func (s *Service) addSome(peer protocol.Peer, e *protocol.LiteSubscription, r rules, names []string) error {
	now := s.cfg.Now().UnixMilli()
	var from []taken
	var fresh []string
	full := false
	s.on(func(b *board) {
		n := len(names)
		if c := b.clients[e.ClientID]; c != nil {
			for _, name := range names {
				if c.subscribes(name) || c.hasLost(name) {
					n--
				}
			}
		}
		if full = s.full(b, e.ClientID, n); full {
			return
		}
		c := b.client(e.ClientID, e.Group, e.Topic, peer, r, now)
		for _, name := range names {
			b.find(c, name)
			if r.exclusive {
				for _, x := range b.exclude(c, name) {
					from = append(from, x)
					if r.resetExclusive {
						s.reset(b, x.group, name, &fromFirst)
					}
				}
			}
			s.reset(b, e.Group, name, e.OffsetOption)
			if b.add(c, name) || e.OffsetOption != nil {
				fresh = append(fresh, name)
			}
		}
	})
	if full {
		return s.quota()
	}
	s.tell(from)
	s.announce(e.Group, fresh)
	return nil
}

// addAll makes lite topics all that a client subscribes to.
func (s *Service) addAll(peer protocol.Peer, e *protocol.LiteSubscription, r rules, names []string) error {
	now := s.cfg.Now().UnixMilli()
	var fresh, wake []string
	var again []taken
	full := false
	s.on(func(b *board) {
		had := 0
		if c := b.clients[e.ClientID]; c != nil {
			had = len(c.topics) + len(c.lost)
		}
		if full = s.full(b, e.ClientID, len(names)-had); full {
			return
		}
		fresh, again, wake = b.replace(b.client(e.ClientID, e.Group, e.Topic, peer, r, now), names, now)
	})
	if full {
		return s.quota()
	}
	s.tell(again)
	s.wake(nil, wake)
	s.announce(e.Group, fresh)
	return nil
}

// announce gives a group the events of queues that a client of it is new to. One of a wildcard group is new to all.
func (s *Service) announce(group string, queues []string) {
	for _, name := range queues {
		switch {
		case !topic.IsLite(name):
			s.lookAt(s.looks(group, ""))
		case end(s.queue(name)) > 0:
			s.dispatch(nil, name, group)
		}
	}
}

func (s *Service) unsubscribe(e *protocol.LiteSubscription) {
	now := s.cfg.Now().UnixMilli()
	var wake []string
	s.on(func(b *board) {
		c := b.clients[e.ClientID]
		if c == nil {
			return
		}
		c.toldMs = now
		for _, lite := range e.LiteTopics {
			name := topic.LiteQueue(e.Topic, lite)
			b.find(c, name)
			had, event := b.remove(c, name)
			if had && c.rules.resetLeave && s.queue(name) != nil {
				s.reset(b, c.group, name, &fromFirst)
			}
			if event {
				wake = append(wake, b.dispatch(name, c.group, nil, now)...)
			}
		}
	})
	s.wake(nil, wake)
}

// leave forgets clients.
func (s *Service) leave(ids []string) {
	now := s.cfg.Now().UnixMilli()
	var wake []string
	s.on(func(b *board) {
		for _, id := range ids {
			wake = append(wake, b.drop(id, now)...)
		}
	})
	s.wake(nil, wake)
}

// tell says to clients that they have lost lite topics (NOTIFY_UNSUBSCRIBE_LITE, one-way).
func (s *Service) tell(from []taken) {
	for _, x := range from {
		if x.peer == nil {
			continue
		}
		_, lite, _ := topic.SplitLite(x.queue)
		c := &protocol.Command{Code: protocol.NotifyUnsubscribeLite}
		c.SetOneway()
		c.Set("liteTopic", lite)
		c.Set("consumerGroup", x.group)
		c.Set("clientId", x.client)
		x.peer.Send(nil, c)
	}
}

var fromFirst = protocol.OffsetOption{Type: protocol.OffsetPolicy, Value: protocol.PolicyMin}

// reset has a group begin a queue elsewhere. What it has popped of it counts no more. Source: Java
// LiteSubscriptionRegistryImpl.resetOffset; a time is not looked for, as there. A queue that is not there yet is one that the caller has a client subscribe to.
func (s *Service) reset(b *board, group, queue string, o *protocol.OffsetOption) {
	if o == nil {
		return
	}
	current, known := s.cfg.Offsets.Get([]byte(group), []byte(queue), 0)
	if !known {
		current = -1
	}
	target := int64(-1)
	switch o.Type {
	case protocol.OffsetPolicy:
		switch o.Value {
		case protocol.PolicyMin:
			target = 0
		case protocol.PolicyMax:
			target = end(s.queue(queue))
		}
	case protocol.OffsetExact:
		target = o.Value
	case protocol.OffsetTail:
		if known {
			target = max(current-o.Value, 0)
		}
	}
	if target < 0 || target == current {
		return
	}
	if s.queue(queue) == nil {
		b.early[queue] = struct{}{}
	}
	s.cfg.Offsets.Reset(group, queue, 0, target)
	b.lines.clear(queue, group)
}
