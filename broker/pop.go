package broker

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/longpoll"
	"rocketd/message"
	"rocketd/pop"
	"rocketd/put"
	"rocketd/store/consumequeue"
)

// openPop makes the service that leases messages, and the room where its requests wait.
func (b *Broker) openPop() (err error) {
	s, d := b.cfg.Settings, newDirs(b.cfg.Settings)
	b.pop, err = pop.New(pop.Config{
		Topics: b.topics, Groups: groups{b}, Queues: b.store, Offsets: b.offsets,
		OffsetsSaved: b.offsets.Began(), FS: b.cfg.FS, Dir: d.config, Log: b.component("pop"),
		Offload: b.offload, Again: b.again, Got: b.got,
		Cluster: b.id.cluster, Broker: b.id.name,
		StoreHost:        func() netip.AddrPort { return b.id.addr },
		Readable:         b.live.readable,
		Slave:            b.isSlave,
		Acting:           b.lends,
		Taking:           b.taking.Load,
		Fetch:            b.fetch,
		PropertyFilter:   s.Bool("enablePropertyFilter"),
		TimerWheel:       s.Bool("timerWheelEnable"),
		TimerPrecisionMs: max(s.Int64("timerPrecisionMs"), 1),
		TimerMaxDelay:    time.Duration(s.Int64("timerMaxDelaySec")) * time.Second,
		TimerBehind:      b.timerBehind,
		NewCourier:       func() pop.Courier { return popCourier{b.put.NewCourier()} },
		ReviveQueues:     int32(s.Int("reviveQueueNum")),
		ReviveInterval:   s.Duration("reviveInterval"),
		MaxLeases:        s.Int("popCkMaxBufferSize"),
		Choices:          b.popChoices(),
	}, time.Now())
	if err != nil {
		return err
	}
	for _, key := range popChoiceKeys {
		s.OnChange(key, func() { b.pop.Choose(b.popChoices()) })
	}
	b.popRoom = longpoll.New[pop.Key](longpoll.Config[pop.Waiter]{Answer: b.pop.Answer, Max: s.Int("maxPopPollingSize")}, time.Now())
	b.pop.UseRoom(b.popRoom)
	b.duties.parts = append(b.duties.parts, rungroup.Part{Name: "revive", Run: b.pop.Run})
	return nil
}

// popChoiceKeys are the settings in popChoices.
var popChoiceKeys = []string{
	"enableRetryTopicV2", "retrieveMessageFromPopRetryTopicV1", "popFromRetryProbability", "popFromRetryProbabilityForPriority",
	"useSeparateRetryQueue", "initPopOffsetByCheckMsgInMem", "popResponseReturnActualRetryTopic", "priorityOrderAsc", "popPollingSize",
	"skipWhenCKRePutReachMaxTimes",
}

func (b *Broker) popChoices() pop.Choices {
	s := b.cfg.Settings
	return pop.Choices{
		RetryV2:        s.Bool("enableRetryTopicV2"),
		RetryV1Too:     s.Bool("retrieveMessageFromPopRetryTopicV1"),
		RetryFirst:     s.Int("popFromRetryProbability"),
		RetryPriority:  s.Int("popFromRetryProbabilityForPriority"),
		RetryQueues:    s.Bool("useSeparateRetryQueue"),
		FirstInMemory:  s.Bool("initPopOffsetByCheckMsgInMem"),
		ActualTopic:    s.Bool("popResponseReturnActualRetryTopic"),
		Downwards:      s.Bool("priorityOrderAsc"),
		PollingSize:    s.Int("popPollingSize"),
		SkipManyRePuts: s.Bool("skipWhenCKRePutReachMaxTimes"),
	}
}

// timerSlow is how late the timer may be and still counts as one that has delivered what is due. What waits for it waits a
// second longer.
const timerSlow = 2 * time.Second

// timerBehind tells whether timed messages that are due may not all be delivered yet.
func (b *Broker) timerBehind() bool {
	if b.timers == nil {
		return true
	}
	st := b.timers.Status()
	return st.Behind > 0 || st.ReadMs == 0 || time.Since(time.UnixMilli(st.ReadMs)) > timerSlow
}

// popCourier brings what was not acknowledged into the store once more. What is stored counts, safe or not: it cannot be
// taken back.
type popCourier struct{ c *put.Courier }

func (p popCourier) Stage(q *consumequeue.Queue, d *message.Draft, tag int64) { p.c.Stage(q, d, tag) }

func (p popCourier) Commit(ctx context.Context, now time.Time) (int, error) {
	placed, err := p.c.Commit(ctx, now)
	if errors.Is(err, put.ErrUnsafe) {
		err = nil
	}
	return len(placed), err
}
