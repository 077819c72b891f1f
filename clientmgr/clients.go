// Package clientmgr knows who is connected: the producers and consumers of each group, what consumer groups have
// subscribed, and which client holds which queue lock. It learns from heartbeats and from connections that close.
// Its tables are plain state: the time is an argument, nothing runs on its own.
package clientmgr

import (
	"time"

	"rocketd/protocol"
)

const (
	// clientLife is how long a client lives without a heartbeat. Source: Java ConsumerManager, ProducerManager
	// CHANNEL_EXPIRED_TIMEOUT.
	clientLife = 120 * time.Second

	// maxGroups bounds the groups of one kind that a connection may be in, so that no client can fill the memory.
	maxGroups = 10_000
)

// Client is one member of a group: a process on the other side of a connection. Source: Java ClientChannelInfo.
type Client struct {
	ID       string // unique per process, "ip@instance"
	Peer     protocol.Peer
	Language protocol.Language
	Version  int32
	Seen     time.Time // last heartbeat
}

// Clients are the three tables of one broker.
type Clients struct {
	Consumers *Consumers
	Producers *Producers
	Locks     *Locks
}

// Changed is the bell of the client manager: the members of a consumer group, or the topics it subscribes, have
// changed. It rings without locks, in the turn that t belongs to (nil outside a turn), with the connections of all
// members; not for broadcasting groups, nor for those whose members do not want to be told.
type Changed func(t *protocol.Turn, group string, peers []protocol.Peer)

// New makes empty tables. changed may be nil.
func New(changed Changed) *Clients {
	return &Clients{NewConsumers(changed), NewProducers(), NewLocks()}
}

// Closed forgets a connection: its groups lose a member, its queue locks are free at once.
func (c *Clients) Closed(t *protocol.Turn, p protocol.Peer) {
	c.Producers.Closed(p)
	c.Locks.Closed(p) // before the members that are told now ask for the locks
	c.Consumers.Closed(t, p)
}

// Expire removes whoever was not heard of for 120 s, and queue locks that ran out. A connection that is left in no
// group is hung up. It is to be called every 10 s or so.
func (c *Clients) Expire(t *protocol.Turn, now time.Time) {
	c.Locks.Expire(now)
	idle := append(c.Producers.Expire(now), c.Consumers.Expire(t, now)...)
	for _, p := range idle {
		if !c.Producers.Has(p) && !c.Consumers.Has(p) {
			p.Close()
		}
	}
}
