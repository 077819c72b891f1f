package broker

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"rocketd/protocol"
	"rocketd/put"
	"rocketd/topic"
)

// refuge is a queue of another set that takes messages.
type refuge struct {
	set, addr string
	queue     int32
}

// refugeLife is how long is believed which sets have a topic. A set that does not answer is asked about at once.
const refugeLife = 5 * time.Second

// refuges knows the queues of other sets of the cluster that have a master.
type refuges struct {
	ask     func(ctx context.Context, topic string) (*protocol.TopicRouteData, error)
	own     string // name of this set
	cluster string
	now     func() time.Time

	mu    sync.Mutex // guards:
	known map[string]places
}

type places struct {
	list  []refuge
	asked time.Time
}

func newRefuges(b *Broker) *refuges {
	return &refuges{ask: b.registrar.route, own: b.id.name, cluster: b.id.cluster, now: time.Now, known: make(map[string]places)}
}

// forget has all routes asked for anew.
func (r *refuges) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.known)
}

// find returns where a message may go, the best place first where that matters. put.ErrCopy says that there is none.
func (r *refuges) find(ctx context.Context, f *flight) ([]refuge, error) {
	all, err := r.of(ctx, f.home)
	if err != nil || f.queue < 0 {
		return all, err
	}
	var sets []refuge
	for _, place := range all {
		if !slices.ContainsFunc(sets, func(p refuge) bool { return p.set == place.set }) {
			sets = append(sets, refuge{place.set, place.addr, f.queue})
		}
	}
	if f.key != nil { // the same set for all of a key, as long as it is there
		slices.SortFunc(sets, func(a, b refuge) int {
			if x, y := weight(f.key, a.set), weight(f.key, b.set); x != y {
				if x > y {
					return -1
				}
				return 1
			}
			return 0
		})
	}
	return sets, nil
}

// weight is how much a set is the one for a key (rendezvous hashing).
func weight(key []byte, set string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(key)
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(set))
	x := h.Sum64() // FNV alone leaves the last bytes in its low bits
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// of returns the queues of a topic.
func (r *refuges) of(ctx context.Context, name string) ([]refuge, error) {
	r.mu.Lock()
	p, ok := r.known[name]
	r.mu.Unlock()
	if ok && r.now().Sub(p.asked) < refugeLife {
		return p.list, nil
	}
	route, err := r.ask(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%w, and cannot find a place for topic %s: %w", put.ErrCopy, name, err)
	}
	masters := make(map[string]string)
	for _, d := range route.BrokerDatas {
		if d.Cluster == r.cluster {
			masters[d.BrokerName] = d.BrokerAddrs[0]
		}
	}
	var all []refuge
	for _, q := range route.QueueDatas {
		if addr := masters[q.BrokerName]; addr != "" && q.BrokerName != r.own && topic.Perm(q.Perm).Writable() {
			for id := range q.WriteQueueNums {
				all = append(all, refuge{q.BrokerName, addr, id})
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w, and no other set takes messages of topic %s", put.ErrCopy, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxRefuges {
		clear(r.known)
	}
	r.known[name] = places{all, r.now()}
	return all, nil
}

// maxRefuges is of how many topics the places are kept.
const maxRefuges = 10_000
