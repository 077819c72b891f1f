package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"rocketd/protocol"
)

// routeBrokers is how many masters have the topic whose route is asked for: an ordinary small cluster.
const routeBrokers = 2

// Route asks a NameServer for the route of a topic and measures the answers. It registers two masters that do not exist
// with the topic first, for as long as it runs.
func Route(ctx context.Context, cfg Config) (*Result, error) {
	r, err := newRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	for i := range routeBrokers {
		c, err := registerMaster(&cfg, i)
		if err != nil {
			return nil, fmt.Errorf("cannot register a broker at %s: %w", cfg.Addr, err)
		}
		defer func() { _ = c.Close() }()
	}
	w := protocol.NewFrame(nil, cfg.Form, protocol.GetRouteinfoByTopic, firstOpaque, 0, "")
	w.Str("topic", cfg.Topic)
	w.Body()
	frame := w.Finish()
	opaque := bytes.Index(frame, []byte(`"opaque":`)) + len(`"opaque":`)
	if cfg.Form == protocol.Binary {
		opaque = 8 + 5
	}
	for range cfg.Conns {
		if err := r.dial(cfg.Addr, newAsker(r, func(out []byte, slot int) []byte {
			at := len(out)
			out = append(out, frame...)
			putOpaque(out[at+opaque:], cfg.Form, int32(firstOpaque+slot))
			return out
		}, func(_ int, res *response) error {
			if !bytes.Contains(res.body, []byte(`"brokerDatas"`)) {
				return errors.New("the NameServer's answer is no route")
			}
			return nil
		})); err != nil {
			return nil, err
		}
	}
	if err := r.drive(); err != nil {
		return nil, err
	}
	res := r.result("route")
	res.Check.Unanswered = r.open
	return res, nil
}

// registerMaster registers a master with the topic; it is known as long as the connection is open, and silent for no
// longer than a NameServer bears.
func registerMaster(cfg *Config, i int) (*setup, error) {
	c, err := dialSetup(cfg.Addr, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	if err := register(c, cfg, i); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func register(c *setup, cfg *Config, i int) error {
	var topics []string
	for _, name := range []string{cfg.Topic, "RocketdBenchOther"} { // a new broker with one topic is refused
		topics = append(topics, fmt.Sprintf(`"%s":{"order":false,"perm":6,"readQueueNums":%d,"topicFilterType":"SINGLE_TAG","topicName":"%s","topicSysFlag":0,"writeQueueNums":%d}`,
			name, cfg.Queues, name, cfg.Queues))
	}
	body := `{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1700000000000},"topicConfigTable":{` +
		strings.Join(topics, ",") + `}}}`
	w := protocol.NewFrame(nil, protocol.JSON, protocol.RegisterBroker, firstOpaque, 0, "")
	w.Str("brokerName", fmt.Sprintf("rocketd-bench-%d", i))
	w.Str("brokerAddr", fmt.Sprintf("192.0.2.%d:10911", i+1))
	w.Str("clusterName", "RocketdBench")
	w.Str("haServerAddr", fmt.Sprintf("192.0.2.%d:10912", i+1))
	w.Int("brokerId", 0)
	w.Bool("compressed", false)
	w.Int("bodyCrc32", 0)
	w.Body()
	w.Append([]byte(body))
	request := w.Finish()
	return c.ask(1, func(out []byte, _ int) []byte { return append(out, request...) },
		func(_ int, frame []byte, r *response) error { return succeed(frame, r) })
}
