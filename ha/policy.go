package ha

import "errors"

// ErrNotEnough says that fewer copies are in sync than a message must have: IN_SYNC_REPLICAS_NOT_ENOUGH.
var ErrNotEnough = errors.New("not enough replicas are in sync")

// Policy is how many copies a message must have before its sender is told that it is stored.
//
// A master that is SYNC_MASTER wants two copies, its own and that of one slave, unless the operator wrote another number:
// Java's default of one would make it wait for nobody. Without Available the number is fixed, and who does not come is
// waited for until slaveTimeout. With it, the copies that are in sync are counted before the message is written.
// Source: Java CommitLog.calcNeedAckNums, asyncPutMessage; docs/differences.md.
type Policy struct {
	Sync      bool // brokerRole is SYNC_MASTER; else nobody is waited for
	InSync    int  // inSyncReplicas, copies, the master's own counted; 0: not set
	MinInSync int  // minInSyncReplicas, copies; less than 1 is 1
	Auto      bool // enableAutoInSyncReplicas: be content with the copies that are in sync, down to MinInSync
	All       bool // allAckInSyncStateSet: all that are in sync, at least MinInSync
	Available bool // the set tells who is there: enableSlaveActingMaster or controller mode; else Auto and All mean nothing
}

// Need returns how many slaves must acknowledge a message that is written while inSync slaves are in sync, or
// ErrNotEnough: it must not be written.
func (p Policy) Need(inSync int) (acks int, err error) {
	if !p.Sync {
		return 0, nil
	}
	want, copies := p.InSync, 1+inSync
	if want <= 0 {
		want = 2
	}
	if !p.Available {
		return want - 1, nil
	}
	least := max(p.MinInSync, 1)
	switch {
	case p.All:
		want = max(copies, least)
	case p.Auto:
		want = max(min(want, copies), least)
	}
	if want > copies {
		return 0, ErrNotEnough
	}
	return want - 1, nil
}
