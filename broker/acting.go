package broker

import (
	"context"
	"maps"
	"slices"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/protocol"
)

// toldLife is how long the word of a master is believed that is about to come back and in no NameServer yet.
const toldLife = 30 * time.Second

// lookAround says whom a slave follows in a set with an acting master, where somebody may be gone for good: the master
// that any NameServer sees, and nobody while there is none. The slave with the lowest id has the duties of the master
// then, and gives them back when there is one. placeMu is held. Source: Java BrokerController.onMinBrokerChange.
func (b *Broker) lookAround(members map[int64]string, p place) place {
	members[b.id.id] = b.id.addr.String()
	if members[0] != "" {
		b.resignedAt = time.Time{} // it came
	}
	b.setDuty(slices.Min(slices.Collect(maps.Keys(members))) == b.id.id && time.Since(b.resignedAt) >= toldLife)
	switch master := members[0]; {
	case master == "" && time.Since(b.toldAt) < toldLife:
		return b.said
	case master == "":
		return place{}
	case p.addr != master:
		return b.said // its HA address comes with the next registration, at once
	}
	return p
}

// setDuty says whether this broker has the duties of the master now: on a master always, on a slave while there is none.
func (b *Broker) setDuty(on bool) {
	if b.onDuty.Swap(on) == on {
		return
	}
	if b.isSlave() {
		b.log.Warn("acting master", "on", on)
	}
	b.placed()
	b.duties.change()
}

// resign gives the duties of the master back, for one that is about to come back and in no NameServer yet, and returns when
// they have ended, or ctx has: from then on the master can take over how far they came. If it does not come within toldLife,
// they are taken up again.
func (b *Broker) resign(ctx context.Context) error {
	b.placeMu.Lock()
	b.resignedAt = time.Now()
	b.setDuty(false)
	b.placeMu.Unlock()
	select {
	case <-b.duties.resting():
	case <-ctx.Done():
		return ctx.Err()
	}
	for b.put.Away() > 0 { // pops that another set has taken are to be known here, too
		if err := rungroup.Sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// minBroker serves NOTIFY_MIN_BROKER_ID_CHANGE (905): a NameServer says that somebody with a lower id came, or that the
// lowest left. What all NameServers say about the set counts, so they are asked at once. Source: Java
// AdminBrokerProcessor.notifyBrokerRoleChanged, BrokerController.updateMinBroker.
func (b *Broker) minBroker(_ context.Context, c *protocol.Call) (protocol.Fielder, []byte, error) {
	var h protocol.NotifyMinBrokerIdChangeRequest
	if err := h.Decode(c.Fields); err != nil {
		return nil, nil, err
	}
	for _, t := range b.registrar.all() {
		t.look()
	}
	return nil, nil, nil
}
