package route

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"rocketd/internal/laxjson"
	"rocketd/protocol"
	"rocketd/topic"
)

// Body returns the encoded route of a topic, nil if there is none. standard asks for quoted map keys, which clients
// since 4.9.4 expect; older ones get Java's dialect. The bytes are shared and may not be changed. Asking for a
// route that was asked for before allocates nothing.
func (t *Table) Body(name []byte, standard bool) []byte {
	if body := t.bodies.get(name, standard); body != nil { // without the table's lock, which a registration holds for long
		return body
	}
	t.mu.RLock()
	if t.topics[string(name)] == nil {
		t.mu.RUnlock()
		return nil
	}
	r, seen := t.route(string(name)), t.changes
	t.mu.RUnlock()
	if r == nil {
		return nil
	}
	body := EncodeRoute(r, standard) // without the lock: a route over a thousand brokers takes a millisecond
	t.mu.Lock()
	defer t.mu.Unlock()
	if seen == t.changes {
		t.bodies.put(string(name), standard, body)
	}
	return body
}

// EncodeRoute writes a route as a response body.
func EncodeRoute(r *protocol.TopicRouteData, standard bool) []byte {
	var options []laxjson.Option
	if standard {
		options = append(options, laxjson.QuoteKeys)
	}
	body, err := laxjson.Marshal(r, options...)
	if err != nil {
		panic(err) // our own type can be written
	}
	return body
}

// Route returns the route of a topic, nil if there is none: the topic needs queues, and at least one of their
// brokers an address. It shares nothing with the table.
func (t *Table) Route(name string) *protocol.TopicRouteData {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.route(name)
}

func (t *Table) route(name string) *protocol.TopicRouteData {
	e := t.topics[name]
	if e == nil {
		return nil
	}
	r := &protocol.TopicRouteData{
		QueueDatas:        slices.Clone(e.queues),
		BrokerDatas:       []protocol.BrokerData{},
		FilterServerTable: map[string][]string{},
	}
	if len(e.mappings) > 0 {
		r.TopicQueueMappingByBroker = maps.Clone(e.mappings)
	}
	for _, q := range e.queues {
		b := t.brokers[q.BrokerName]
		if b == nil {
			continue
		}
		for _, a := range b.addrs {
			if l := t.live[address{b.cluster, a}]; l != nil && len(l.filters) > 0 {
				r.FilterServerTable[a] = slices.Clone(l.filters)
			}
		}
		d := b.data(q.BrokerName)
		if t.cfg.ActingMaster && !strings.HasPrefix(name, topic.SyncMemberPrefix) && b.acting && !b.hasMaster() && q.Perm&int32(topic.PermWrite) == 0 {
			least := b.min()
			d.BrokerAddrs[0] = d.BrokerAddrs[least]
			delete(d.BrokerAddrs, least)
		}
		r.BrokerDatas = append(r.BrokerDatas, d)
	}
	if len(r.BrokerDatas) == 0 {
		return nil
	}
	return r
}

// KeepZone leaves of a route what is for clients of a zone: broker sets of that zone, in any case of letters, and
// those without a master. Source: Java ZoneRouteRPCHook.
func KeepZone(r *protocol.TopicRouteData, zone string) {
	gone := map[string]bool{}
	r.BrokerDatas = slices.DeleteFunc(r.BrokerDatas, func(b protocol.BrokerData) bool {
		if _, master := b.BrokerAddrs[0]; !master || strings.EqualFold(b.ZoneName, zone) {
			return false
		}
		gone[b.BrokerName] = true
		for _, a := range b.BrokerAddrs {
			delete(r.FilterServerTable, a)
		}
		return true
	})
	r.QueueDatas = slices.DeleteFunc(r.QueueDatas, func(q protocol.QueueData) bool { return gone[q.BrokerName] })
}

// maxCached bounds the encoded routes that are kept; when it is reached they are all made anew.
const maxCached = 256 << 20

// cache holds encoded routes by topic, in both dialects. Only who holds the table's lock changes it; anybody reads.
type cache struct {
	mu              sync.RWMutex // guards:
	plain, standard map[string][]byte
	size            int
}

func (c *cache) of(standard bool) map[string][]byte {
	if standard {
		return c.standard
	}
	return c.plain
}

func (c *cache) get(name []byte, standard bool) []byte {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.of(standard)[string(name)]
}

func (c *cache) put(name string, standard bool, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size += len(body); c.size > maxCached {
		c.empty()
		c.size = len(body)
	}
	c.of(standard)[name] = body
}

func (c *cache) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size -= len(c.plain[name]) + len(c.standard[name])
	delete(c.plain, name)
	delete(c.standard, name)
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.empty()
}

func (c *cache) empty() { c.plain, c.standard, c.size = map[string][]byte{}, map[string][]byte{}, 0 }
