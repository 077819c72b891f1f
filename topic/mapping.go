package topic

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// A static topic has a number of queues that is fixed, whichever brokers have them. A queue of it is made of stretches of
// physical queues, one behind the other; each stretch has a generation, and the broker of the last one leads the queue: it
// takes what is sent, and answers for all stretches.
//
//	queue 3   0 ........... 57    10000 ..........          what clients see: logic offsets
//	gen 0     0 ........... 57 on broker a, queue 1
//	gen 1                         0 .............. on broker b, queue 0
//
// Between stretches there are offsets without a message. Source: Java TopicQueueMappingDetail, LogicQueueMappingItem,
// TopicQueueMappingUtils; docs/messages/static-topics.md.

// MappingInfo says which queues of a static topic a broker leads. It is what NameServers know of it.
type MappingInfo struct {
	Broker string          `json:"bname,omitempty"`
	Leads  map[int32]int32 `json:"currIdMap"` // the physical queue of each queue
	Dirty  bool            `json:"dirty"`
	Epoch  int64           `json:"epoch"` // grows with each change of the topic
	Scope  string          `json:"scope,omitempty"`
	Topic  string          `json:"topic,omitempty"`
	Total  int32           `json:"totalQueues"` // queues of the topic, on all brokers
}

// GlobalScope is the scope of a mapping that names none.
const GlobalScope = "__global__"

// Defaults sets the scope that a mapping has when it names none.
func (m *MappingInfo) Defaults() { *m = MappingInfo{Scope: GlobalScope} }

// Mapping is what one broker knows of a static topic: the stretches of each queue that it leads or led, oldest first. One that
// was published is not changed any more.
type Mapping struct {
	MappingInfo
	Hosted map[int32][]MappingItem `json:"hostedQueues"`
}

// Defaults sets the scope that a mapping has when it names none.
func (m *Mapping) Defaults() { *m = Mapping{MappingInfo: MappingInfo{Scope: GlobalScope}} }

// MappingItem is one stretch of a queue of a static topic on one physical queue.
type MappingItem struct {
	Broker      string `json:"bname,omitempty"`
	End         int64  `json:"endOffset"` // physical, excluded; -1 is open
	Gen         int32  `json:"gen"`
	Logic       int64  `json:"logicOffset"` // of its first message; -1 is not decided yet, while the queue moves
	Queue       int32  `json:"queueId"`
	Start       int64  `json:"startOffset"` // physical
	TimeOfEnd   int64  `json:"timeOfEnd"`
	TimeOfStart int64  `json:"timeOfStart"`
}

// Defaults leaves the end open.
func (i *MappingItem) Defaults() { *i = MappingItem{End: -1, TimeOfEnd: -1, TimeOfStart: -1} }

// Decided tells whether its logic offsets are known.
func (i *MappingItem) Decided() bool { return i.Logic >= 0 }

// Ended tells whether it has an end that is known.
func (i *MappingItem) Ended() bool { return i.End > i.Start }

// ToLogic returns the logic offset of a physical one.
func (i *MappingItem) ToLogic(physical int64) int64 {
	return i.Logic + max(i.Start, min(physical, maxOffset)) - i.Start
}

// ToPhysical returns the physical offset of a logic one; below the stretch it is below its start.
func (i *MappingItem) ToPhysical(logic int64) int64 {
	return min(max(logic, -maxOffset), maxOffset) - i.Logic + i.Start
}

// SentAt is the logic offset that a producer is told; -1 while it is not known.
func (i *MappingItem) SentAt(physical int64) int64 {
	if !i.Decided() {
		return -1
	}
	if i.End >= i.Start {
		physical = min(physical, i.End)
	}
	return i.ToLogic(physical)
}

// maxLogic is the logic offset behind its end; that of its start if it has none.
func (i *MappingItem) maxLogic() int64 { return i.Logic + max(0, i.End-i.Start) }

// Delta is what is added to a physical offset to make it a logic one.
func (i *MappingItem) Delta() int64 { return i.Logic - i.Start }

// Items are the stretches of a queue, oldest first; nil for one that this broker has nothing of.
func (m *Mapping) Items(id int32) []MappingItem { return m.Hosted[id] }

// Leader returns the stretch that what is sent to a queue goes to; nil if another broker leads the queue.
func (m *Mapping) Leader(id int32) *MappingItem {
	items := m.Hosted[id]
	if len(items) == 0 || items[len(items)-1].Broker != m.Broker {
		return nil
	}
	return &items[len(items)-1]
}

// Any returns one of the queues that this broker leads, for a message that may go to any; -1 if it leads none.
func (m *Mapping) Any() int32 {
	ids := slices.Collect(maps.Keys(m.leads()))
	if len(ids) == 0 {
		return -1
	}
	return ids[rand.IntN(len(ids))]
}

// Queue returns the queue that a physical queue of this broker belongs to.
func (m *Mapping) Queue(physical int32) (id int32, item *MappingItem) {
	for id, items := range m.Hosted {
		for n := range items {
			if items[n].Broker == m.Broker && items[n].Queue == physical {
				return id, &items[n]
			}
		}
	}
	return -1, nil
}

// At returns the place, among the stretches of a queue, of that which a logic offset belongs to: the first for what is smaller
// than all, -1 if none is decided.
func At(items []MappingItem, logic int64) int {
	first := -1
	for n := len(items) - 1; n >= 0; n-- {
		if !items[n].Decided() {
			continue
		}
		if logic >= items[n].Logic {
			return n
		}
		first = n
	}
	return first
}

// First and Last are the oldest and the newest stretch whose logic offsets are known; nil if there is none.
func First(items []MappingItem) *MappingItem { return itemAt(items, At(items, 0)) }

// Last is said at First.
func Last(items []MappingItem) *MappingItem { return itemAt(items, At(items, math.MaxInt64)) }

func itemAt(items []MappingItem, n int) *MappingItem {
	if n < 0 {
		return nil
	}
	return &items[n]
}

// MaxLogic is the least that a queue's largest logic offset can be.
func MaxLogic(items []MappingItem) int64 {
	if len(items) == 0 {
		return -1
	}
	return items[len(items)-1].maxLogic()
}

func (m *Mapping) leads() map[int32]int32 {
	leads := make(map[int32]int32)
	for id := range m.Hosted {
		if i := m.Leader(id); i != nil {
			leads[id] = i.Queue
		}
	}
	return leads
}

// Info is what NameServers are told.
func (m *Mapping) Info() MappingInfo {
	return MappingInfo{Broker: m.Broker, Leads: m.leads(), Epoch: m.Epoch, Scope: GlobalScope, Topic: m.Topic, Total: m.Total}
}

// Equal tells whether two mappings say the same.
func (m *Mapping) Equal(n *Mapping) bool {
	return m.Broker == n.Broker && m.Dirty == n.Dirty && m.Epoch == n.Epoch && m.Scope == n.Scope && m.Topic == n.Topic &&
		m.Total == n.Total && maps.Equal(m.Leads, n.Leads) && maps.EqualFunc(m.Hosted, n.Hosted, slices.Equal[[]MappingItem])
}

// Bounds of a mapping: Java has none.
const (
	maxOffset    = 1 << 61 // sums of a few do not overflow
	maxStretches = 1 << 18 // of all queues of a topic
	maxBroker    = 255     // bytes of a name
)

// Check tells what is wrong with a mapping by itself. Source: Java TopicQueueMappingUtils.checkLogicQueueMappingItemOffset,
// checkIfReusePhysicalQueue.
func (m *Mapping) Check() error {
	if m.Topic == "" || m.Broker == "" {
		return fmt.Errorf("the mapping names no topic (topic) or no broker (bname)")
	}
	if m.Total < 0 || m.Total > MaxQueues {
		return fmt.Errorf("a static topic cannot have %d queues (totalQueues), only 0 to %d", m.Total, MaxQueues)
	}
	type place struct {
		broker string
		queue  int32
	}
	taken := make(map[place]bool)
	for id, items := range m.Hosted {
		if id < 0 || id >= MaxQueues {
			return fmt.Errorf("queue %d of topic %s (hostedQueues): there is no such queue, only 0 to %d", id, m.Topic, MaxQueues-1)
		}
		if len(taken)+len(items) > maxStretches {
			return fmt.Errorf("topic %s has more than %d stretches (hostedQueues)", m.Topic, maxStretches)
		}
		if what := checkItems(items); what != "" {
			return fmt.Errorf("queue %d of topic %s (hostedQueues): %s", id, m.Topic, what)
		}
		for n := range items {
			p := place{items[n].Broker, items[n].Queue}
			if taken[p] {
				return fmt.Errorf("queue %d of topic %s (hostedQueues): queue %d of broker %s (queueId) is in two stretches",
					id, m.Topic, p.queue, p.broker)
			}
			taken[p] = true
		}
	}
	return nil
}

func checkItems(items []MappingItem) string {
	for n := range items {
		i := &items[n]
		switch {
		case i.Broker == "":
			return "a stretch has no broker (bname)"
		case len(i.Broker) > maxBroker:
			return "the name of a broker (bname) is too long"
		case i.Queue >= MaxQueues || max(i.Start, i.End, i.Logic) > maxOffset:
			return "an offset (startOffset, endOffset, logicOffset) or a queue (queueId) is too large"
		case i.Start < 0 || i.Gen < 0 || i.Queue < 0:
			return "a start (startOffset), a generation (gen) or a queue (queueId) is negative"
		case i.Logic < -1:
			return "a place (logicOffset) is less than -1"
		case i.End != -1 && i.End < i.Start:
			return "a stretch ends (endOffset) before its start (startOffset)"
		case n < len(items)-1 && !i.Decided():
			return "only the last stretch may have no place yet (logicOffset)"
		}
		if n == 0 {
			continue
		}
		old := &items[n-1]
		switch {
		case i.Gen <= old.Gen:
			return "the generations (gen) do not grow"
		case i.Decided() && i.Logic <= old.maxLogic():
			return "a stretch begins (logicOffset) before the end of the one before it"
		}
	}
	return ""
}

// ErrContradicts says that a mapping does not go with what was known before.
var ErrContradicts = errors.New("the mapping contradicts the one that there is")

// Succeed returns the mapping that there is after next was told when m was there. What m knows of a queue that next does not
// name stays. With force all that next names counts; else what contradicts m is refused (ErrContradicts): an older epoch, a
// stretch that was something else before, another leader in the same epoch. So is, with force too, what makes no sense together
// with what stays, see Check. Source: Java TopicQueueMappingManager.updateTopicQueueMapping,
// TopicQueueMappingUtils.makeSureLogicQueueMappingItemImmutable.
func (m *Mapping) Succeed(next *Mapping, force bool) (*Mapping, error) {
	if !force {
		if next.Epoch < m.Epoch {
			return nil, fmt.Errorf("%w: epoch %d is older than %d", ErrContradicts, next.Epoch, m.Epoch)
		}
		if next.Scope != m.Scope {
			return nil, fmt.Errorf("%w: the scope is %s, not %s", ErrContradicts, m.Scope, next.Scope)
		}
	}
	merged := *next
	merged.Hosted = maps.Clone(next.Hosted)
	if merged.Hosted == nil {
		merged.Hosted = make(map[int32][]MappingItem)
	}
	for id, old := range m.Hosted {
		items, named := merged.Hosted[id]
		switch {
		case !named && !force && next.Epoch == m.Epoch:
			return nil, fmt.Errorf("%w: queue %d (hostedQueues) is missing, and the epoch is the same", ErrContradicts, id)
		case !named:
			merged.Hosted[id] = old
		case !force:
			if what := contradicts(old, items, next.Epoch == m.Epoch); what != "" {
				return nil, fmt.Errorf("%w: queue %d (hostedQueues): %s", ErrContradicts, id, what)
			}
		}
	}
	if err := merged.Check(); err != nil { // what stays does not go with what comes
		return nil, fmt.Errorf("%w: %w", ErrContradicts, err)
	}
	return &merged, nil
}

// contradicts tells how the stretches of a queue contradict those that were known: of a generation that both have, nothing
// changes but what is decided late.
func contradicts(old, items []MappingItem, sameEpoch bool) string {
	if len(old) == 0 {
		return ""
	}
	if len(items) == 0 {
		return "it has no stretch any more"
	}
	for n, o := 0, 0; n < len(items) && o < len(old); {
		was, is := &old[o], &items[n]
		switch {
		case is.Gen < was.Gen:
			n++
			continue
		case was.Gen < is.Gen:
			o++
			continue
		case is.Broker != was.Broker || is.Queue != was.Queue || is.Start != was.Start || was.Decided() && is.Logic != was.Logic:
			return fmt.Sprintf("generation %d is another one than before", is.Gen)
		}
		n, o = n+1, o+1
	}
	was, is := &old[len(old)-1], &items[len(items)-1]
	if sameEpoch && (is.Gen != was.Gen || is.Broker != was.Broker || is.Queue != was.Queue || is.Start != was.Start) {
		return "it has another leader, and the epoch is the same"
	}
	return ""
}
