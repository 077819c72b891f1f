package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rocketd/internal/rungroup"
	"rocketd/message"
	"rocketd/protocol"
	"rocketd/topic"
)

// Draft is a message to be sent.
type Draft struct {
	Body       []byte
	Tag        string
	Keys       []string
	Properties map[string]string
	Queue      int // of the broker that is next; negative is any
}

// Sent says where a message went.
type Sent struct {
	ID       string // the client's own, PropUniqKey
	OffsetID string // the broker's, for mqadmin queryMsgById
	Broker   string
	Queue    int32
	Offset   int64
	Status   string // SEND_OK, or what did not happen although the message is stored, in Java's words
}

// Producer sends to one topic, to one queue after the other.
type Producer struct {
	c      *Client
	topic  string
	queues []Queue
	next   int
	fresh  bool // the topic does not exist yet
}

const sendAttempts = 3

// Producer finds out where the topic is.
func (c *Client) Producer(ctx context.Context, name string) (*Producer, error) {
	if err := topic.CheckTopic(name); err != nil {
		return nil, err
	}
	p := &Producer{c: c, topic: name}
	var err error
	p.queues, p.fresh, err = c.writeQueues(ctx, name)
	return p, err
}

// Send stores one message. It tries another queue when a broker is busy or does not answer, so a message may be there
// twice after a lost connection.
func (p *Producer) Send(ctx context.Context, d Draft) (*Sent, error) {
	props, id, err := p.properties(d)
	if err != nil {
		return nil, err
	}
	choice := p.queues
	if d.Queue >= 0 {
		choice = slices.DeleteFunc(slices.Clone(choice), func(q Queue) bool { return int(q.ID) != d.Queue })
		if len(choice) == 0 {
			return nil, fmt.Errorf("topic %s has no queue %d; its queues are %s", p.topic, d.Queue, names(p.queues))
		}
	}
	var failed error
	for range sendAttempts {
		q := choice[p.next%len(choice)]
		p.next++
		sent, err := p.send(ctx, q, d, props)
		if err == nil {
			sent.ID = id
			if p.fresh {
				p.settle(ctx)
			}
			return sent, nil
		}
		failed = err
		var refused *protocol.Error
		if errors.As(err, &refused) && refused.Code != protocol.SystemBusy && refused.Code != protocol.ServiceNotAvailable || ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// settle waits until the name server knows a topic that a message of ours has just created, so that whoever reads it
// next finds it. It gives up soon: the message is stored all the same.
func (p *Producer) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for {
		if _, err := p.c.route(ctx, p.topic); err == nil || rungroup.Sleep(ctx, 10*time.Millisecond) != nil {
			p.fresh = false
			return
		}
	}
}

func (p *Producer) send(ctx context.Context, q Queue, d Draft, props []byte) (*Sent, error) {
	res, code, err := p.c.broker.Send(ctx, q.Addr, &protocol.SendMessageRequest{
		ProducerGroup: []byte("rocketd_send"), Topic: []byte(p.topic), DefaultTopic: []byte(autoCreateTopic),
		DefaultTopicQueueNums: autoCreateQueues, QueueID: q.ID, BornTimestamp: time.Now().UnixMilli(), Properties: props,
		ReconsumeTimes: protocol.Some[int32](0), UnitMode: protocol.Some(false), Batch: protocol.Some(false),
	}, d.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot send to %s of topic %s: %w", q, p.topic, err)
	}
	return &Sent{OffsetID: string(res.MsgID), Broker: q.Broker, Queue: res.QueueID, Offset: res.QueueOffset, Status: status(code)}, nil
}

func status(code int32) string {
	switch code {
	case protocol.FlushDiskTimeout:
		return "FLUSH_DISK_TIMEOUT"
	case protocol.FlushSlaveTimeout:
		return "FLUSH_SLAVE_TIMEOUT"
	case protocol.SlaveNotAvailable:
		return "SLAVE_NOT_AVAILABLE"
	}
	return "SEND_OK"
}

// properties encodes what goes with the body.
func (p *Producer) properties(d Draft) (props []byte, id string, err error) {
	key := p.c.keys.Append(nil, time.Now())
	add := func(name, value string) {
		if strings.ContainsAny(name+value, "\x01\x02") || name == "" || value == "" {
			err = fmt.Errorf("property %q=%q: neither name nor value may be empty or hold the bytes 1 and 2", name, value)
		}
		props = message.AppendProperty(props, name, []byte(value))
	}
	add(message.PropUniqKey, string(key))
	add(message.PropWaitStoreMsgOK, "true")
	if d.Tag != "" {
		add(message.PropTags, d.Tag)
	}
	if len(d.Keys) > 0 {
		add(message.PropKeys, strings.Join(d.Keys, " "))
	}
	for name, value := range d.Properties {
		if message.Reserved(name) {
			return nil, "", fmt.Errorf("property %s belongs to RocketMQ; tags and keys have options of their own", name)
		}
		add(name, value)
	}
	return props, string(key), err
}

func names(all []Queue) string {
	var s []string
	for _, q := range all {
		s = append(s, q.String())
	}
	return strings.Join(s, ", ")
}
