package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/message"
	"rocketd/protocol"
)

// Flags of a pull. Source: Java PullSysFlag.
const (
	pullSuspend      = 2
	pullSubscription = 4
)

const (
	holdPull  = 15 * time.Second // how long a broker may keep a pull until a message comes
	pullMax   = 32               // messages
	retryWait = time.Second      // after an error of a broker
)

// reader reads one queue from an offset on.
type reader struct {
	c     *Client
	queue Queue
	topic string
	group string
	tags  tagFilter
	next  int64
}

// read returns the next messages, none if there are none yet. With hold it waits for some.
func (r *reader) read(ctx context.Context, hold bool) ([]*Message, error) {
	flags := int32(pullSubscription)
	if hold {
		flags |= pullSuspend
	}
	ctx, cancel := context.WithTimeout(ctx, 2*holdPull)
	defer cancel()
	p, err := r.c.broker.Pull(ctx, r.queue.Addr, &protocol.PullMessageRequest{
		ConsumerGroup: []byte(r.group), Topic: []byte(r.topic), QueueID: r.queue.ID, QueueOffset: r.next, MaxMsgNums: pullMax,
		SysFlag: flags, SuspendTimeoutMillis: holdPull.Milliseconds(), Subscription: []byte(r.tags.expr),
		SubVersion: time.Now().UnixMilli(), ExpressionType: []byte("TAG"),
	})
	if err != nil {
		return nil, err
	}
	var all []*Message
	for b := p.Records; len(b) > 0; {
		rec, err := message.Decode(b)
		if err != nil {
			return nil, fmt.Errorf("after offset %d of %s: %w", r.next, r.queue, err)
		}
		b = b[rec.Size:]
		m, err := fromRecord(r.queue, &rec)
		if err != nil {
			r.c.cfg.Log.Warn("body is shown as it is stored", "queue", r.queue, "offset", m.Offset, "err", err)
		}
		if r.tags.match(m.Tag) {
			all = append(all, m)
		}
	}
	r.next = p.Header.NextBeginOffset
	return all, nil
}

// follow reads for ever and hands over what it finds, until the context ends or take fails. Trouble with the broker
// is logged once and waited out; what cannot get better is returned.
func (r *reader) follow(ctx context.Context, take func([]*Message, int64) error) error {
	trouble := false
	for {
		all, err := r.read(ctx, true)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			if hopeless(err) {
				return fmt.Errorf("cannot read %s of topic %s: %w", r.queue, r.topic, err)
			}
			if !trouble {
				r.c.cfg.Log.Warn("cannot read, trying again", "queue", r.queue, "err", err)
			}
			trouble = true
			if err := rungroup.Sleep(ctx, retryWait); err != nil {
				return err
			}
			continue
		}
		trouble = false
		if err := take(all, r.next); err != nil {
			return err
		}
	}
}

// hopeless tells whether asking again would bring the same answer.
func hopeless(err error) bool {
	var refused *protocol.Error
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case protocol.NoPermission, protocol.TopicNotExist, protocol.SubscriptionParseFailed, protocol.SubscriptionGroupNotExist, protocol.RequestCodeNotSupported:
		return true
	}
	return false
}
