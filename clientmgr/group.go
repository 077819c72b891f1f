package clientmgr

import (
	"slices"

	"rocketd/filter"
	"rocketd/protocol"
)

// Group is what a consumer group has told in heartbeats. The last heartbeat of any member wins. It is immutable; a
// change makes a new one. Source: Java ConsumerGroupInfo.
type Group struct {
	Name  string
	Type  protocol.ConsumeType
	Model protocol.MessageModel
	From  protocol.ConsumeFromWhere

	topics map[string]*subscribed
}

type subscribed struct {
	data   protocol.SubscriptionData
	filter *filter.Filter
}

// Subscription is what a pull has to know about a group and a topic.
type Subscription struct {
	Version   int64          // when the client subscribed, ms
	Type      string         // of the expression
	Filter    *filter.Filter // nil when the expression cannot be compiled
	Broadcast bool           // the group's model
	Pushed    bool           // the group's clients pull by themselves for who listens
}

// Subscription returns what the group has subscribed of a topic, and whether it has.
func (g *Group) Subscription(topic []byte) (Subscription, bool) {
	s := Subscription{Broadcast: g.Model == protocol.Broadcasting, Pushed: g.Type == protocol.ConsumePassively}
	t, ok := g.topics[string(topic)]
	if ok {
		s.Version, s.Type, s.Filter = t.data.SubVersion, t.data.ExpressionType, t.filter
	}
	return s, ok
}

// Topics returns the subscribed topics in alphabetical order.
func (g *Group) Topics() []string {
	names := make([]string, 0, len(g.topics))
	for name := range g.topics {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Data returns a subscription as the client sent it, or nil. It must not be changed.
func (g *Group) Data(topic string) *protocol.SubscriptionData {
	if t := g.topics[topic]; t != nil {
		return &t.data
	}
	return nil
}

// subscribe returns the topics of g after a heartbeat with the given subscriptions: new ones are added, those with
// a newer version replace, absent ones go. differs tells that anything is other than before, changed that the set
// of topics is.
func (g *Group) subscribe(subs []protocol.SubscriptionData) (topics map[string]*subscribed, differs, changed bool) {
	topics = make(map[string]*subscribed, len(subs))
	for _, data := range subs {
		if data.Topic == "" {
			continue
		}
		old, had := g.topics[data.Topic]
		if twice := topics[data.Topic]; twice != nil {
			old = twice
		}
		switch {
		case old != nil && data.SubVersion <= old.data.SubVersion:
			topics[data.Topic] = old
		default:
			topics[data.Topic] = &subscribed{data, compile(&data)}
			differs = true
			changed = changed || !had
		}
	}
	if len(topics) != len(g.topics) { // with no new topic, the old ones can only have become fewer
		changed = true
	}
	return topics, differs || changed, changed
}

// compile returns nil for an expression that is none: who pulls with it is told so.
func compile(data *protocol.SubscriptionData) *filter.Filter {
	switch {
	case data.ClassFilterMode:
		return filter.All()
	case filter.IsTag(data.ExpressionType):
		return filter.FromCodes(data.SubString, data.CodeSet)
	}
	f, err := filter.Compile(data.ExpressionType, data.SubString)
	if err != nil {
		return nil
	}
	return f
}
