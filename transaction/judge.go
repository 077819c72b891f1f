package transaction

import "time"

// Rules are the limits of open transactions.
type Rules struct {
	Timeout  time.Duration // transactionTimeOut: no check before a half message is older
	CheckMax int           // transactionCheckMax: checks after which it is discarded
	Reserved time.Duration // fileReservedTime: older ones are discarded; 0: none is for its age
}

// action is what is to be done with an open half message.
type action uint8

const (
	leave   action = iota
	check          // put back, and ask a producer of its group
	discard        // put to TRANS_CHECK_MAX_TIME_TOPIC
)

// judge decides about an open half message. Source: Java TransactionalMessageServiceImpl.check; in other than Java, none is
// discarded whose producers never were asked, for its born time may come from a wrong clock, and a check does not count
// before its time.
func (r *Rules) judge(h *half, now time.Time) action {
	age := now.Sub(time.UnixMilli(h.BornMs))
	if h.BornMs > h.StoreMs { // the producer's clock is ahead
		age = now.Sub(time.UnixMilli(h.StoreMs))
	}
	switch {
	case age >= 0 && age <= r.immunity(h):
		return leave
	case h.times >= max(r.CheckMax, 1), h.times > 0 && r.Reserved > 0 && age > r.Reserved:
		return discard
	}
	return check
}

// immunity is how long after its birth a half message is not checked.
func (r *Rules) immunity(h *half) time.Duration {
	if h.immunity >= 0 {
		return h.immunity
	}
	return r.Timeout
}

// late tells whether a producer that ends its transaction unasked has waited longer than it had itself wished for, so that
// the answer to a check counts alone. Source: Java EndTransactionProcessor.rejectCommitOrRollback.
func (r *Rules) late(h *half, now time.Time) bool {
	return h.immunity >= 0 && now.Sub(time.UnixMilli(h.BornMs)) > max(h.immunity, r.Timeout)
}
