package lite

import (
	"math/rand/v2"
	"slices"

	"rocketd/protocol"
	"rocketd/topic"
)

// Source of the times: Java LiteEventDispatcher.
const (
	idleMs    = 35_000 // a client that has not asked for so long is not there: one long poll, and some
	stuckMs   = 10_000 // the same of one for whom there is something
	avoidedMs = 10_000 // others are preferred to one that was not there
)

// board knows who subscribes to which lite topics, and in which of them something waits for whom. It is a state without I/O:
// time comes in as an argument, what is to be done is returned. The caller holds its lock.
type board struct {
	clients map[string]*client
	queues  map[string][]*client            // by name of the queue: who subscribes to it
	wild    map[string]map[string][]*client // by parent and group: the clients of groups that take all lite topics
	refs    int                             // how many lite topics all clients subscribe to,
	losses  int                             // and how many they have lost
	lines   lines
	early   map[string]struct{} // queues without messages in which a subscription has set an offset
	idle    []string            // those of them that nobody subscribes to any more

	delayMs func(wild bool) int64 // from when an event finds no room to a look at all of a client's queues
	roll    func(n int) int       // a number below n
}

// client is one that consumes lite topics. Behind a proxy it has a proxy's connection.
type client struct {
	id, group, parent string
	peer              protocol.Peer // who hears that it lost a lite topic
	rules             rules
	topics            map[string]struct{} // names of queues; of a wildcard group its one name, parent@group
	lost              map[string]struct{} // those that another client of an exclusive group took, until this one knows
	toldMs            int64               // when it subscribed last
	askedMs           int64               // when it asked for messages last; 0: never

	events  []string // queues in which something may wait, in order
	queued  map[string]struct{}
	sinceMs int64 // since when there are any
	lookMs  int64 // when all its queues are to be looked at, as an event found no room; 0: never
	avoid   int64 // until when others are preferred, ms
}

// rules are what the attributes of a group say.
type rules struct {
	exclusive, wild            bool
	resetExclusive, resetLeave bool
	maxEvents                  int
}

func newBoard(delayMs func(wild bool) int64) *board {
	return &board{
		clients: make(map[string]*client), queues: make(map[string][]*client), wild: make(map[string]map[string][]*client),
		lines: newLines(), early: make(map[string]struct{}), delayMs: delayMs, roll: rand.IntN,
	}
}

// wildName is what a client of a wildcard group is said to subscribe to.
func wildName(parent, group string) string { return parent + "@" + group }

// client finds a client or makes it. One that is known keeps its group and parent topic, as in Java.
func (b *board) client(id, group, parent string, peer protocol.Peer, r rules, nowMs int64) *client {
	c := b.clients[id]
	if c == nil {
		c = &client{id: id, group: group, parent: parent, askedMs: nowMs, topics: make(map[string]struct{}), lost: make(map[string]struct{}), queued: make(map[string]struct{})}
		b.clients[id] = c
	}
	c.peer, c.rules, c.toldMs = peer, r, nowMs
	return c
}

// subscribes tells whether a client subscribes to a queue.
func (c *client) subscribes(queue string) bool {
	_, has := c.topics[queue]
	return has
}

// taken is a lite topic that a client has lost to another one of its group.
type taken struct {
	peer                 protocol.Peer
	client, group, queue string
}

// exclude takes a queue from all clients of c's group but c itself, which is to have it alone.
func (b *board) exclude(c *client, queue string) (from []taken) {
	for _, x := range slices.Clone(b.queues[queue]) {
		if x != c && x.group == c.group {
			b.remove(x, queue)
			x.lost[queue] = struct{}{}
			b.losses++
			from = append(from, taken{x.peer, x.id, x.group, queue})
		}
	}
	return from
}

func (c *client) hasLost(queue string) bool {
	_, lost := c.lost[queue]
	return lost
}

// find ends that a client has lost a queue: it knows.
func (b *board) find(c *client, queue string) {
	if c.hasLost(queue) {
		delete(c.lost, queue)
		b.losses--
	}
}

// add has a client subscribe to a queue. It returns whether that is new.
func (b *board) add(c *client, queue string) bool {
	if _, has := c.topics[queue]; has {
		return false
	}
	c.topics[queue] = struct{}{}
	b.refs++
	if c.rules.wild && queue == wildName(c.parent, c.group) {
		if b.wild[c.parent] == nil {
			b.wild[c.parent] = make(map[string][]*client)
		}
		b.wild[c.parent][c.group] = append(b.wild[c.parent][c.group], c)
		return true
	}
	b.queues[queue] = append(b.queues[queue], c)
	return true
}

// remove ends a subscription. It returns whether there was one, and whether an event is left over that others may want.
func (b *board) remove(c *client, queue string) (had, event bool) {
	if _, had = c.topics[queue]; !had {
		return false, false
	}
	delete(c.topics, queue)
	b.refs--
	if left := without(b.queues[queue], c); len(left) > 0 {
		b.queues[queue] = left
	} else {
		delete(b.queues, queue)
		if _, set := b.early[queue]; set {
			delete(b.early, queue)
			b.idle = append(b.idle, queue)
		}
	}
	if groups := b.wild[c.parent]; queue == wildName(c.parent, c.group) && groups != nil {
		if groups[c.group] = without(groups[c.group], c); len(groups[c.group]) == 0 {
			delete(groups, c.group)
		}
		if len(groups) == 0 {
			delete(b.wild, c.parent)
		}
	}
	if _, event = c.queued[queue]; event {
		delete(c.queued, queue)
		c.events = slices.DeleteFunc(c.events, func(name string) bool { return name == queue })
	}
	return true, event
}

func without(list []*client, c *client) []*client {
	return slices.DeleteFunc(list, func(x *client) bool { return x == c })
}

// replace makes names all that a client subscribes to. Those that it has lost and still names it does not get: it is to be told
// again. fresh are new to it.
func (b *board) replace(c *client, names []string, nowMs int64) (fresh []string, again []taken, wake []string) {
	want := make(map[string]struct{}, len(names))
	for _, name := range names {
		want[name] = struct{}{}
	}
	for name := range c.lost {
		if _, still := want[name]; still {
			again = append(again, taken{c.peer, c.id, c.group, name})
			delete(want, name)
		} else {
			b.find(c, name)
		}
	}
	for name := range c.topics {
		if _, still := want[name]; !still {
			if _, event := b.remove(c, name); event {
				wake = append(wake, b.dispatch(name, c.group, nil, nowMs)...)
			}
		}
	}
	for name := range want {
		if b.add(c, name) {
			fresh = append(fresh, name)
		}
	}
	return fresh, again, wake
}

// drop forgets a client. What waited for it goes to others of its group.
func (b *board) drop(id string, nowMs int64) (wake []string) {
	c := b.clients[id]
	if c == nil {
		return nil
	}
	delete(b.clients, id)
	b.losses -= len(c.lost)
	events := slices.Clone(c.events)
	for name := range c.topics {
		b.remove(c, name)
	}
	for _, queue := range events {
		wake = append(wake, b.dispatch(queue, c.group, nil, nowMs)...)
	}
	return wake
}

// forget ends all subscriptions to a queue that is deleted, and what is popped of it.
func (b *board) forget(queue string) {
	for _, c := range slices.Clone(b.queues[queue]) {
		b.remove(c, queue)
	}
	if parent, _, ok := topic.SplitLite(queue); ok {
		for _, clients := range b.wild[parent] {
			for _, c := range clients {
				if _, event := c.queued[queue]; event {
					delete(c.queued, queue)
					c.events = slices.DeleteFunc(c.events, func(name string) bool { return name == queue })
				}
			}
		}
	}
	b.lines.forget(queue)
}

// subscribers returns who subscribes to a queue, in no order.
func (b *board) subscribers(queue string) (list []protocol.ClientGroup) {
	for _, c := range b.queues[queue] {
		list = append(list, protocol.ClientGroup{ClientID: c.id, Group: c.group})
	}
	parent, _, _ := topic.SplitLite(queue)
	for _, clients := range b.wild[parent] {
		for _, c := range clients {
			list = append(list, protocol.ClientGroup{ClientID: c.id, Group: c.group})
		}
	}
	return list
}

// expired returns the clients that have not said for longer than timeout that they are there.
func (b *board) expired(nowMs, timeoutMs int64) (ids []string) {
	for id, c := range b.clients {
		if nowMs-c.toldMs > timeoutMs {
			ids = append(ids, id)
		}
	}
	return ids
}
