package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

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
	for range cfg.Conns {
		a := &asker{run: r, frame: frame, issued: make([]int64, cfg.InFlight)}
		for i := range cfg.InFlight {
			a.free = append(a.free, i)
		}
		if err := r.dial(cfg.Addr, a); err != nil {
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

// asker is one connection that asks for routes.
type asker struct {
	*run
	frame  []byte
	issued []int64 // when the request in a slot left; 0: the slot is free
	free   []int
}

func (a *asker) due() int64 {
	if a.active && len(a.free) > 0 && a.left != 0 {
		return 0
	}
	return never
}

func (a *asker) fill(out []byte, now int64) []byte {
	for a.due() == 0 {
		slot := a.free[len(a.free)-1]
		a.free = a.free[:len(a.free)-1]
		a.issued[slot] = max(now, 1)
		a.open++
		if a.left > 0 {
			a.left--
		}
		at := len(out)
		out = append(out, a.frame...)
		if a.cfg.Form == protocol.Binary {
			putOpaque(out[at+8+5:], a.cfg.Form, int32(firstOpaque+slot))
		} else {
			putOpaque(out[at+bytes.Index(a.frame, []byte(`"opaque":`))+len(`"opaque":`):], a.cfg.Form, int32(firstOpaque+slot))
		}
	}
	return out
}

func (a *asker) answer(frame []byte, now int64) error {
	r, err := readResponse(frame)
	if err != nil {
		return err
	}
	slot := int(r.opaque) - firstOpaque
	if slot < 0 || slot >= len(a.issued) || a.issued[slot] == 0 {
		return fmt.Errorf("the NameServer answered request %d, which is not open", r.opaque)
	}
	issued := a.issued[slot]
	a.issued[slot] = 0
	a.free = append(a.free, slot)
	a.open--
	a.progress = now
	if r.code != protocol.Success {
		return a.fail(r.code, frame)
	}
	if !bytes.Contains(r.body, []byte(`"brokerDatas"`)) {
		return errors.New("the NameServer's answer is no route")
	}
	a.record(issued, now)
	if a.counting {
		a.messages++
		a.bytes += int64(len(r.body))
	}
	return nil
}

// registerMaster registers a master with the topic; it is known as long as the connection is open, and silent for no
// longer than a NameServer bears.
func registerMaster(cfg *Config, i int) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", cfg.Addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if err := register(c, cfg, i); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func register(c net.Conn, cfg *Config, i int) error {
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
	_, err := ask(c, w.Finish(), cfg.Timeout)
	return err
}
