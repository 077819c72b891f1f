package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rocketd/protocol"
)

// Storm registers masters at a NameServer, one on each connection and all at once, each with topics of its own, and asks
// for the route of another topic at a fixed rate meanwhile. What is counted is the masters; the time goes on until the last
// of them has its answer. The latencies are those of the routes, from the moment at which they should have been asked for.
func Storm(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Rate <= 0 {
		return nil, errors.New("--rate must be positive: the route is asked for at fixed times")
	}
	cfg.Warmup, cfg.Duration, cfg.Count = 0, time.Hour, 0 // the last answer ends it
	r, leave, err := newNamesrvRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer leave()
	s := &storm{run: r}
	topics := make([]string, cfg.Topics)
	for i := range cfg.Conns {
		for t := range topics {
			topics[t] = fmt.Sprintf("%s_%d_of_%d", cfg.Topic, t, i)
		}
		if err := r.dial(cfg.Addr, &registrant{storm: s, frame: registration(routeBrokers+i, cfg.Queues, topics...)}); err != nil {
			return nil, err
		}
	}
	// Who asks has a thread of his own, or he would wait for what the masters have to write.
	asking, stop := context.WithCancel(ctx)
	defer stop()
	routes, err := newRun(asking, cfg)
	if err != nil {
		return nil, err
	}
	defer routes.close()
	asker := newRouteAsker(routes)
	asker.pause = 1e9 / cfg.Rate
	if err := routes.dial(cfg.Addr, asker); err != nil {
		return nil, err
	}
	asked := make(chan error, 1)
	go func() { asked <- routes.drive() }()
	err = r.drive()
	stop()
	if err := errors.Join(err, <-asked); err != nil {
		return nil, err
	}
	r.messages, r.bytes, r.latency = s.absorbed, s.bytes, routes.latency
	if s.absorbed == int64(cfg.Conns) {
		r.end = s.last
	}
	res := r.result("storm")
	for code, n := range routes.failures {
		res.fail(code, n, routes.remark)
	}
	res.Check.Unanswered = r.open + routes.open
	return res, nil
}

// storm is what the masters share.
type storm struct {
	*run
	answered, absorbed int64 // masters
	bytes              int64 // of registrations that were absorbed
	last               int64 // when the last answer came
}

// registrant is one master.
type registrant struct {
	*storm
	frame []byte // nil: it was sent
	size  int
}

func (m *registrant) due() int64 {
	if m.active && m.frame != nil {
		return 0
	}
	return never
}

func (m *registrant) fill(out []byte, _ int64) []byte {
	if m.due() == never {
		return out
	}
	out, m.size, m.frame = m.frame, len(m.frame), nil
	m.open++
	return out
}

func (m *registrant) answer(frame []byte, now int64) error {
	r, err := readResponse(frame)
	if err != nil {
		return err
	}
	m.open--
	m.progress, m.last = now, now
	if m.answered++; m.answered == int64(m.cfg.Conns) {
		m.stop = now
	}
	if r.code != protocol.Success {
		return m.fail(r.code, frame)
	}
	m.absorbed++
	m.bytes += int64(m.size)
	return nil
}
