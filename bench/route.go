package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"rocketd/protocol"
)

// routeBrokers is how many masters have the topic whose route is asked for: an ordinary small cluster.
const routeBrokers = 2

// Route asks a NameServer for the route of a topic and measures the answers. It registers two masters that do not exist
// with the topic first, for as long as it runs.
func Route(ctx context.Context, cfg Config) (*Result, error) {
	r, leave, err := newNamesrvRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer leave()
	for range cfg.Conns {
		if err := r.dial(cfg.Addr, newRouteAsker(r)); err != nil {
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

// newRouteAsker is a connection that asks for the route of the topic.
func newRouteAsker(r *run) *asker {
	w := protocol.NewFrame(nil, r.cfg.Form, protocol.GetRouteinfoByTopic, firstOpaque, 0, "")
	w.Str("topic", r.cfg.Topic)
	w.Body()
	frame := w.Finish()
	opaque := bytes.Index(frame, []byte(`"opaque":`)) + len(`"opaque":`)
	if r.cfg.Form == protocol.Binary {
		opaque = 8 + 5
	}
	return newAsker(r, func(out []byte, slot int) []byte {
		at := len(out)
		out = append(out, frame...)
		putOpaque(out[at+opaque:], r.cfg.Form, int32(firstOpaque+slot))
		return out
	}, func(_ int, res *response) error {
		if !bytes.Contains(res.body, []byte(`"brokerDatas"`)) {
			return errors.New("the NameServer's answer is no route")
		}
		return nil
	})
}

// newNamesrvRun makes a run against a NameServer at which routeBrokers masters are registered with the topic. They are known
// as long as their connections are open, which leave closes with the run, and silent for no longer than a NameServer bears.
func newNamesrvRun(ctx context.Context, cfg Config) (r *run, leave func(), err error) {
	if r, err = newRun(ctx, cfg); err != nil {
		return nil, nil, err
	}
	var masters []*setup
	leave = func() {
		for _, c := range masters {
			_ = c.Close()
		}
		r.close()
	}
	for i := range routeBrokers {
		c, err := registerMaster(&cfg, i)
		if err != nil {
			leave()
			return nil, nil, fmt.Errorf("cannot register a broker at %s: %w", cfg.Addr, err)
		}
		masters = append(masters, c)
	}
	return r, leave, nil
}

func registerMaster(cfg *Config, i int) (*setup, error) {
	c, err := dialSetup(cfg.Addr, cfg.Timeout)
	if err != nil {
		return nil, err
	}
	request := registration(i, cfg.Queues, cfg.Topic, "RocketdBenchOther")
	if err := c.ask(1, func(out []byte, _ int) []byte { return append(out, request...) },
		func(_ int, frame []byte, r *response) error { return succeed(frame, r) }); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}
