package offset

import (
	"sync"
	"time"
)

// Broadcast keeps how far each client of broadcasting groups has pulled, so that one that goes from a proxy to the broker, or
// back, is told where to go on. Clients that pull from the broker keep their offsets themselves; those behind a proxy have none.
// What no client is behind is committed to the table of offsets, under "group@broadcast", which is on the disk and at slaves:
// it is where a client begins that nothing else is known of. Source: Java BroadcastOffsetManager.
type Broadcast struct {
	offsets *Table

	mu     sync.Mutex // guards what follows
	groups map[string]map[string]map[string]*heard
	count  int // clients in groups
}

// heard is a client of a group and a topic.
type heard struct {
	at    time.Time // of its latest pull
	proxy bool      // which came through a proxy
	next  map[int32]int64
}

// maxHeard bounds the clients of all groups and topics, which proxies name as they like; more are not remembered.
const maxHeard = 1 << 16

// maxClientID bounds the length of what is kept of one, in bytes; longer ones are not remembered.
const maxClientID = 1 << 10

// Listener is who pulls a queue.
type Listener struct {
	Group, Topic []byte
	Queue        int32
	Client       string // its ID
	Proxy        bool   // it pulls through a proxy
}

// NewBroadcast makes an empty one; it commits to offsets.
func NewBroadcast(offsets *Table) *Broadcast {
	return &Broadcast{offsets: offsets, groups: make(map[string]map[string]map[string]*heard)}
}

// broadcastGroup is the group in the table of offsets that stands for all clients of a group.
func broadcastGroup(group string) string { return group + "@broadcast" }

// Begin tells whether a pull from offset from on is to begin elsewhere: one through a proxy that asks where, or one of a client that
// came another way before. The offset is negative if there is none to go on from.
func (b *Broadcast) Begin(l Listener, from int64) (offset int64, begin bool) {
	offset, begin = b.begin(l, from)
	if begin && offset < 0 {
		if committed, ok := b.offsets.Get([]byte(broadcastGroup(string(l.Group))), l.Topic, l.Queue); ok {
			offset = committed
		}
	}
	return offset, begin
}

func (b *Broadcast) begin(l Listener, from int64) (offset int64, begin bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.groups[string(l.Group)][string(l.Topic)][l.Client]
	if h == nil {
		return -1, l.Proxy && from < 0
	}
	offset, ok := h.next[l.Queue]
	if !ok {
		offset = -1
	}
	return offset, h.proxy != l.Proxy || h.proxy && from < 0
}

// Pulled notes that a client has everything before an offset. A smaller one than before does not count.
func (b *Broadcast) Pulled(l Listener, offset int64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.groups[string(l.Group)][string(l.Topic)][l.Client]
	if h == nil {
		if h = b.add(&l); h == nil {
			return
		}
	}
	h.at, h.proxy = now, l.Proxy
	if old, ok := h.next[l.Queue]; !ok || old < offset {
		put(&h.next, l.Queue, offset)
	}
}

// add enters a client, or returns nil. b.mu is held.
func (b *Broadcast) add(l *Listener) *heard {
	if b.count >= maxHeard || l.Client == "" || len(l.Client) > maxClientID {
		return nil
	}
	topics := b.groups[string(l.Group)]
	if topics == nil {
		topics = make(map[string]map[string]*heard)
		b.groups[string(l.Group)] = topics
	}
	clients := topics[string(l.Topic)]
	if clients == nil {
		clients = make(map[string]*heard)
		topics[string(l.Topic)] = clients
	}
	h := new(heard)
	clients[l.Client] = h
	b.count++
	return h
}

// Commit commits, for each group, topic and queue, the least offset of all its clients, and forgets clients: who is not connected
// any more after life without a pull, and who is after longest. connected are the IDs of a group's clients.
func (b *Broadcast) Commit(now time.Time, life, longest time.Duration, connected func(group string) []string) {
	for _, group := range b.names() {
		there := make(map[string]bool)
		for _, id := range connected(group) {
			there[id] = true
		}
		for name, least := range b.least(group, now, life, longest, there) {
			for queue, offset := range least {
				b.commit(broadcastGroup(group), name, queue, offset)
			}
		}
	}
}

func (b *Broadcast) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, 0, len(b.groups))
	for group := range b.groups {
		names = append(names, group)
	}
	return names
}

// least returns the least offset of each topic and queue, and forgets whom it may.
func (b *Broadcast) least(group string, now time.Time, life, longest time.Duration, connected map[string]bool) map[string]map[int32]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]map[int32]int64)
	for name, clients := range b.groups[group] {
		all[name] = make(map[int32]int64)
		for id, h := range clients {
			silent := now.Sub(h.at)
			if connected[id] || silent < life {
				lower(all[name], h.next)
			}
			if connected[id] && silent >= longest || !connected[id] && silent >= life {
				delete(clients, id)
				b.count--
			}
		}
		if len(clients) == 0 {
			delete(b.groups[group], name)
		}
	}
	if len(b.groups[group]) == 0 {
		delete(b.groups, group)
	}
	return all
}

// lower makes least the smaller offset of each queue.
func lower(least, next map[int32]int64) {
	for queue, offset := range next {
		if old, ok := least[queue]; !ok || offset < old {
			least[queue] = offset
		}
	}
}

// commit leaves the table alone where it says so already.
func (b *Broadcast) commit(group, topic string, queue int32, offset int64) {
	if old, ok := b.offsets.Get([]byte(group), []byte(topic), queue); !ok || old != offset {
		b.offsets.Commit([]byte(group), []byte(topic), queue, offset)
	}
}
