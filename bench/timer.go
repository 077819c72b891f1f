package bench

import (
	"context"
	"time"
)

// lead is how long before the first of them is due timed messages are sent.
const lead = 5 * time.Second

// Timer sends Count timed messages, whose times are spread evenly over one second, waits for them with pulls that the broker
// holds back, and measures how late they come. The rate is that of the deliveries, from the first time on.
func Timer(ctx context.Context, cfg Config) (*Result, error) {
	cfg.timed, cfg.Duration, cfg.Timeout = true, 0, max(cfg.Timeout, 2*lead)
	r, err := newRun(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	x, err := newExchange(r)
	if err != nil {
		return nil, err
	}
	base := r.base.UnixNano()
	for _, f := range x.frames {
		f.base = base
	}
	first, sent := r.now()+int64(lead), int64(0)
	x.moment = func() int64 {
		due := base + first + sent*int64(time.Second)/cfg.Count
		sent++
		return (due+999_999)/1e6*1e6 - base // a whole millisecond of the wall clock
	}
	if err := r.drive(); err != nil {
		return nil, err
	}
	r.start = first
	return x.result("timer"), nil
}
