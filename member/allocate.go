package member

import (
	"cmp"
	"crypto/md5"
	"fmt"
	"slices"
	"strings"

	"rocketd/protocol"
)

// strategy shares out queues among clients, both sorted, and returns those of clients[i]. Strategies go by the names that
// Java's clients send; each client of a group must get the same answer about the others.
type strategy func(queues []protocol.MessageQueue, clients []string, i int) []protocol.MessageQueue

var strategies = map[string]strategy{"AVG": average, "AVG_BY_CIRCLE": circle, costly: consistentHash}

// costly is the strategy that is not for a turn: it hashes each member of the group ten times.
const costly = "CONSISTENT_HASH"

// average gives each client a run of queues, the first ones one more where it does not come out even. Source: Java
// AllocateMessageQueueAveragely.
func average(queues []protocol.MessageQueue, clients []string, i int) []protocol.MessageQueue {
	each, more := len(queues)/len(clients), len(queues)%len(clients)
	from := i*each + min(i, more)
	if i < more {
		each++
	}
	return queues[from : from+each : from+each]
}

// circle deals the queues out one by one. Source: Java AllocateMessageQueueAveragelyByCircle.
func circle(queues []protocol.MessageQueue, clients []string, i int) (own []protocol.MessageQueue) {
	for ; i < len(queues); i += len(clients) {
		own = append(own, queues[i])
	}
	return own
}

// virtualNodes is how often a client stands on the ring.
const virtualNodes = 10

// consistentHash gives a queue to the client that follows it on a ring of hashes, so that few queues move when a client
// comes or goes. Source: Java AllocateMessageQueueConsistentHash, which only its clients know.
func consistentHash(queues []protocol.MessageQueue, clients []string, i int) (own []protocol.MessageQueue) {
	type node struct {
		hash   uint32
		client int
	}
	ring := make([]node, 0, len(clients)*virtualNodes)
	for c, id := range clients {
		for n := range virtualNodes {
			ring = append(ring, node{ringHash(fmt.Sprintf("%s-%d", id, n)), c})
		}
	}
	slices.SortStableFunc(ring, func(a, b node) int { return cmp.Compare(a.hash, b.hash) })
	for _, q := range queues {
		hash := ringHash(fmt.Sprintf("MessageQueue [topic=%s, brokerName=%s, queueId=%d]", q.Topic, q.BrokerName, q.QueueID))
		at, _ := slices.BinarySearchFunc(ring, hash, func(n node, hash uint32) int { return cmp.Compare(n.hash, hash) })
		if ring[at%len(ring)].client == i {
			own = append(own, q)
		}
	}
	return own
}

func ringHash(key string) uint32 {
	sum := md5.Sum([]byte(key))
	return uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
}

// allocate returns what client i of a group has of the queues, each once. A group that pops shares: with share 0 and less, or
// when all others share, each member pops from all queues of a broker, which queue id -1 stands for; else it pops from its own
// queues and from those of the next share members. If there are more members than queues, each has one. Source: Java
// QueryAssignmentProcessor.allocate4Pop.
func allocate(by strategy, queues []protocol.MessageQueue, clients []string, i int, mode protocol.RequestMode, share int) []protocol.MessageQueue {
	if mode != protocol.ModePop {
		return by(queues, clients, i)
	}
	var own []protocol.MessageQueue
	switch {
	case share <= 0 || share >= len(clients)-1:
		for _, q := range queues {
			own = append(own, protocol.MessageQueue{Topic: q.Topic, BrokerName: q.BrokerName, QueueID: -1})
		}
	case len(clients) > len(queues):
		own = append(own, queues[i%len(queues)])
	default:
		for n := range share + 1 {
			own = append(own, by(queues, clients, (i+n)%len(clients))...)
		}
	}
	slices.SortFunc(own, compareQueues)
	return slices.Compact(own)
}

// compareQueues is the order in which queues are shared out. Source: Java MessageQueue.compareTo.
func compareQueues(a, b protocol.MessageQueue) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), strings.Compare(a.BrokerName, b.BrokerName), cmp.Compare(a.QueueID, b.QueueID))
}
