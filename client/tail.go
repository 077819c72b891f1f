package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"rocketd/topic"
)

// Tailing says what of a topic's end is shown.
type Tailing struct {
	Topic  string
	Tags   string // "a || b"; empty or "*" is all
	Lines  int    // the newest messages that are there already, over all queues
	Follow bool   // and those that come
}

// toolsGroup exists on every broker. Source: Java MixAll.TOOLS_CONSUMER_GROUP.
const toolsGroup = "TOOLS_CONSUMER"

// Tail shows the newest messages of a topic, oldest first, and what comes after them. It belongs to no group and
// leaves nothing behind. With a tag, the newest Lines messages of each queue are searched.
func (c *Client) Tail(ctx context.Context, cfg Tailing, take func(*Message) error) error {
	if err := topic.CheckTopic(cfg.Topic); err != nil {
		return err
	}
	all, err := c.readQueues(ctx, cfg.Topic)
	if err != nil {
		return err
	}
	var readers []*reader
	var last []*Message
	for _, q := range all {
		r := &reader{c: c, queue: q, topic: cfg.Topic, group: toolsGroup, tags: newTagFilter(cfg.Tags)}
		there, err := r.last(ctx, int64(cfg.Lines))
		if err != nil {
			return fmt.Errorf("cannot read %s of topic %s: %w", q, cfg.Topic, err)
		}
		readers, last = append(readers, r), append(last, there...)
	}
	slices.SortStableFunc(last, func(a, b *Message) int { return a.Stored.Compare(b.Stored) })
	for _, m := range last[max(len(last)-cfg.Lines, 0):] {
		if err := take(m); err != nil {
			return enough(err)
		}
	}
	if !cfg.Follow {
		return nil
	}
	return enough(followAll(ctx, readers, take))
}

// last reads the newest messages of a queue and stops at its end.
func (r *reader) last(ctx context.Context, lines int64) ([]*Message, error) {
	least, err := r.c.broker.MinOffset(ctx, r.queue.Addr, r.topic, r.queue.ID)
	if err != nil {
		return nil, err
	}
	end, err := r.c.broker.MaxOffset(ctx, r.queue.Addr, r.topic, r.queue.ID)
	if err != nil {
		return nil, err
	}
	var all []*Message
	for r.next = max(least, end-lines); r.next < end; {
		before := r.next
		some, err := r.read(ctx, false)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if r.next == before {
			break
		}
	}
	return all, nil
}

// followAll reads all queues at once; take is called by one of them at a time.
func followAll(ctx context.Context, readers []*reader, take func(*Message) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // orders calls of take; held while it runs, because it is the only thing that these goroutines share
	var wg sync.WaitGroup
	for _, r := range readers {
		wg.Go(func() {
			cancel(r.follow(ctx, func(all []*Message, _ int64) error {
				mu.Lock()
				defer mu.Unlock()
				for _, m := range all {
					if ctx.Err() != nil {
						return ctx.Err()
					}
					if err := take(m); err != nil {
						cancel(err)
						return err
					}
				}
				return nil
			}))
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// enough takes the two ends that are no errors.
func enough(err error) error {
	if errors.Is(err, ErrEnough) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
