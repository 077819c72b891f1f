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
	r, err := newRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	masters, err := registerMasters(&cfg)
	if err != nil {
		return nil, err
	}
	defer closeAll(masters)
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

// registerMasters registers routeBrokers masters with the topic; they are known as long as their connections are open, and
// silent for no longer than a NameServer bears.
func registerMasters(cfg *Config) (all []*setup, err error) {
	for i := range routeBrokers {
		c, err := registerMaster(cfg, i)
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("cannot register a broker at %s: %w", cfg.Addr, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func closeAll(all []*setup) {
	for _, c := range all {
		_ = c.Close()
	}
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
