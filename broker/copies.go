package broker

import (
	"sync/atomic"

	"rocketd/ha"
	"rocketd/put"
	"rocketd/settings"
)

// copyKeys are the settings that say how many copies a message must have. All of them may change at run time, and
// brokerRole may between the two kinds of master.
var copyKeys = []string{"brokerRole", "inSyncReplicas", "minInSyncReplicas", "enableAutoInSyncReplicas", "allAckInSyncStateSet", "haMaxGapNotInSync"}

// copies tells put how far enough slaves have the log. It is the put.Replicas of a SYNC_MASTER.
type copies struct {
	master *ha.Master
	end    func() int64 // MaxPhysical of the log

	policy atomic.Pointer[ha.Policy]
	gap    atomic.Int64 // haMaxGapNotInSync, bytes
	alive  atomic.Int64 // slaves that NameServers know; asked in a set with an acting master only
	inSync atomic.Int64 // slaves that are in sync; counted each second there
}

func policyOf(s *settings.Settings) *ha.Policy {
	p := &ha.Policy{
		Sync:      s.String("brokerRole") == roleSync,
		MinInSync: s.Int("minInSyncReplicas"),
		Auto:      s.Bool("enableAutoInSyncReplicas"),
		All:       s.Bool("allAckInSyncStateSet"),
		Available: s.Bool("enableSlaveActingMaster"),
	}
	if s.IsSet("inSyncReplicas") {
		p.InSync = max(1, s.Int("inSyncReplicas"))
	}
	return p
}

// follow takes over what an update changes. flipped is told when it is waited for slaves from now on, or no longer; eased
// when otherwise something may be safe that was not.
func (c *copies) follow(s *settings.Settings, flipped func(sync bool), eased func()) {
	set := func() {
		p := policyOf(s)
		c.gap.Store(s.Int64("haMaxGapNotInSync"))
		before := c.policy.Swap(p)
		c.count()
		switch {
		case before == nil:
		case before.Sync != p.Sync:
			flipped(p.Sync)
		default:
			eased()
		}
	}
	set()
	for _, key := range copyKeys {
		s.OnChange(key, set)
	}
}

// count counts the slaves that are in sync.
func (c *copies) count() {
	if c.policy.Load().Available {
		c.inSync.Store(min(c.alive.Load(), int64(c.master.InSync(c.end(), c.gap.Load()))))
	}
}

// Admit implements put.Replicas.
func (c *copies) Admit() error {
	if _, err := c.policy.Load().Need(int(c.inSync.Load())); err != nil {
		return put.ErrNotEnoughReplicas
	}
	return nil
}

// Replicated implements put.Replicas. Where there are too few slaves for the policy, it is what those have who would do.
func (c *copies) Replicated() int64 {
	p := c.policy.Load()
	need, err := p.Need(int(c.inSync.Load()))
	if err != nil {
		need = max(p.InSync, p.MinInSync, 2) - 1
	}
	return c.master.Acked(need)
}
