package lite

import "context"

// bucket is in which of n queues a lite topic has its messages: the jump consistent hash (Lamping and Veach, 2014) of Java's hash of
// its name, so that few lite topics move when queues are added. Proxies send by the same rule. Source: Java LiteShardingImpl, Guava
// Hashing.consistentHash.
func bucket(lite string, n int) int {
	var hash int32
	for _, c := range []byte(lite) { // names are ASCII
		hash = 31*hash + int32(c)
	}
	state := uint64(int64(hash))
	for b := 0; ; {
		state = 2862933555777941757*state + 1
		next := int(float64(b+1) / (float64(int32(state>>33)+1) / (1 << 31)))
		if next < 0 || next >= n {
			return b
		}
		b = next
	}
}

// shards are the brokers of the queues that messages of a parent topic are sent to. Without any, all is sent to this one.
type shards []string

func (s *Service) shards(ctx context.Context, parent string) shards { return s.cfg.Shards(ctx, parent) }

// here tells whether messages of a lite topic are sent to the broker of this name.
func (x shards) here(name, lite string) bool {
	return len(x) == 0 || x[bucket(lite, len(x))] == name
}
