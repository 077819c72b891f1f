// Command peer is the Go client of Apache RocketMQ under remote control; ../README.md describes the protocol.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func main() {
	rlog.SetLogLevel("warn")
	p := &peer{namesrv: os.Args[1], producers: map[string]rocketmq.Producer{}, consumers: map[string]rocketmq.PushConsumer{}, transactors: map[string]rocketmq.TransactionProducer{}}
	p.emit(url.Values{"event": {"ready"}})
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return
		}
		cmd, err := url.ParseQuery(strings.TrimSpace(line))
		answer := url.Values{}
		if err == nil {
			err = p.run(cmd, answer)
		}
		answer.Set("id", cmd.Get("id"))
		answer.Set("ok", strconv.FormatBool(err == nil))
		if err != nil {
			answer.Set("error", err.Error())
		}
		p.emit(answer)
	}
}

type peer struct {
	namesrv   string
	producers map[string]rocketmq.Producer
	consumers map[string]rocketmq.PushConsumer

	transactors map[string]rocketmq.TransactionProducer
	outcomes    sync.Map // of checks, by key

	out sync.Mutex // held while a line is written to stdout
}

func (p *peer) run(cmd, answer url.Values) error {
	switch cmd.Get("op") {
	case "produce":
		return p.produce(cmd, answer)
	case "request":
		return p.request(cmd, answer)
	case "subscribe":
		return p.subscribe(cmd)
	case "unsubscribe":
		c := p.consumers[cmd.Get("name")]
		delete(p.consumers, cmd.Get("name"))
		return c.Shutdown()
	case "transact":
		return p.transact(cmd, answer)
	case "answer":
		p.outcomes.Store(cmd.Get("keys"), cmd.Get("outcome"))
		return nil
	case "leave":
		t := p.transactors[cmd.Get("name")]
		delete(p.transactors, cmd.Get("name"))
		return t.Shutdown()
	case "pull":
		return p.pull(cmd, answer)
	case "litepull":
		return p.litePull(cmd, answer)
	}
	return fmt.Errorf("unknown op %q", cmd.Get("op"))
}

// listener ends local transactions as asked for, and checks as "answer" said.
type listener struct {
	p    *peer
	name string
}

var outcomes = map[string]primitive.LocalTransactionState{
	"COMMIT_MESSAGE": primitive.CommitMessageState, "ROLLBACK_MESSAGE": primitive.RollbackMessageState, "UNKNOW": primitive.UnkonwnState,
}

func (l listener) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	return outcomes[m.GetProperty("outcome")]
}

func (l listener) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	l.p.message("check-"+l.name+"-"+m.GetProperty("TRANSACTION_CHECK_TIMES"), m)
	outcome, ok := l.p.outcomes.Load(m.GetKeys())
	if !ok {
		return primitive.UnkonwnState
	}
	return outcomes[outcome.(string)]
}

func (p *peer) transact(cmd, answer url.Values) error {
	t, ok := p.transactors[cmd.Get("name")]
	if !ok {
		var err error
		t, err = rocketmq.NewTransactionProducer(listener{p, cmd.Get("name")},
			producer.WithGroupName(cmd.Get("group")), producer.WithNameServer(primitive.NamesrvAddr{p.namesrv}),
			producer.WithInstanceName(cmd.Get("name")), producer.WithSendMsgTimeout(20*time.Second))
		if err != nil {
			return err
		}
		if err := t.Start(); err != nil {
			return err
		}
		p.transactors[cmd.Get("name")] = t
	}
	var ids []string
	for i := range number(cmd, "count", 0) {
		m := primitive.NewMessage(cmd.Get("topic"), body(cmd, i))
		m.WithTag(cmd.Get("tags")).WithKeys([]string{cmd.Get("keys") + "-" + strconv.Itoa(i)})
		m.WithProperty("outcome", cmd.Get("outcome"))
		r, err := t.SendMessageInTransaction(context.Background(), m)
		if err != nil {
			return err
		}
		if r.Status != primitive.SendOK {
			return fmt.Errorf("send status %d", r.Status)
		}
		ids = append(ids, r.OffsetMsgID)
	}
	answer.Set("ids", strings.Join(ids, ","))
	return nil
}

// toShard sends a message to the queue that its sharding key counts.
type toShard struct{ producer.QueueSelector }

func (s toShard) Select(m *primitive.Message, queues []*primitive.MessageQueue, last string) *primitive.MessageQueue {
	shard, err := strconv.Atoi(m.GetShardingKey())
	if err != nil {
		return s.QueueSelector.Select(m, queues, last)
	}
	return queues[shard%len(queues)]
}

// producer returns the one with the command's settings.
func (p *peer) producer(cmd url.Values) (rocketmq.Producer, error) {
	key := cmd.Get("group") + cmd.Get("vip") + cmd.Get("compress")
	client, ok := p.producers[key]
	if !ok {
		threshold := 4096
		if cmd.Get("compress") == "false" {
			threshold = 1 << 30
		}
		var err error
		client, err = rocketmq.NewProducer(
			producer.WithGroupName(cmd.Get("group")), producer.WithNameServer(primitive.NamesrvAddr{p.namesrv}),
			producer.WithInstanceName("p"+strconv.Itoa(len(p.producers))), producer.WithSendMsgTimeout(20*time.Second),
			producer.WithVIPChannel(cmd.Get("vip") == "true"), producer.WithCompressMsgBodyOverHowmuch(threshold),
			producer.WithQueueSelector(toShard{producer.NewRoundRobinQueueSelector()}))
		if err != nil {
			return nil, err
		}
		if err := client.Start(); err != nil {
			return nil, err
		}
		p.producers[key] = client
	}
	return client, nil
}

func (p *peer) request(cmd, answer url.Values) error {
	client, err := p.producer(cmd)
	if err != nil {
		return err
	}
	m := primitive.NewMessage(cmd.Get("topic"), body(cmd, number(cmd, "first", 0)))
	reply, err := client.Request(context.Background(), time.Duration(number(cmd, "timeout", 15000))*time.Millisecond, m)
	if err != nil {
		return err
	}
	answer.Set("reply", string(reply.Body))
	return nil
}

func (p *peer) produce(cmd, answer url.Values) error {
	client, err := p.producer(cmd)
	if err != nil {
		return err
	}
	ctx := context.Background()
	var msgs []*primitive.Message
	for i := number(cmd, "first", 0); len(msgs) < number(cmd, "count", 1); i++ {
		m := primitive.NewMessage(cmd.Get("topic"), body(cmd, i))
		m.WithTag(cmd.Get("tags")).WithKeys([]string{cmd.Get("keys") + "-" + strconv.Itoa(i)})
		if level := number(cmd, "level", 0); level != 0 {
			m.WithDelayTimeLevel(level)
		}
		if cmd.Get("shard") != "" {
			m.WithShardingKey(cmd.Get("shard"))
		}
		msgs = append(msgs, m)
	}
	var mu sync.Mutex
	var acks []string
	acked := func(r *primitive.SendResult, err error) error {
		if err != nil {
			return err
		}
		if r.Status != primitive.SendOK {
			return fmt.Errorf("send status %d", r.Status)
		}
		mu.Lock()
		defer mu.Unlock()
		acks = append(acks, fmt.Sprintf("%s/%d/%d", r.MessageQueue.BrokerName, r.MessageQueue.QueueId, r.QueueOffset))
		answer.Set("offsetMsgId", r.OffsetMsgID)
		return nil
	}
	switch cmd.Get("mode") {
	case "sync":
		for _, m := range msgs {
			if err := acked(client.SendSync(ctx, m)); err != nil {
				return err
			}
		}
	case "async":
		results := make(chan error, len(msgs))
		for _, m := range msgs {
			if err := client.SendAsync(ctx, func(_ context.Context, r *primitive.SendResult, err error) { results <- acked(r, err) }, m); err != nil {
				return err
			}
		}
		for range msgs {
			select {
			case err := <-results:
				if err != nil {
					return err
				}
			case <-time.After(30 * time.Second):
				return errors.New("a send got no answer in 30 s")
			}
		}
	case "oneway":
		for _, m := range msgs {
			if err := client.SendOneWay(ctx, m); err != nil {
				return err
			}
		}
	case "batch":
		if err := acked(client.SendSync(ctx, msgs...)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown mode %q", cmd.Get("mode"))
	}
	answer.Set("acks", strings.Join(acks, ","))
	return nil
}

func (p *peer) subscribe(cmd url.Values) error {
	model := consumer.Clustering
	if cmd.Get("model") == "broadcasting" {
		model = consumer.BroadCasting
	}
	name := cmd.Get("name")
	c, err := rocketmq.NewPushConsumer(
		consumer.WithGroupName(cmd.Get("group")), consumer.WithNameServer(primitive.NamesrvAddr{p.namesrv}), consumer.WithInstance(name),
		consumer.WithConsumerModel(model), consumer.WithConsumerOrder(cmd.Get("mode") == "orderly"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithMaxReconsumeTimes(int32(number(cmd, "attempts", -1))),
		consumer.WithSuspendCurrentQueueTimeMillis(100*time.Millisecond))
	if err != nil {
		return err
	}
	fail := number(cmd, "fail", 0)
	var replier rocketmq.Producer
	if cmd.Get("reply") == "true" {
		if replier, err = p.producer(url.Values{"group": {"R-" + name}}); err != nil {
			return err
		}
	}
	err = c.Subscribe(cmd.Get("topic"), selector(cmd), func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range msgs {
			p.message(name, m)
			if replier == nil {
				continue
			}
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err == nil {
				reply.Body = append([]byte("re:"), m.Body...) // which the library takes for properties
				_, err = replier.SendSync(ctx, reply)
			}
			if err != nil {
				return consumer.ConsumeRetryLater, err
			}
		}
		switch {
		case int(msgs[0].ReconsumeTimes) >= fail:
			return consumer.ConsumeSuccess, nil
		case cmd.Get("mode") == "orderly":
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		return consumer.ConsumeRetryLater, nil
	})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	p.consumers[name] = c
	return nil
}

// newPull starts a pull consumer; held says whether its rebalance gave it a queue.
func (p *peer) newPull(cmd url.Values) (_ rocketmq.PullConsumer, held func(primitive.MessageQueue) bool, _ error) {
	c, err := consumer.NewPullConsumer(
		consumer.WithGroupName(cmd.Get("group")), consumer.WithNameServer(primitive.NamesrvAddr{p.namesrv}),
		consumer.WithInstance(cmd.Get("name")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return nil, nil, err
	}
	if err := c.Subscribe(cmd.Get("topic"), selector(cmd)); err != nil {
		return nil, nil, err
	}
	held = func(q primitive.MessageQueue) bool { _, ok := c.GetConsumerRunningInfo(false).MQTable[q]; return ok }
	return c, held, c.Start()
}

func (p *peer) pull(cmd, answer url.Values) error {
	c, held, err := p.newPull(cmd)
	if err != nil {
		return err
	}
	ctx := context.Background()
	queues, err := c.GetTopicRouteInfo(cmd.Get("topic"))
	if err != nil {
		return err
	}
	count := 0
	ends := map[*primitive.MessageQueue]int64{}
	for _, q := range queues {
		// The client pulls with suspension, so a pull at the end would be held: ask where the end is.
		end, err := c.OffsetForTimestamp(q, time.Now().Add(time.Hour).UnixMilli())
		if err != nil {
			return err
		}
		for offset := int64(0); offset < end; {
			r, err := c.PullFrom(ctx, q, offset, 32)
			if err != nil {
				return err
			}
			if r.NextBeginOffset <= offset {
				return fmt.Errorf("pull at %d of %d did not advance", offset, end)
			}
			for _, m := range r.GetMessageExts() {
				p.message(cmd.Get("name"), m)
				count++
			}
			offset = r.NextBeginOffset
		}
		ends[q] = end
	}
	if err := commit(ctx, c, held, cmd.Get("topic"), ends); err != nil {
		return err
	}
	answer.Set("count", strconv.Itoa(count))
	return c.Shutdown()
}

// commit persists offsets. The client's own rebalance runs beside: persisting drops what it has not given the consumer yet,
// and giving forgets what the consumer said before. So wait until all queues are held, and look afterwards.
func commit(ctx context.Context, c rocketmq.PullConsumer, held func(primitive.MessageQueue) bool, topic string, offsets map[*primitive.MessageQueue]int64) error {
	for range 200 {
		kept := true
		for q, offset := range offsets {
			kept = kept && held(*q)
			if err := c.UpdateOffset(q, offset); err != nil {
				return err
			}
		}
		if err := c.PersistOffset(ctx, topic); err != nil {
			return err
		}
		for q, offset := range offsets {
			at, err := c.CurrentOffset(q)
			if err != nil {
				return err
			}
			kept = kept && at == offset
		}
		if kept {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the client does not keep its offsets")
}

func (p *peer) litePull(cmd, answer url.Values) error {
	c, _, err := p.newPull(cmd)
	if err != nil {
		return err
	}
	ctx, count := context.Background(), 0
	for end := time.Now().Add(30 * time.Second); count < number(cmd, "count", 1) && time.Now().Before(end); {
		r, err := c.Poll(ctx, 500*time.Millisecond)
		if consumer.IsNoNewMsgError(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, m := range r.GetMsgList() {
			p.message(cmd.Get("name"), m)
			count++
		}
		c.ACK(ctx, r, consumer.ConsumeSuccess)
	}
	if err := c.PersistOffset(ctx, cmd.Get("topic")); err != nil {
		return err
	}
	answer.Set("count", strconv.Itoa(count))
	return c.Shutdown()
}

func (p *peer) message(name string, m *primitive.MessageExt) {
	p.emit(url.Values{
		"event": {"msg"}, "consumer": {name}, "topic": {m.Topic}, "queue": {fmt.Sprintf("%s/%d", m.Queue.BrokerName, m.Queue.QueueId)},
		"offset": {strconv.FormatInt(m.QueueOffset, 10)}, "keys": {m.GetKeys()}, "tags": {m.GetTags()},
		"sha": {fmt.Sprintf("%x", sha256.Sum256(m.Body))}, "attempt": {strconv.Itoa(int(m.ReconsumeTimes))},
	})
}

func (p *peer) emit(v url.Values) {
	p.out.Lock()
	defer p.out.Unlock()
	fmt.Println("@" + v.Encode())
}

func selector(cmd url.Values) consumer.MessageSelector {
	if sql := cmd.Get("sql"); sql != "" {
		return consumer.MessageSelector{Type: consumer.SQL92, Expression: sql}
	}
	if cmd.Get("expr") == "" {
		return consumer.MessageSelector{}
	}
	return consumer.MessageSelector{Type: consumer.TAG, Expression: cmd.Get("expr")}
}

func body(cmd url.Values, i int) []byte {
	size := number(cmd, "size", 0)
	if size == 0 {
		return []byte(cmd.Get("body") + strconv.Itoa(i))
	}
	b := make([]byte, size)
	for j := range b {
		b[j] = byte((31*j + i) % 251)
	}
	return b
}

func number(cmd url.Values, key string, otherwise int) int {
	if n, err := strconv.Atoi(cmd.Get(key)); err == nil {
		return n
	}
	return otherwise
}
