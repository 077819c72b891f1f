package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/protocol"
	"rocketd/topic"
)

// Consumption says what a member of a group reads.
type Consumption struct {
	Topic string
	Group string
	Tags  string // "a || b"; empty or "*" is all
	Last  bool   // a group without an offset starts at the end, not at the beginning
}

const (
	heartbeatEvery = 30 * time.Second
	rebalanceEvery = 20 * time.Second // also at once when a broker says that the group has changed
	callTimeout    = 5 * time.Second
)

// ErrEnough is returned by a take function to end the reading without an error; the message it was given counts as
// consumed.
var ErrEnough = errors.New("enough")

// Consume reads as a member of a clustering group until the context ends, take fails or says ErrEnough. take gets one
// message at a time, those of one queue in order. What it took without an error is committed; a message may come
// again after a crash or when the group changes.
func (c *Client) Consume(ctx context.Context, cfg Consumption, take func(*Message) error) error {
	if err := errors.Join(topic.CheckTopic(cfg.Topic), topic.CheckGroup(cfg.Group)); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	m := &member{c: c, cfg: cfg, tags: newTagFilter(cfg.Tags), taken: make(chan batch), failed: make(chan error, 1), running: map[Queue]context.CancelFunc{}}
	err := m.run(ctx, take)
	cancel()
	m.readers.Wait()
	m.leave()
	if errors.Is(err, ErrEnough) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// member is one consumer of a group. All but the readers runs in the goroutine of Consume.
type member struct {
	c       *Client
	cfg     Consumption
	tags    tagFilter
	queues  []Queue // of the topic
	running map[Queue]context.CancelFunc
	readers sync.WaitGroup
	taken   chan batch // from the readers; they wait until a batch was taken
	failed  chan error
}

type batch struct {
	queue    Queue
	messages []*Message
	next     int64
	done     chan struct{}
}

func (m *member) run(ctx context.Context, take func(*Message) error) error {
	if err := m.join(ctx); err != nil {
		return err
	}
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			if err := m.join(ctx); err != nil {
				m.c.cfg.Log.Warn("cannot renew the membership", "group", m.cfg.Group, "err", err)
			}
		case <-m.c.rebound:
			again.Reset(m.balance(ctx))
		case <-again.C:
			again.Reset(m.balance(ctx))
		case err := <-m.failed:
			return err
		case b := <-m.taken:
			err := m.consume(ctx, b, take)
			close(b.done)
			if err != nil {
				return err
			}
		}
	}
}

// consume hands over one batch and commits what was taken of it.
func (m *member) consume(ctx context.Context, b batch, take func(*Message) error) error {
	next := b.next
	var failed error
	for _, msg := range b.messages {
		if failed = take(msg); failed != nil {
			next = msg.Offset
			if errors.Is(failed, ErrEnough) {
				next++
			}
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if err := m.c.broker.Commit(ctx, b.queue.Addr, m.cfg.Group, m.cfg.Topic, b.queue.ID, next); err != nil {
		m.c.cfg.Log.Warn("cannot commit", "queue", b.queue, "offset", next, "err", err)
	}
	return failed
}

// join finds the topic's queues and tells their brokers that this member is alive.
func (m *member) join(ctx context.Context) error {
	all, err := m.c.readQueues(ctx, m.cfg.Topic)
	if err != nil {
		return err
	}
	m.queues = all
	from := protocol.FromFirstOffset
	if m.cfg.Last {
		from = protocol.FromLastOffset
	}
	data := &protocol.HeartbeatData{ClientID: m.c.id, ConsumerDataSet: []protocol.ConsumerData{{
		GroupName: m.cfg.Group, ConsumeType: protocol.ConsumePassively, MessageModel: protocol.Clustering, ConsumeFromWhere: from,
		SubscriptionDataSet: []protocol.SubscriptionData{{
			Topic: m.cfg.Topic, SubString: m.tags.expr, ExpressionType: "TAG", SubVersion: time.Now().UnixMilli(),
			TagsSet: m.tags.tags, CodeSet: m.tags.codes(),
		}},
	}}}
	var failed error
	reached := 0
	for _, addr := range brokers(all) {
		if err := m.c.broker.Heartbeat(ctx, addr, data); err != nil {
			failed = errors.Join(failed, fmt.Errorf("cannot join group %s at %s: %w", m.cfg.Group, addr, err))
			continue
		}
		reached++
	}
	if reached > 0 && failed != nil {
		m.c.cfg.Log.Warn("some brokers are out of reach", "err", failed)
		return nil
	}
	return failed
}

// leave gives the queues to the others at once.
func (m *member) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for _, addr := range brokers(m.queues) {
		if err := m.c.broker.Unregister(ctx, addr, &protocol.UnregisterClientRequest{ClientID: m.c.id, ConsumerGroup: m.cfg.Group}); err != nil {
			m.c.cfg.Log.Warn("cannot leave the group in order", "broker", addr, "err", err)
		}
	}
}

// balance takes on the queues that are ours and lets go of the others. It returns when to look again.
func (m *member) balance(ctx context.Context) time.Duration {
	var members []string
	var err error
	for _, addr := range brokers(m.queues) {
		if members, err = m.c.broker.Consumers(ctx, addr, m.cfg.Group); err == nil {
			break
		}
	}
	if err != nil || !slices.Contains(members, m.c.id) {
		return retryWait // not known yet, or no broker answers: keep what we have
	}
	mine := average(m.queues, members, m.c.id)
	for q, stop := range m.running {
		if !slices.Contains(mine, q) {
			stop()
			delete(m.running, q)
		}
	}
	for _, q := range mine {
		if m.running[q] == nil {
			ctx, stop := context.WithCancel(ctx)
			m.running[q] = stop
			m.readers.Go(func() { m.read(ctx, q) })
		}
	}
	return rebalanceEvery
}

// read is the goroutine of one queue; it ends when its context does.
func (m *member) read(ctx context.Context, q Queue) {
	r := &reader{c: m.c, queue: q, topic: m.cfg.Topic, group: m.cfg.Group, tags: m.tags}
	for {
		var err error
		if r.next, err = m.start(ctx, q); err == nil {
			break
		}
		m.c.cfg.Log.Warn("cannot find out where to start", "queue", q, "err", err)
		if rungroup.Sleep(ctx, retryWait) != nil {
			return
		}
	}
	committed := r.next
	err := r.follow(ctx, func(all []*Message, next int64) error {
		if len(all) == 0 && next == committed {
			return nil
		}
		b := batch{q, all, next, make(chan struct{})}
		select {
		case m.taken <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
		committed = next
		<-b.done
		return nil
	})
	if ctx.Err() == nil {
		select {
		case m.failed <- err:
		default:
		}
	}
}

// start is where the group stands in a queue, or where it wants to begin.
func (m *member) start(ctx context.Context, q Queue) (int64, error) {
	offset, err := m.c.broker.Offset(ctx, q.Addr, m.cfg.Group, m.cfg.Topic, q.ID)
	var refused *protocol.Error
	if !errors.As(err, &refused) || refused.Code != protocol.QueryNotFound {
		return offset, err
	}
	if m.cfg.Last {
		return m.c.broker.MaxOffset(ctx, q.Addr, m.cfg.Topic, q.ID)
	}
	return m.c.broker.MinOffset(ctx, q.Addr, m.cfg.Topic, q.ID)
}
