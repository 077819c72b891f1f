package lite

import (
	"slices"

	"rocketd/topic"
)

// An event says that something may wait in a queue. For each group one client gets it; a client has each queue at most once.

// dispatch gives the event of a queue to one client of each group that subscribes to it, or of one group only. It returns who
// got one, so that a request of theirs that is held can be answered. exclude is preferred to nobody else.
func (b *board) dispatch(queue, group string, exclude *client, nowMs int64) (wake []string) {
	byGroup := func(g string, clients []*client) {
		if c := b.choose(queue, clients, exclude, nowMs); c != nil {
			wake = append(wake, c.id)
		}
	}
	switch all := b.queues[queue]; {
	case len(all) == 1:
		if group == "" || all[0].group == group {
			byGroup(all[0].group, all)
		}
	case len(all) > 1:
		groups := make(map[string][]*client)
		for _, c := range all {
			if group == "" || c.group == group {
				groups[c.group] = append(groups[c.group], c)
			}
		}
		for g, clients := range groups {
			byGroup(g, clients)
		}
	}
	if len(b.wild) > 0 {
		parent, _, _ := topic.SplitLite(queue)
		for g, clients := range b.wild[parent] {
			if group == "" || group == g {
				byGroup(g, clients)
			}
		}
	}
	return wake
}

// choose gives the event to a client of one group: to one that was there of late, if any has room. Source: Java
// LiteEventDispatcher.selectAndDispatch.
func (b *board) choose(queue string, clients []*client, exclude *client, nowMs int64) *client {
	start := 0
	if len(clients) > 1 {
		start = b.roll(len(clients))
	}
	for _, second := range [2]bool{false, true} {
		for i := range clients {
			c := clients[(start+i)%len(clients)]
			if second == (c == exclude || nowMs < c.avoid) && c.offer(queue, nowMs) {
				return c
			}
		}
	}
	for _, c := range clients { // none has room: all their queues are looked at when they have
		if c.lookMs == 0 {
			c.lookMs = nowMs + b.delayMs(c.rules.wild)
		}
	}
	return nil
}

// offer queues an event unless there is no room. One that is queued is not queued twice.
func (c *client) offer(queue string, nowMs int64) bool {
	if _, has := c.queued[queue]; has {
		return true
	}
	if len(c.events) >= c.rules.maxEvents {
		return false
	}
	if len(c.events) == 0 {
		c.sinceMs = nowMs
	}
	c.queued[queue] = struct{}{}
	c.events = append(c.events, queue)
	return true
}

// next takes the first event of a client of a group, unless it is one of those that were tried: that one stays for the next
// request.
func (b *board) next(id, group string, tried []string, nowMs int64) (queue string, ok bool) {
	c := b.clients[id]
	if c == nil || c.group != group {
		return "", false
	}
	c.askedMs = nowMs
	if len(c.events) == 0 || slices.Contains(tried, c.events[0]) {
		return "", false
	}
	queue = c.events[0]
	c.events = c.events[1:]
	delete(c.queued, queue)
	return queue, true
}

// giveBack puts an event in the first place again. Where its client is gone or wants it no more, others of its group get it, and it
// returns whom to wake.
func (b *board) giveBack(id, group, queue string, nowMs int64) (wake []string) {
	c := b.clients[id]
	if c == nil || !c.rules.wild && !c.subscribes(queue) {
		return b.dispatch(queue, group, nil, nowMs)
	}
	if _, has := c.queued[queue]; !has {
		c.queued[queue] = struct{}{}
		c.events = slices.Insert(c.events, 0, queue)
	}
	return nil
}

// has tells whether something may wait for a client.
func (b *board) has(id string, nowMs int64) bool {
	c := b.clients[id]
	if c == nil {
		return false
	}
	c.askedMs = nowMs
	return len(c.events) > 0
}

// blocked tells whether a client does not ask for what it is offered.
func (c *client) blocked(nowMs int64) bool {
	return nowMs-c.askedMs > idleMs || len(c.events) > 0 && nowMs-max(c.askedMs, c.sinceMs) > stuckMs
}

// look is a client all of whose queues are to be looked at.
type look struct {
	client, group, parent string
	queues                []string // all that it subscribes to; nil: all lite topics of its parent
}

// scan takes the events from clients that do not ask for them, and gives them to others where there are any. It returns whom
// to wake, and who is due to be looked at: of a wildcard group one, since what it finds goes to all. Source: Java LiteEventDispatcher.scan.
func (b *board) scan(nowMs int64) (wake []string, looks []look) {
	left := make(map[*client][]string)
	for _, c := range b.clients {
		if c.blocked(nowMs) {
			c.avoid = nowMs + avoidedMs
			if len(c.events) > 0 {
				left[c], c.events = c.events, nil
				clear(c.queued)
			}
		}
	}
	for c, events := range left {
		for _, queue := range events {
			wake = append(wake, b.dispatch(queue, c.group, c, nowMs)...)
		}
	}
	wild := make(map[string]bool)
	for _, c := range b.clients {
		switch {
		case c.lookMs == 0 || c.lookMs > nowMs:
		case nowMs < c.avoid || len(c.events)*5 >= c.rules.maxEvents: // it is not there, or has enough to do
			c.lookMs = nowMs + b.delayMs(c.rules.wild)
		default:
			c.lookMs = 0
			if name := wildName(c.parent, c.group); c.rules.wild {
				if wild[name] {
					continue
				}
				wild[name] = true
			}
			looks = append(looks, c.look())
		}
	}
	return wake, looks
}

func (c *client) look() look {
	l := look{client: c.id, group: c.group, parent: c.parent}
	if !c.rules.wild {
		l.queues = make([]string, 0, len(c.topics))
		for name := range c.topics {
			l.queues = append(l.queues, name)
		}
	}
	return l
}

// looked gives a client the events of queues in which something waits, as far as there is room, or its group if that is a
// wildcard group.
func (b *board) looked(l *look, found []string, nowMs int64) (wake []string) {
	c := b.clients[l.client]
	if c == nil {
		return nil
	}
	for _, queue := range found {
		if l.queues == nil {
			wake = append(wake, b.dispatch(queue, c.group, nil, nowMs)...)
			if c.lookMs != 0 {
				break
			}
			continue
		}
		if _, still := c.topics[queue]; !still {
			continue
		}
		if !c.offer(queue, nowMs) {
			c.lookMs = nowMs + b.delayMs(false)
			break
		}
	}
	if len(c.events) > 0 {
		wake = append(wake, c.id)
	}
	return wake
}

// looksOf returns looks at one client of a group, or at all.
func (b *board) looksOf(group, id string) (looks []look) {
	for _, c := range b.clients {
		if c.group == group && (id == "" || c.id == id) {
			looks = append(looks, c.look())
		}
	}
	return looks
}
